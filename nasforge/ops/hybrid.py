"""Blocks that differ in a 3x3 convolution against attention, and are entered from their own scale or a finer one.

They are ResConv and ResAtt of BossNAS (Li et al. 2021), after bottleneck transformers (Srinivas et al. 2021).
What else a block consists of is the same for both, so a search compares the two operations and nothing beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import SpaceError
from nasforge.ops.attention import PositionEncoding, SelfAttention
from nasforge.ops.combine import Add
from nasforge.ops.conv import Activation, BatchNorm, Conv, Conv2d
from nasforge.ops.mbconv import SqueezeExcite
from nasforge.ops.patch import Patches
from nasforge.ops.pool import Pool
from nasforge.space.node import Body, Operator

BOTTLENECK: Final = 4
"""A block's channels, divided by those of its operation."""
SHORTCUTS: Final = ("conv", "pool")
"""What halves the shortcut: a 3x3 convolution with normalisation and activation, or a pool, 1x1 and normalisation."""


@final
@dataclass(frozen=True)
class HybridBlock(Operator):
    """A residual bottleneck at its own scale, around a 3x3 convolution or attention (ResConv, ResAtt).

    What arrives decides how it is entered, each way with weights of its own: `out` channels by a 1x1 convolution beside
    an identity, the first layer's `out / 4` channels beside a projection, and fewer channels of a finer scale by a
    convolution and a position encoding that halves, beside a shortcut that halves too. All else is shared.

    Attributes:
        out: channels of the scale.
        size: height and width of the scale's map.
        kind: `att` or `conv`.
        dim: of an attention head.
        act: activation, also behind the sum.
        se: ratio of a squeeze-excite behind the 3x3 convolution, 0 for none.
        shortcut: see `SHORTCUTS`.
    """

    out: Any
    size: Any
    kind: str
    dim: int = 64
    act: str = "relu"
    se: float = 0.0
    shortcut: str = "conv"

    def expand(self, body: Body) -> int:
        """Expand to entry, operation, restoration, sum."""
        hidden = self.out // BOTTLENECK
        x, shortcut = self._entry(body, hidden)
        x = body.add("act1", Activation(self.act), body.add("bn1", BatchNorm(), x))
        if self.kind == "att":
            x = body.add("att", SelfAttention(hidden // self.dim, self.dim), x)
        else:
            x = body.add("conv", Conv2d(hidden, 3), x)
        x = body.add("act2", Activation(self.act), body.add("bn2", BatchNorm(), x))
        if self.se and self.kind == "conv":
            x = body.add("se", SqueezeExcite(self.se), x)
        x = body.add("restore", Conv2d(self.out, 1), x)
        x = body.add("restore_bn", BatchNorm(zero_init=True), x)
        return body.add("out", Activation(self.act), body.add("sum", Add(), x, shortcut))

    def _entry(self, body: Body, hidden: int) -> tuple[int, int]:
        """Return what the operation reads, before its normalisation, and the shortcut."""
        arrived = body.type(-1)
        stride, rest = divmod(arrived.spatial[0], self.size[0])
        if rest or arrived.spatial != (stride * self.size[0], stride * self.size[1]) or arrived.channels > self.out:
            raise SpaceError(f"a block of {self.out} channels at {self.size[0]}x{self.size[1]} was given {arrived}")
        if arrived.channels == self.out or (stride == 1 and arrived.channels == hidden):
            x = body.add("peg", PositionEncoding(), body.add("reduce", Conv2d(hidden, 1), -1))
            if arrived.channels == self.out:
                return x, -1
            return x, body.add("entry", Conv(self.out, 1, act=self.act), -1)
        return self._down(body, hidden, stride)

    def _down(self, body: Body, hidden: int, stride: int) -> tuple[int, int]:
        """Enter from a finer scale; one that is several halvings away is pooled until it is one."""
        name, x = f"down{(self.out // body.type(-1).channels).bit_length() - 1}", -1
        if stride > 2:
            x, stride = body.add(f"{name}.pool", Pool("avg", stride // 2, stride // 2), x), 2
        inner = body.add(f"{name}.reduce", Conv2d(hidden, 1), x)
        inner = body.add(f"{name}.peg", PositionEncoding(stride=stride), inner)
        if self.shortcut == "conv":
            return inner, body.add(f"{name}.shortcut", Conv(self.out, 3, stride, act=self.act), x)
        if stride > 1:
            x = body.add(f"{name}.shortcut_pool", Pool("avg", stride, stride), x)
        return inner, body.add(f"{name}.shortcut", Conv(self.out, 1, act="none"), x)

    def label(self) -> str:
        """Return e.g. `ResAtt 14x14`."""
        return f"{'ResAtt' if self.kind == 'att' else 'ResConv'} {self.size[0]}x{self.size[1]}"


@final
@dataclass(frozen=True)
class ScaleEntry(Operator):
    """Bring the stem's map to a scale: depthwise windows side by side, 1x1 convolution, normalisation."""

    out: Any
    size: Any

    def expand(self, body: Body) -> int:
        """Expand to patches, conv, bn."""
        x = body.add("patches", Patches(body.type(-1).spatial[0] // self.size[0]), -1)
        return body.add("bn", BatchNorm(), body.add("conv", Conv2d(self.out, 1), x))


__all__ = ["BOTTLENECK", "SHORTCUTS", "HybridBlock", "ScaleEntry"]
