"""How the operators that only `fbnet.py` has run."""

from __future__ import annotations

from typing import Any, final

from torch import Tensor, nn

from nasforge.layers import Stateless
from nasforge.space import Types


@final
class Shuffle(nn.Module):
    """Interleave the channels of groups: (n, g c, h, w) -> (n, c g, h, w)."""

    def __init__(self, groups: int) -> None:
        """Take the number of groups."""
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Shuffle."""
        n, channels, height, width = x.shape
        return x.reshape(n, self.groups, channels // self.groups, height, width).transpose(1, 2).reshape(x.shape)


@final
class ShuffleLayer(Stateless):
    """Channel shuffle of a fixed number of groups."""

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return the module."""
        return Shuffle(op.groups)
