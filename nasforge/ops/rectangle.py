"""What cells of the NASNet family need beside square convolutions: rectangles, shifts, reductions without loss."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.ops.combine import Concat
from nasforge.ops.conv import Activation, BatchNorm, Conv2d
from nasforge.space.node import Body, Operator, Types, output_size
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class RectConv(Operator):
    """A convolution of kernel (height, width) with stride and padding by axis; "same" padding without one given.

    All variants of one node must have one kernel; channels share sliced weights.
    """

    out: Any = 0
    kernel: Any = (1, 7)
    stride: Any = (1, 1)
    padding: Any = None
    weight_bits: Any = 32
    layer: ClassVar[str | None] = "nasforge.layers.rectangle:RectConvLayer"

    @property
    def margins(self) -> tuple[int, int]:
        """Rows and columns of padding on each side."""
        return self.padding if self.padding is not None else (self.kernel[0] // 2, self.kernel[1] // 2)

    def shape(self, inputs: Types) -> TensorType:
        """Return (out, height, width)."""
        source = inputs[0]
        if len(source.shape) != 3:
            raise SpaceError(f"a convolution was given {source}; expected (channels, height, width)")
        sizes = zip(source.spatial, self.kernel, self.stride, self.margins, strict=True)
        return TensorType((self.out, *(output_size(*size) for size in sizes)))

    def params(self, inputs: Types) -> int:
        """Return the number of weights; there is no bias."""
        return int(self.out * inputs[0].channels * self.kernel[0] * self.kernel[1])

    def macs(self, inputs: Types) -> int:
        """Return out x H x W x kh x kw x in."""
        return int(self.shape(inputs).size * self.kernel[0] * self.kernel[1] * inputs[0].channels)

    def label(self) -> str:
        """Return e.g. `conv 1x7`."""
        return f"conv {self.kernel[0]}x{self.kernel[1]}"


@final
@dataclass(frozen=True)
class Strips(Operator):
    """ReLU, 1 x k, k x 1, batch normalisation; each convolution takes the stride along its own axis."""

    out: Any
    kernel: Any = 7
    stride: Any = 1

    def expand(self, body: Body) -> int:
        """Expand to act, row, column, bn."""
        x = body.add("act", Activation("relu"), -1)
        x = body.add("row", RectConv(self.out, (1, self.kernel), (1, self.stride)), x)
        x = body.add("column", RectConv(self.out, (self.kernel, 1), (self.stride, 1)), x)
        return body.add("bn", BatchNorm(), x)

    def label(self) -> str:
        """Return e.g. `conv 1x7 7x1`."""
        return f"conv 1x{self.kernel} {self.kernel}x1"


@final
@dataclass(frozen=True)
class Shift(Operator):
    """The image one pixel further up and left; the last row and column become zero. Keeps the type."""

    layer: ClassVar[str | None] = "nasforge.layers.rectangle:ShiftLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return dataclasses.replace(inputs[0])


@final
@dataclass(frozen=True)
class FactorisedReduction(Operator):
    """Halve the image without skipping a pixel: two strided 1x1 convolutions, one shifted, joined and normalised.

    Each convolution makes half of `out`; of an odd `out` the unshifted one makes one more. `act` puts a ReLU first.
    """

    out: Any
    act: bool = True

    def expand(self, body: Body) -> int:
        """Expand to act, the straight and the shifted path, concat, bn."""
        if self.out < 2:
            raise SpaceError(f"a factorised reduction was given {self.out} channels; it needs 2, one for each path")
        x = body.add("act", Activation("relu"), -1) if self.act else -1
        straight = body.add("straight", Conv2d(self.out - self.out // 2, 1, 2), x)
        shifted = body.add("shifted", Conv2d(self.out // 2, 1, 2), body.add("shift", Shift(), x))
        return body.add("bn", BatchNorm(), body.add("concat", Concat(), straight, shifted))

    def label(self) -> str:
        """Return `factorised reduction`."""
        return "factorised reduction"


@final
@dataclass(frozen=True)
class DilatedSeparableConv(Operator):
    """ReLU, depthwise k x k of some dilation, pointwise to `out`, batch normalisation (once, unlike NASNet's pairs)."""

    out: Any
    kernel: Any = 3
    stride: Any = 1
    dilation: Any = 2

    def expand(self, body: Body) -> int:
        """Expand to act, dw, pw, bn."""
        x = body.add("act", Activation("relu"), -1)
        depthwise = Conv2d(0, self.kernel, self.stride, depthwise=True, dilation=self.dilation)
        x = body.add("pw", Conv2d(self.out, 1), body.add("dw", depthwise, x))
        return body.add("bn", BatchNorm(), x)

    def label(self) -> str:
        """Return e.g. `dil 3x3`."""
        return f"dil {self.kernel}x{self.kernel}"
