"""The layer of depthwise windows side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import SpaceError
from nasforge.layers.base import Layer, Variant, capacity, ops_of
from nasforge.layers.blend import Blend
from nasforge.layers.conv import init_conv
from nasforge.space.node import Types


@final
class PatchesLayer(Layer):
    """One kernel for all widths: the channels that arrive."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        self.size = next(ops_of(variants)).size
        self.weight = nn.Parameter(torch.empty(capacity(variants), 1, self.size, self.size))
        init_conv(self.weight.data)

    @classmethod
    def check(cls, variants: Sequence[Variant]) -> None:
        """Refuse windows of several sizes."""
        if len({op.size for op in ops_of(variants)}) > 1:
            raise SpaceError("patches cannot share weights between windows of several sizes")

    def _weight(self, types: Types) -> Tensor:
        whole = ((0, self.size),)
        return self.runs(self.weight, types[0].layout, ((0, 1),), whole, whole)

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Convolve with the sliced kernel."""
        return functional.conv2d(inputs[0], self._weight(types), None, self.size, groups=types[0].channels)

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Convolve all channels."""
        width = inputs[0].shape[1]
        return functional.conv2d(inputs[0], self.weight[:width], None, self.size, groups=width)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.Conv2d."""
        channels = types[0].channels
        module = nn.Conv2d(channels, channels, op.size, op.size, groups=channels, bias=False)
        init_conv(module.weight.data)
        return module

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice."""
        assert isinstance(module, nn.Conv2d)
        module.weight.copy_(self._weight(types))
