"""Self-attention over the positions of a map, and the convolution that tells it where they are.

Queries, keys and values lie head by head in the channels of one projection, so the first channels are the first heads:
a number of heads is sliced as any width is. The operators are those of bottleneck transformers (Srinivas et al. 2021)
and of conditional position encodings (Chu et al. 2021), as BossNAS's fabric puts them together (Li et al. 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.ops.conv import Conv2d
from nasforge.space.node import Body, Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class AttentionProduct(Operator):
    """out_i = sum_j softmax_j(q_i . k_j / sqrt(dim)) v_j: (3 x heads x dim, H, W) -> (heads x dim, H, W).

    Positions i and j run over the whole map.
    The channels of the input are those of the first head's query, key and value, then the second head's, and so on.
    The softmax runs over the keys, so that the weights with which one position reads the others sum to one.
    """

    heads: Any = 1
    dim: Any = 64
    layer: ClassVar[str | None] = "nasforge.layers.attention:AttentionLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return (heads x dim, H, W)."""
        source = inputs[0]
        if len(source.shape) != 3 or source.channels != 3 * self.heads * self.dim:
            raise SpaceError(
                f"attention of {self.heads} heads of {self.dim} was given {source}; expected a map of "
                f"{3 * self.heads * self.dim} channels, query, key and value of each head"
            )
        return TensorType((self.heads * self.dim, *source.spatial))

    def macs(self, inputs: Types) -> int:
        """Return those of the two products, heads x positions^2 x dim each; scale and softmax do not count."""
        positions = inputs[0].size // inputs[0].channels
        return int(2 * self.heads * self.dim * positions**2)

    def label(self) -> str:
        """Return `attention`."""
        return "attention"


@final
@dataclass(frozen=True)
class SelfAttention(Operator):
    """Multi-head self-attention over a map: a 1x1 convolution without bias to queries, keys and values, the product.

    There is no projection behind it: (C, H, W) -> (heads x dim, H, W).
    """

    heads: Any = 1
    dim: Any = 64

    def expand(self, body: Body) -> int:
        """Expand to qkv, product."""
        x = body.add("qkv", Conv2d(3 * self.heads * self.dim, 1), -1)
        return body.add("product", AttentionProduct(self.heads, self.dim), x)

    def label(self) -> str:
        """Return e.g. `attention 4x64`."""
        return f"attention {self.heads}x{self.dim}"


@final
@dataclass(frozen=True)
class PositionEncoding(Operator):
    """A depthwise convolution with bias: the padding at the borders tells positions apart (PEG); no sum around it.

    With stride 2 it halves the map too.
    """

    kernel: Any = 3
    stride: Any = 1

    def expand(self, body: Body) -> int:
        """Expand to dw."""
        return body.add("dw", Conv2d(0, self.kernel, self.stride, depthwise=True, bias=True), -1)

    def label(self) -> str:
        """Return `position encoding`."""
        return "position encoding"


__all__ = ["AttentionProduct", "PositionEncoding", "SelfAttention"]
