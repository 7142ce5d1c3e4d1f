"""Bringing a state of a cell to the cell's width and size, and pooling that does so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nasforge.ops.combine import Identity
from nasforge.ops.conv import Conv
from nasforge.ops.pool import Pool
from nasforge.ops.rectangle import FactorisedReduction
from nasforge.space.node import Body, Operator, Types


@final
@dataclass(frozen=True)
class Fit(Operator):
    """Bring a state to `out` channels and `stride` times fewer pixels, and leave one alone that has them already.

    Stride 2 is a factorised reduction, or without `factorised` a 1x1 convolution, as for other channels. `act` puts a
    ReLU before either.
    """

    out: Any
    stride: Any = 1
    act: bool = True
    factorised: bool = True

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return the identity where nothing is to be done."""
        if all(cut):
            return None
        return (Identity() if self._fits(inputs[0].channels) else self), (0,)

    def _fits(self, channels: int) -> bool:
        return bool(self.stride == 1 and channels == self.out)

    def expand(self, body: Body) -> int:
        """Expand to nothing, a projection or a factorised reduction."""
        if self._fits(body.type(-1).channels):
            return -1
        if self.stride > 1 and self.factorised:
            return body.add("reduction", FactorisedReduction(self.out, self.act), -1)
        act = "relu" if self.act else "none"
        return body.add("fit", Conv(self.out, 1, self.stride, act=act, order="act-conv-bn"), -1)

    def label(self) -> str:
        """Return `fit`."""
        return "fit"


@final
@dataclass(frozen=True)
class FittedPool(Operator):
    """A pool, and behind it a 1x1 convolution with normalisation where the input has other than `out` channels."""

    out: Any
    kind: Any = "max"
    kernel: Any = 3
    stride: Any = 1

    def expand(self, body: Body) -> int:
        """Expand to the pool and the projection, if any."""
        pooled = body.add("pool", Pool(self.kind, self.kernel, self.stride), -1)
        return body.add("fit", Fit(self.out, act=False), pooled)

    def label(self) -> str:
        """Return e.g. `avg pool 3x3`."""
        return f"{self.kind} pool {self.kernel}x{self.kernel}"
