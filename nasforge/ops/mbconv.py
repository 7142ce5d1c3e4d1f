"""The mobile inverted bottleneck, without its shortcut: a shortcut is declared around it (`residual`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final

from nasforge.ops.combine import Multiply
from nasforge.ops.conv import Activation, BatchNorm, Conv2d, divisible
from nasforge.ops.pool import GlobalPool
from nasforge.space.node import Body, Operator


@final
@dataclass(frozen=True)
class SqueezeExcite(Operator):
    """Scale each channel by a gate computed from the means of all (Hu et al. 2018)."""

    ratio: Any = 0.25
    act: Any = "relu"
    gate: Any = "hsigmoid"

    def expand(self, body: Body) -> int:
        """Expand to pool, reduce, act, expand, gate, scale."""
        channels = body.type(-1).channels
        x = body.add("pool", GlobalPool(keep=True), -1)
        x = body.add("reduce", Conv2d(divisible(channels * self.ratio), 1, bias=True), x)
        x = body.add("act", Activation(self.act), x)
        x = body.add("expand", Conv2d(channels, 1, bias=True), x)
        x = body.add("gate", Activation(self.gate), x)
        return body.add("scale", Multiply(), -1, x)


@final
@dataclass(frozen=True)
class MBConv(Operator):
    """1x1 expansion, depthwise k x k, optional squeeze-excite, 1x1 projection without activation (MobileNetV2).

    Attributes:
        out: output channels.
        kernel: of the depthwise convolution.
        expansion: hidden channels = round(expansion x input channels); no expansion layer for 1.
        stride: of the depthwise convolution.
        act: activation after expansion and depthwise convolution.
        se: ratio of the squeeze-excite bottleneck, 0 for none.
        divisor: hidden channels are rounded to its multiples (1: not).
        eps: of the batch normalisations.
        zero_init: start the last gamma at 0, so that a residual block starts as its shortcut.
        weight_bits: of all convolutions, for BitOps.
    """

    out: Any
    kernel: Any = 3
    expansion: Any = 6
    stride: Any = 1
    act: Any = "relu6"
    se: Any = 0.0
    divisor: int = 1
    eps: float = field(default=1e-3, metadata={"latency": False})
    zero_init: bool = field(default=False, metadata={"latency": False})
    weight_bits: Any = 32

    def expand(self, body: Body) -> int:
        """Expand to expand, depthwise, squeeze-excite, project, each with its normalisation."""
        x, channels = -1, body.type(-1).channels
        if self.expansion != 1:
            hidden = round(channels * self.expansion)
            if self.divisor > 1:
                hidden = divisible(hidden, self.divisor)
            x = body.add("expand", Conv2d(hidden, 1, weight_bits=self.weight_bits), x)
            x = body.add("expand_bn", BatchNorm(self.eps), x)
            x = body.add("expand_act", Activation(self.act), x)
        x = body.add("dw", Conv2d(0, self.kernel, self.stride, depthwise=True, weight_bits=self.weight_bits), x)
        x = body.add("dw_bn", BatchNorm(self.eps), x)
        x = body.add("dw_act", Activation(self.act), x)
        if self.se:
            x = body.add("se", SqueezeExcite(self.se), x)
        x = body.add("project", Conv2d(self.out, 1, weight_bits=self.weight_bits), x)
        return body.add("project_bn", BatchNorm(self.eps, zero_init=self.zero_init), x)

    def label(self) -> str:
        """Return e.g. `MBConv 5x5 e3`."""
        return f"MBConv {self.kernel}x{self.kernel} e{self.expansion}"
