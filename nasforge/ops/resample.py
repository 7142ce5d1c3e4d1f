"""Changing the resolution inside the network, so that resolution can be a decision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Resize(Operator):
    """Bilinear resampling to size x size, as ONNX has it."""

    size: Any
    layer: ClassVar[str | None] = "nasforge.layers.resample:ResizeLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the type at the new size."""
        if len(inputs[0].shape) != 3:
            raise SpaceError(f"resizing was given {inputs[0]}; expected (channels, height, width)")
        return dataclasses.replace(inputs[0], shape=(inputs[0].channels, self.size, self.size))

    def label(self) -> str:
        """Return e.g. `resize 24`."""
        return f"resize {self.size}"
