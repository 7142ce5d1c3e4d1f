"""Changing the resolution inside the network, so that resolution can be a decision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType

RESAMPLINGS: Final = ("bilinear", "bicubic")


@final
@dataclass(frozen=True)
class Resize(Operator):
    """Resampling to size x size, as ONNX has it; `mode` is one of `RESAMPLINGS`."""

    size: Any
    mode: str = "bilinear"
    layer: ClassVar[str | None] = "nasforge.layers.resample:ResizeLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the type at the new size."""
        if len(inputs[0].shape) != 3:
            raise SpaceError(f"resizing was given {inputs[0]}; expected (channels, height, width)")
        if self.mode not in RESAMPLINGS:
            raise SpaceError(unknown_name_sentence("way of resizing", self.mode, RESAMPLINGS))
        return dataclasses.replace(inputs[0], shape=(inputs[0].channels, self.size, self.size))

    def label(self) -> str:
        """Return e.g. `resize 24`."""
        return f"resize {self.size}"
