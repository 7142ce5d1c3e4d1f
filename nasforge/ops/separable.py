"""Depthwise separable convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from nasforge.ops.conv import Activation, BatchNorm, Conv2d
from nasforge.space.node import Body, Operator


@final
@dataclass(frozen=True)
class SeparableConv(Operator):
    """Activation, depthwise k x k, pointwise to `out`, batch normalisation; `repeats` times (NASNet uses 2).

    The stride is taken in the first repeat.
    """

    out: Any
    kernel: Any = 3
    stride: Any = 1
    repeats: int = 1
    act: Any = "relu"

    def expand(self, body: Body) -> int:
        """Expand to act, dw, pw, bn, repeated."""
        x = -1
        for turn in range(self.repeats):
            if self.act != "none":
                x = body.add(f"act{turn}", Activation(self.act), x)
            x = body.add(f"dw{turn}", Conv2d(0, self.kernel, self.stride if turn == 0 else 1, depthwise=True), x)
            x = body.add(f"pw{turn}", Conv2d(self.out, 1), x)
            x = body.add(f"bn{turn}", BatchNorm(), x)
        return x

    def label(self) -> str:
        """Return e.g. `sep 3x3`."""
        return f"sep {self.kernel}x{self.kernel}"
