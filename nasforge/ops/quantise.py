"""Explicit quantisers: where activations take few bits, BitOps see it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Quantise(Operator):
    """Round activations to `bits` (uniform, asymmetric by the batch's range, straight-through gradient)."""

    bits: Any = 8
    layer: ClassVar[str | None] = "nasforge.layers.quantise:QuantiseLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type with its bits set."""
        if not 1 <= self.bits <= 32:
            raise SpaceError(f"Quantise was given {self.bits} bits; expected 1 to 32")
        return dataclasses.replace(inputs[0], bits=self.bits)

    def label(self) -> str:
        """Return e.g. `quantise 8 bit`."""
        return f"quantise {self.bits} bit"
