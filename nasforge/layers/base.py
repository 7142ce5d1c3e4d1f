"""What every layer of a supernet is: weights for the largest variant, run at any variant.

A fixed network is made of the plain torch modules that the same classes give for one variant, so there is
one definition of what an operator computes.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from nasforge.errors import IncompatibleError, SpaceError
from nasforge.layers.blend import Blend, widened
from nasforge.space.node import Operator, Types

Index = tuple[slice, ...]
Layout = tuple[tuple[int, int], ...]
"""The (offset, length) runs of one axis, see `TensorType.layout`."""
Layouts = tuple[Layout, ...]
Variant = tuple[Operator, Types]
Taken = tuple[nn.Parameter, Index, Tensor]
"""A parameter, the slice that was taken, and the leaf view of it."""


@final
@dataclass(frozen=True, slots=True)
class _Slice:
    """How a slice of a tensor is taken: in parts that are joined, as a view, or as the tensor itself (no index)."""

    tensor: Tensor
    pointer: int
    index: Index | None
    view: Tensor
    parts: tuple[Layouts, ...] = ()
    axis: int = 0

    @property
    def taken(self) -> Taken:
        """The slice as a parameter's."""
        return self.tensor, self.index, self.view  # type: ignore[return-value]  # asked for of parameters only


@final
class LeafViews:
    """Slices of parameters as leaf tensors on the same storage.

    Slicing a parameter in the forward pass makes backward fill a full gradient with zeros and the optimiser walk
    all of it. A leaf view gets a gradient of its own size instead. Views are kept: they share storage with their
    parameter, so they never go stale unless the parameter's storage is replaced, and then they are made anew.

    Attributes:
        recording: whether slices are leaf views; where not, they are plain slices.
        used: the views taken since the list was last cleared. A parameter taken whole is not among them.
    """

    def __init__(self) -> None:
        """Start without views."""
        self._slices: dict[tuple[int, Layouts], _Slice] = {}
        self.recording = False
        self.used: dict[int, Taken] = {}

    def take(self, parameter: nn.Parameter, index: Layouts) -> Tensor:
        """Return the slice: the parameter itself where the slice is all of it, else a leaf view or a plain slice."""
        kept = self._slices.get((id(parameter), index))
        if kept is None or kept.pointer != parameter.data_ptr():
            kept = self._slice(parameter, index)
        if kept.index is None:
            return parameter
        if kept.parts:
            return torch.cat([self.take(parameter, part) for part in kept.parts], kept.axis)
        if not self.recording:
            return parameter[kept.index]
        view = kept.view
        if view.requires_grad != parameter.requires_grad:
            view.requires_grad_(parameter.requires_grad)
        self.used[id(view)] = kept.taken
        return view

    def buffer(self, buffer: Tensor, layout: Layout) -> Tensor:
        """Return the places of a buffer with one axis: a view of one run, a copy of several."""
        kept = self._slice(buffer, (layout,))
        return torch.cat([buffer[o : o + n] for o, n in layout]) if kept.parts else kept.view

    def _slice(self, tensor: Tensor, index: Layouts) -> _Slice:
        key = (id(tensor), index)
        kept = self._slices.get(key)
        if kept is None or kept.pointer != tensor.data_ptr():
            kept = self._slices[key] = _slice(tensor, index)
        return kept

    def __reduce__(self) -> tuple[type[LeafViews], tuple[()]]:
        return LeafViews, ()  # a copy belongs to other parameters


def _slice(tensor: Tensor, index: Layouts) -> _Slice:
    for axis, runs in enumerate(index):
        if len(runs) > 1:
            parts = tuple((*index[:axis], (run,), *index[axis + 1 :]) for run in runs)
            return _Slice(tensor, tensor.data_ptr(), (), tensor, parts, axis)
    if all(runs == ((0, size),) for runs, size in zip(index, tensor.shape, strict=True)):
        return _Slice(tensor, tensor.data_ptr(), None, tensor)
    slices = tuple(slice(offset, offset + length) for ((offset, length),) in index)
    return _Slice(tensor, tensor.data_ptr(), slices, tensor.detach()[slices])


class Layer(nn.Module, ABC):
    """Base of all layers. A layer of a supernet is built for all variants that its node can run.

    One that declares `linear` gives zero for zeros, so that it may run masked where lowering has cut it off.
    """

    linear: ClassVar[bool] = False

    def __init__(self, variants: Sequence[Variant]) -> None:
        """Allocate weights for the largest of the variants."""
        super().__init__()
        self.views = LeafViews()

    @classmethod
    def check(cls, variants: Sequence[Variant]) -> None:
        """Refuse variants that cannot share weights; asked before anything is allocated.

        Raises:
            SpaceError: says why, without the node and the choices, which are added to it.
        """

    @abstractmethod
    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Run one variant on tensors of shape (batch, *type.shape)."""

    @classmethod
    @abstractmethod
    def plain(cls, op: Any, types: Types) -> nn.Module:
        """Return the plain torch module of one variant, freshly initialised."""

    def export(self, op: Any, types: Types, module: nn.Module) -> None:
        """Copy the weights of one variant into its plain module."""

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Run several variants in one batch, on inputs as wide as the widest; see `nasforge.layers.blend`.

        What is left in the places that an image lacks does not matter: they are set to zero afterwards.

        Raises:
            IncompatibleError: the layer cannot, unless it overrides this method.
        """
        raise IncompatibleError(
            f"layer '{blend.name}' cannot run masked: {type(self).__name__} does not say how; "
            "give it a method `masked`, or run the architectures one by one."
        )

    def runs(self, parameter: nn.Parameter, *index: Layout) -> Tensor:
        """Slice a parameter, each axis by its (offset, length) runs; several runs are gathered and joined."""
        return self.views.take(parameter, index)


class Stateless(Layer):
    """A layer without weights: the plain modules themselves, one per variant.

    One that declares `per_channel` treats each channel alone and alike, however many there are, and so runs masked.
    """

    per_channel: ClassVar[bool] = False

    def __init__(self, variants: Sequence[Variant]) -> None:
        """Start without modules; they are made when first needed."""
        super().__init__(variants)
        self._plain: dict[Variant, nn.Module] = {}

    def forward(self, op: Any, types: Types, *inputs: Tensor) -> Tensor:
        """Run the plain module."""
        module = self._plain.get((op, types))
        if module is None:
            module = self._plain[op, types] = self.plain(op, types)
        if module.training is not self.training:  # to set it anew would cost as much as a small activation
            module.training = self.training
        result: Tensor = module.forward(*inputs)  # its hooks would be this layer's, which have been called
        return result

    def masked(self, blend: Blend, *inputs: Tensor) -> Tensor:
        """Run the plain module of each operator on all channels, if channels do not matter."""
        if not self.per_channel:
            return super().masked(blend, *inputs)
        width = max(x.shape[1] for x in inputs)
        wide = [widened(x, width) for x in inputs]
        types = blend.types[0]
        return blend.sum(lambda op: op, lambda op: self(op, types, *wide))


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
