"""The bodies of ResNet's two blocks (He et al. 2016), without shortcut and last activation.

A shortcut is declared around a body (`residual`), so that blocks of different kinds may share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, final

from nasforge.ops.conv import Activation, BatchNorm, Conv2d
from nasforge.space.node import Body, Operator


@final
@dataclass(frozen=True)
class BasicBlock(Operator):
    """Two k x k convolutions to `out` channels, each normalised, an activation between them.

    Attributes:
        out: output channels.
        kernel: of both convolutions.
        stride: of the first.
        act: activation between them.
        eps: of the batch normalisations.
        zero_init: start the last gamma at 0, so that a residual block starts as its shortcut.
        weight_bits: of both convolutions, for BitOps.
    """

    out: Any
    kernel: Any = 3
    stride: Any = 1
    act: Any = "relu"
    eps: float = field(default=1e-5, metadata={"latency": False})
    zero_init: bool = field(default=False, metadata={"latency": False})
    weight_bits: Any = 32

    def expand(self, body: Body) -> int:
        """Expand to conv1, bn1, act, conv2, bn2."""
        x = body.add("conv1", Conv2d(self.out, self.kernel, self.stride, weight_bits=self.weight_bits), -1)
        x = body.add("act", Activation(self.act), body.add("bn1", BatchNorm(self.eps), x))
        x = body.add("conv2", Conv2d(self.out, self.kernel, weight_bits=self.weight_bits), x)
        return body.add("bn2", BatchNorm(self.eps, zero_init=self.zero_init), x)

    def label(self) -> str:
        """Return e.g. `basic 3x3`."""
        return f"basic {self.kernel}x{self.kernel}"


@final
@dataclass(frozen=True)
class Bottleneck(Operator):
    """1x1 to fewer channels, k x k among them, 1x1 to `out`, each normalised, activations between them.

    Attributes:
        out: output channels.
        kernel: of the middle convolution.
        ratio: hidden channels = ratio x output channels, rounded up to a multiple of `divisor`.
        stride: of the middle convolution.
        act: activation between them.
        divisor: of the hidden channels.
        eps: of the batch normalisations.
        zero_init: start the last gamma at 0, so that a residual block starts as its shortcut.
        weight_bits: of all convolutions, for BitOps.
    """

    out: Any
    kernel: Any = 3
    ratio: Any = 0.25
    stride: Any = 1
    act: Any = "relu"
    divisor: int = 1
    eps: float = field(default=1e-5, metadata={"latency": False})
    zero_init: bool = field(default=False, metadata={"latency": False})
    weight_bits: Any = 32

    def expand(self, body: Body) -> int:
        """Expand to reduce, conv, restore, each with its normalisation."""
        hidden = max(1, math.ceil(self.out * self.ratio / self.divisor)) * self.divisor
        x = body.add("reduce", Conv2d(hidden, 1, weight_bits=self.weight_bits), -1)
        x = body.add("reduce_act", Activation(self.act), body.add("reduce_bn", BatchNorm(self.eps), x))
        x = body.add("conv", Conv2d(hidden, self.kernel, self.stride, weight_bits=self.weight_bits), x)
        x = body.add("conv_act", Activation(self.act), body.add("conv_bn", BatchNorm(self.eps), x))
        x = body.add("restore", Conv2d(self.out, 1, weight_bits=self.weight_bits), x)
        return body.add("restore_bn", BatchNorm(self.eps, zero_init=self.zero_init), x)

    def label(self) -> str:
        """Return e.g. `bottleneck 3x3 r0.5`."""
        return f"bottleneck {self.kernel}x{self.kernel} r{self.ratio:g}"
