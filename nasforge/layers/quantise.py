"""Fake quantisation of activations."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.layers.base import Stateless
from nasforge.space.node import Types


@final
class FakeQuantise(nn.Module):
    """Round to 2^bits levels between the batch's minimum and maximum; the gradient passes straight through."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1

    def forward(self, x: Tensor) -> Tensor:
        """Quantise and dequantise."""
        low, high = x.detach().amin(), x.detach().amax()
        scale = torch.clamp((high - low) / self.levels, min=1e-12)
        rounded = torch.round((x.detach() - low) / scale) * scale + low
        return x + (rounded - x.detach())


@final
class QuantiseLayer(Stateless):
    """Fake quantisation by the operator's bits."""

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a FakeQuantise; 32 bits are the identity."""
        return nn.Identity() if op.bits == 32 else FakeQuantise(op.bits)
