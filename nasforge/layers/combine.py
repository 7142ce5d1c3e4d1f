"""Sums, products, concatenations and zeros."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.layers.base import Stateless
from nasforge.layers.blend import Blend, widened
from nasforge.space.node import Types


@final
class Sum(nn.Module):
    """The sum of all inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Add."""
        total = inputs[0]
        for term in inputs[1:]:
            total = total + term
        return total


@final
class First(nn.Module):
    """The first of several inputs."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Pass it on."""
        return inputs[0]


@final
class Product(nn.Module):
    """The product of two inputs."""

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """Multiply, broadcasting."""
        return x * gate


@final
class Join(nn.Module):
    """Inputs side by side in the channels."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Concatenate."""
        return torch.cat(inputs, dim=1)


@final
class ZerosLike(nn.Module):
    """Zeros of a fixed shape, for the batch of the input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of shape (batch, *shape)."""
        return x.new_zeros((x.shape[0], *self.shape))


@final
class AddLayer(Stateless):
    """A sum."""

    linear = True
    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a Sum."""
        return Sum()


@final
class KeepLayer(Stateless):
    """The first input; the others are computed and left."""

    linear = True

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Pass on the first."""
        return inputs[0]

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a First."""
        return First()


@final
class MultiplyLayer(Stateless):
    """A product."""

    per_channel = True

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a Product."""
        return Product()


@final
class ConcatLayer(Stateless):
    """A concatenation."""

    linear = True

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Put each input at its slot in the weights of whatever reads them."""
        width, offsets = blend.output.shape[1], blend.common("offsets")
        return torch.stack([widened(x, width, offset) for x, offset in zip(inputs, offsets, strict=True)]).sum(dim=0)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a Join."""
        return Join()


@final
class Zeros(Stateless):
    """Zeros."""

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return a ZerosLike of the operator's output shape."""
        return ZerosLike(op.shape(types).shape)


@final
class Source(Stateless):
    """The input itself; it is fed, never run."""

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return nn.Identity."""
        return nn.Identity()
