"""The product of attention: no weights of its own, the projection before it holds them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor, nn

from nasforge.errors import SpaceError
from nasforge.layers.base import Stateless, Variant, ops_of
from nasforge.layers.blend import Blend, widened
from nasforge.space.node import Types


def attend(x: Tensor, heads: int, dim: int) -> Tensor:
    """Return out_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j, (batch, heads x dim, H, W).

    Args:
        x: queries, keys and values head by head, (batch, heads x 3 x dim, H, W).
        heads: number of heads.
        dim: channels of a query.
    """
    _, _, height, width = x.shape
    query, key, value = x.reshape(-1, heads, 3, dim, height * width).unbind(2)
    weights = (query.transpose(-2, -1) @ key / math.sqrt(dim)).softmax(dim=-1)  # row i reads the keys j
    return (value @ weights.transpose(-2, -1)).reshape(-1, heads * dim, height, width)


@final
class Attention(nn.Module):
    """`attend` as a module."""

    def __init__(self, heads: int, dim: int) -> None:
        super().__init__()
        self.heads, self.dim = heads, dim

    def forward(self, x: Tensor) -> Tensor:
        """Attend."""
        return attend(x, self.heads, self.dim)


@final
class AttentionLayer(Stateless):
    """The product for any number of heads; zeros give zeros, so a head that an image lacks stays out of the way."""

    linear = True

    @classmethod
    def check(cls, variants: Sequence[Variant]) -> None:
        """Refuse heads of several sizes: the channels before would be cut at other places."""
        if len({op.dim for op in ops_of(variants)}) > 1:
            raise SpaceError("attention cannot share weights between heads of several sizes")

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Attend with all heads that are there."""
        dim = blend.common("dim")
        heads = -(-inputs[0].shape[1] // (3 * dim))
        return attend(widened(inputs[0], heads * 3 * dim), heads, dim)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an Attention."""
        return Attention(op.heads, op.dim)
