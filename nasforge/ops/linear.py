"""Fully connected layers and dropout: the head of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, final

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Linear(Operator):
    """Fully connected: (C,) -> (out,). Its input features may be sliced; `dropout` acts before it in training."""

    out: Any
    bias: bool = True
    dropout: float = field(default=0.0, metadata={"latency": False})
    weight_bits: Any = 32
    layer: ClassVar[str | None] = "nasforge.layers.linear:ElasticLinear"
    keeps_zero: ClassVar[bool] = False

    def shape(self, inputs: Types) -> TensorType:
        """Return (out,)."""
        if len(inputs[0].shape) != 1:
            raise SpaceError(f"a linear layer was given {inputs[0]}; put GlobalPool() before it")
        return TensorType((self.out,))

    def params(self, inputs: Types) -> int:
        """Return weights and bias."""
        return int(inputs[0].channels * self.out + (self.out if self.bias else 0))

    def macs(self, inputs: Types) -> int:
        """Return in x out."""
        return int(inputs[0].channels * self.out)

    def label(self) -> str:
        """Return e.g. `linear 10`."""
        return f"linear {self.out}"
