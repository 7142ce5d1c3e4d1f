"""Convolution, batch normalisation, activation, and the usual three in a row."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.space.node import Body, Operator, Types, output_size
from nasforge.space.tensor import TensorType

ACTIVATIONS: Final = ("none", "relu", "relu6", "hswish", "swish", "gelu", "sigmoid", "hsigmoid")
_NORMS: Final = {
    "slice": "nasforge.layers.conv:ElasticBatchNorm",
    "none": "nasforge.layers.width_norm:NormPerWidth",
}


def divisible(value: float, divisor: int = 8) -> int:
    """Round channels to a multiple of `divisor`, never below 0.9 of the value (MobileNet's rule).

    >>> divisible(24 * 0.75), divisible(3)
    (24, 8)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


@final
@dataclass(frozen=True)
class Conv2d(Operator):
    """A convolution alone, "same" padding: (C, H, W) -> (out, ceil(H / stride), ceil(W / stride)) for odd kernels.

    `depthwise` ties `out` and the groups to the input channels. `weight_bits` counts towards BitOps.
    """

    out: Any = 0
    kernel: Any = 3
    stride: Any = 1
    groups: Any = 1
    depthwise: bool = False
    bias: bool = False
    dilation: Any = 1
    weight_bits: Any = 32
    layer: ClassVar[str | None] = "nasforge.layers.conv:ElasticConv2d"

    def shape(self, inputs: Types) -> TensorType:
        """Return the output type; a depthwise convolution keeps the channel layout."""
        source = inputs[0]
        if len(source.shape) != 3:
            raise SpaceError(f"a convolution was given {source}; expected (channels, height, width)")
        out = source.channels if self.depthwise else self.out
        if not self.depthwise and (source.channels % self.groups or out % self.groups):
            raise SpaceError(
                f"a convolution of {self.groups} groups was given {source.channels} -> {out} channels: choose widths "
                f"that {self.groups} divides"
            )
        padding = self.dilation * (self.kernel // 2)
        span = self.dilation * (self.kernel - 1) + 1
        spatial = tuple(output_size(size, span, self.stride, padding) for size in source.spatial)
        slots = source.slots if self.depthwise else ()
        return TensorType((out, *spatial), slots)

    def params(self, inputs: Types) -> int:
        """Return weights and bias."""
        channels = inputs[0].channels
        out = channels if self.depthwise else self.out
        groups = channels if self.depthwise else self.groups
        return int(out * channels // groups * self.kernel**2 + (out if self.bias else 0))

    def macs(self, inputs: Types) -> int:
        """Return out x H x W x k x k x in / groups."""
        result = self.shape(inputs)
        groups = inputs[0].channels if self.depthwise else self.groups
        return int(result.size * self.kernel**2 * inputs[0].channels // groups)

    def label(self) -> str:
        """Return e.g. `conv 3x3`."""
        return f"{'dw' if self.depthwise else 'conv'} {self.kernel}x{self.kernel}"


@final
@dataclass(frozen=True)
class BatchNorm(Operator):
    """Batch normalisation over channels; keeps type and layout.

    Attributes:
        eps: added to the variance.
        momentum: of the running statistics.
        zero_init: start gamma at 0.
        affine: whether there are gamma and beta.
        share: what widths share in a supernet: `slice` (the first channels of one gamma, beta and statistics) or `none`
            (each width has its own, as in slimmable networks, Yu et al. 2019).
    """

    eps: float = field(default=1e-5, metadata={"latency": False})
    momentum: float = field(default=0.1, metadata={"latency": False})
    zero_init: bool = field(default=False, metadata={"latency": False})
    affine: bool = True
    share: str = field(default="slice", metadata={"latency": False, "network": False})

    @property
    def layer(self) -> str | None:  # type: ignore[override]  # the base's constant depends on `share` here
        """The layer's path."""
        return _NORMS.get(self.share)

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        if self.share not in _NORMS:
            raise SpaceError(unknown_name_sentence("share of a normalisation", self.share, _NORMS))
        return inputs[0]

    def params(self, inputs: Types) -> int:
        """Return gamma and beta."""
        return 2 * inputs[0].channels if self.affine else 0


@final
@dataclass(frozen=True)
class Activation(Operator):
    """A pointwise nonlinearity by name."""

    kind: Any = "relu"
    layer: ClassVar[str | None] = "nasforge.layers.conv:ActivationLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        if self.kind not in ACTIVATIONS:
            raise SpaceError(unknown_name_sentence("activation", str(self.kind), ACTIVATIONS))
        return inputs[0]

    def label(self) -> str:
        """Return the activation's name."""
        return str(self.kind)


@final
@dataclass(frozen=True)
class Conv(Operator):
    """Convolution, batch normalisation, activation; with `order="act-conv-bn"` the activation comes first.

    `norm_share` is the normalisation's `share`.
    """

    out: Any
    kernel: Any = 3
    stride: Any = 1
    groups: Any = 1
    act: Any = "relu"
    norm: bool = True
    bias: bool = False
    dilation: Any = 1
    order: str = "conv-bn-act"
    eps: float = field(default=1e-5, metadata={"latency": False})
    zero_init: bool = field(default=False, metadata={"latency": False})
    weight_bits: Any = 32
    norm_share: str = field(default="slice", metadata={"latency": False, "network": False})

    def expand(self, body: Body) -> int:
        """Expand to conv, bn, act in the declared order."""
        if self.order not in ("conv-bn-act", "act-conv-bn"):
            raise SpaceError(f"Conv was given order '{self.order}'; expected 'conv-bn-act' or 'act-conv-bn'")
        x = -1
        if self.order == "act-conv-bn" and self.act != "none":
            x = body.add("act", Activation(self.act), x)
        x = body.add(
            "conv",
            Conv2d(self.out, self.kernel, self.stride, self.groups, False, self.bias, self.dilation, self.weight_bits),
            x,
        )
        if self.norm:
            x = body.add("bn", BatchNorm(self.eps, zero_init=self.zero_init, share=self.norm_share), x)
        if self.order == "conv-bn-act" and self.act != "none":
            x = body.add("act", Activation(self.act), x)
        return x

    def label(self) -> str:
        """Return e.g. `conv 3x3`."""
        return f"conv {self.kernel}x{self.kernel}"


@final
@dataclass(frozen=True)
class LayerNorm(Operator):
    """Layer normalisation over the channels at each position; keeps type and layout."""

    eps: float = field(default=1e-6, metadata={"latency": False})
    layer: ClassVar[str | None] = "nasforge.layers.conv:ElasticLayerNorm"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return inputs[0]

    def params(self, inputs: Types) -> int:
        """Return gamma and beta."""
        return 2 * inputs[0].channels


__all__ = ["ACTIVATIONS", "Activation", "BatchNorm", "Conv", "Conv2d", "LayerNorm", "divisible"]
