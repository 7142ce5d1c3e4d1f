"""Layers of rectangular convolutions and of the shift by one pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.errors import SpaceError
from nasforge.layers.base import Layer, Stateless, Variant, capacity, ops_of
from nasforge.layers.blend import Blend
from nasforge.layers.conv import init_conv
from nasforge.space.node import Types


@final
class RectConvLayer(Layer):
    """One rectangular kernel for all widths: first output channels, slots of the input."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        operators: list[Any] = list(ops_of(variants))
        out = max(op.out for op in operators)
        self.weight = nn.Parameter(torch.empty(out, capacity(variants), *operators[0].kernel))
        init_conv(self.weight.data)

    @classmethod
    def check(cls, variants: Sequence[Variant]) -> None:
        """Refuse kernels of several sizes."""
        if len({op.kernel for op in ops_of(variants)}) > 1:
            raise SpaceError("a rectangular convolution cannot share weights between kernels of several sizes")

    def _weight(self, op: Any, types: Types) -> Tensor:
        height, width = op.kernel
        return self.runs(self.weight, ((0, op.out),), types[0].layout, ((0, height),), ((0, width),))

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Convolve with the sliced kernel."""
        return functional.conv2d(inputs[0], self._weight(op, types), None, op.stride, op.margins)

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Convolve all channels."""
        x = blend.scaled(inputs[0])
        weight = self.weight[: blend.output.shape[1], : x.shape[1]]
        return functional.conv2d(x, weight, None, blend.common("stride"), blend.common("margins"))

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.Conv2d."""
        module = nn.Conv2d(types[0].channels, op.out, op.kernel, op.stride, op.margins, bias=False)
        init_conv(module.weight.data)
        return module

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice."""
        assert isinstance(module, nn.Conv2d)
        module.weight.copy_(self._weight(op, types))


@final
class Shifted(nn.Module):
    """x[h + 1, w + 1], and zero in the last row and column."""

    def forward(self, x: Tensor) -> Tensor:
        """Shift a batch of images."""
        return functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]


@final
class ShiftLayer(Stateless):
    """The shift."""

    per_channel = True
    linear = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a Shifted."""
        return Shifted()
