"""What every layer of a supernet is: weights for the largest variant, run at any variant.

A fixed network is made of the plain torch modules that the same classes give for one variant, so there is
one definition of what an operator computes.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from nasforge.errors import SpaceError
from nasforge.space.node import Operator, Types

Index = tuple[slice, ...]
Layout = Sequence[tuple[int, int]]
"""The (offset, length) runs of channels, see `TensorType.layout`."""
Variant = tuple[Operator, Types]
Taken = tuple[nn.Parameter, Index, Tensor]
"""A parameter, the slice that was taken, and the leaf view of it."""


@final
class LeafViews:
    """Slices of parameters as leaf tensors on the same storage.

    Slicing a parameter in the forward pass makes backward fill a full gradient with zeros and the optimiser walk
    all of it. A leaf view gets a gradient of its own size instead. Views are kept: they share storage with their
    parameter, so they never go stale unless the parameter is replaced.
    """

    def __init__(self) -> None:
        """Start without views."""
        self._views: dict[tuple[int, tuple[tuple[int, int], ...]], Taken] = {}
        self.recording = False
        self.used: dict[int, Taken] = {}

    def take(self, parameter: nn.Parameter, index: Index) -> Tensor:
        """Return the slice: the parameter itself where the slice is all of it, else a leaf view or a plain slice."""
        if all(part.stop - part.start == size for part, size in zip(index, parameter.shape, strict=True)):
            return parameter
        if not self.recording:
            return parameter[index]
        key = (id(parameter), tuple((part.start, part.stop) for part in index))
        kept = self._views.get(key)
        if kept is None or kept[2].untyped_storage().data_ptr() != parameter.untyped_storage().data_ptr():
            kept = self._views[key] = (parameter, index, parameter.detach()[index])
        view = kept[2]
        if view.requires_grad != parameter.requires_grad:
            view.requires_grad_(parameter.requires_grad)
        self.used[id(view)] = kept
        return view

    def __reduce__(self) -> tuple[type[LeafViews], tuple[()]]:
        return LeafViews, ()  # a copy belongs to other parameters


class Layer(nn.Module, ABC):
    """Base of all layers. A layer of a supernet is built for all variants that its node can run."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        """Allocate weights for the largest of the variants."""
        super().__init__()
        self.views = LeafViews()

    @abstractmethod
    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Run one variant on tensors of shape (batch, *type.shape)."""

    @classmethod
    @abstractmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return the plain torch module of one variant, freshly initialised."""

    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the weights of one variant into its plain module."""

    def runs(self, parameter: nn.Parameter, *index: slice | Sequence[tuple[int, int]]) -> Tensor:
        """Slice a parameter; an axis given as several (offset, length) runs is gathered and joined."""
        full = [part if isinstance(part, slice) else list(part) for part in index]
        for axis, part in enumerate(full):
            if isinstance(part, list):
                pieces = []
                for offset, length in part:
                    full[axis] = slice(offset, offset + length)
                    pieces.append(self.runs(parameter, *full))
                return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=axis)
        return self.views.take(parameter, tuple(part for part in full if isinstance(part, slice)))


class Stateless(Layer):
    """A layer without weights: the plain modules themselves, one per variant."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        """Start without modules; they are made when first needed."""
        super().__init__(variants)
        self._plain: dict[Variant, nn.Module] = {}

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Run the plain module."""
        module = self._plain.get((op, types))
        if module is None:
            module = self._plain[op, types] = self.plain(op, types)
        module.training = self.training
        result: Tensor = module(*inputs)
        return result


def layer_class(op: Operator) -> type[Layer]:
    """Import the layer class that a leaf operator names.

    Raises:
        SpaceError: the operator names no layer or one that does not exist.
    """
    path = op.layer or ""
    module, _, name = path.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpaceError(
            f"operator {type(op).__name__} names the layer '{path}', which does not load: {error}."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise SpaceError(
            f"operator {type(op).__name__} names '{path}', which is no nasforge.layers.Layer; derive it from one."
        )
    return found


def capacity(variants: Sequence[Variant], place: int = 0) -> int:
    """Return how many input channels the weights must provide for."""
    return max(types[place].capacity for _, types in variants)


def inputs_of(variants: Sequence[Variant]) -> Iterator[Types]:
    """Yield the input types of the variants."""
    return (types for _, types in variants)


def ops_of(variants: Sequence[Variant]) -> Iterator[Any]:
    """Yield the operators of the variants."""
    return (op for op, _ in variants)


__all__ = [
    "Index",
    "Layer",
    "Layout",
    "LeafViews",
    "Stateless",
    "Taken",
    "Variant",
    "capacity",
    "inputs_of",
    "layer_class",
    "ops_of",
]
