"""Fully connected layer whose input features and outputs are sliced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from nasforge.layers.base import Layer, Variant, capacity, ops_of
from nasforge.layers.blend import Blend
from nasforge.space.node import Types


@final
class ElasticLinear(Layer):
    """One matrix for all widths: first outputs, slots of the input features."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        super().__init__(variants)
        features, out = capacity(variants), max(op.out for op in ops_of(variants))
        self.weight = nn.Parameter(torch.empty(out, features))
        self.bias = nn.Parameter(torch.zeros(out)) if any(op.bias for op in ops_of(variants)) else None
        init_linear(self.weight.data)
        self.dropping = True

    def _weights(self, op: Any, types: Types) -> tuple[Tensor, Tensor | None]:
        out = ((0, op.out),)
        weight = self.runs(self.weight, out, types[0].layout)
        return weight, self.runs(self.bias, out) if op.bias and self.bias is not None else None

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Multiply by the sliced matrix."""
        x = functional.dropout(inputs[0], op.dropout, self.training and self.dropping) if op.dropout else inputs[0]
        return functional.linear(x, *self._weights(op, types))

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Multiply by the matrix of the widest variant."""
        x, dropout = blend.scaled(inputs[0]), blend.common("dropout")
        if dropout:
            x = functional.dropout(x, dropout, self.training and self.dropping)
        out = blend.output.shape[1]
        bias = self.bias[:out] if self.bias is not None and blend.common("bias") else None
        return functional.linear(x, self.weight[:out, : x.shape[1]], bias)

    @classmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return an nn.Linear, behind dropout if there is any."""
        linear = nn.Linear(types[0].channels, op.out, op.bias)
        init_linear(linear.weight.data)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        return nn.Sequential(nn.Dropout(op.dropout), linear) if op.dropout else linear

    @torch.no_grad()
    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the slice."""
        linear = module[1] if isinstance(module, nn.Sequential) else module
        assert isinstance(linear, nn.Linear)
        weight, bias = self._weights(op, types)
        linear.weight.copy_(weight)
        if bias is not None and linear.bias is not None:
            linear.bias.copy_(bias)


def init_linear(weight: Tensor) -> None:
    """Draw from U(-b, b) with b = 1 / sqrt(inputs)."""
    bound = 1.0 / math.sqrt(weight.shape[1])
    nn.init.uniform_(weight, -bound, bound)
