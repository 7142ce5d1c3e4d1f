"""Depthwise windows side by side: kernel = stride, no padding, so that every pixel is read exactly once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Patches(Operator):
    """A depthwise convolution of kernel = stride = `size` without bias: (C, H, W) -> (C, H / size, W / size).

    All variants of one node must have one size; channels share sliced weights.
    """

    size: Any = 2
    weight_bits: Any = 32
    layer: ClassVar[str | None] = "nasforge.layers.patch:PatchesLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the type of the smaller map."""
        source = inputs[0]
        if len(source.shape) != 3 or any(pixels % self.size for pixels in source.spatial):
            raise SpaceError(
                f"patches of {self.size}x{self.size} were given {source}; expected a height and width that "
                f"{self.size} divides"
            )
        return dataclasses.replace(
            source, shape=(source.channels, *(pixels // self.size for pixels in source.spatial)), bits=32
        )

    def params(self, inputs: Types) -> int:
        """Return the number of weights."""
        return int(inputs[0].channels * self.size**2)

    def macs(self, inputs: Types) -> int:
        """Return one for each number of the input."""
        return inputs[0].size

    def label(self) -> str:
        """Return e.g. `patches 2x2`."""
        return f"patches {self.size}x{self.size}"


__all__ = ["Patches"]
