"""Many architectures of a supernet as one graph of the different things that they compute.

Two architectures compute the same wherever layer, operator and types are the same and everything that comes before is
too: batch normalisation sees the same batches there, so even its statistics are equal. Lowered steps are therefore
named by what they compute (hash-consing), and each is there once, however many architectures go through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from torch.nn.modules.batchnorm import _BatchNorm

from nasforge.build.plan import make_plan
from nasforge.build.supernet import Supernet
from nasforge.build.variants import layer_key
from nasforge.errors import IncompatibleError
from nasforge.layers.base import Layer, Stateless
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.space import Architecture
from nasforge.space.lower import Step
from nasforge.space.node import Operator, Types


@final
@dataclass(frozen=True, slots=True)
class Computation:
    """One step that at least one architecture does; `inputs` number computations, always earlier ones."""

    layer: Layer
    op: Operator
    types: Types
    inputs: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Course:
    """What one architecture computes: all numbers in order, and those of each output's heads."""

    numbers: tuple[int, ...]
    outputs: Mapping[str, tuple[int, ...]]

    @property
    def results(self) -> tuple[int, ...]:
        """The numbers of all outputs."""
        return tuple(number for numbers in self.outputs.values() for number in numbers)


@final
class JointGraph:
    """The computations of a set of architectures.

    Attributes:
        computations: by number; None for the networks' inputs.
        sources: number of each input by name.
        courses: of the architectures, in the order they were given.
        consumers: numbers that read each number.

    Raises:
        IncompatibleError: a layer normalises batches in a way of its own, so its statistics cannot be kept apart.
    """

    def __init__(self, supernet: Supernet, architectures: Iterable[Architecture]) -> None:
        """Lay out all architectures."""
        self.computations: list[Computation | None] = []
        self.sources: dict[str, int] = {}
        self._supernet = supernet
        self._numbers: dict[Any, int] = {}
        self._checked: set[Any] = set()
        self.courses: Sequence[Course] = [self._course(architecture) for architecture in architectures]
        self.consumers: list[list[int]] = [[] for _ in self.computations]
        for number, found in enumerate(self.computations):
            for source in dict.fromkeys(found.inputs if found is not None else ()):
                self.consumers[source].append(number)

    def _course(self, architecture: Architecture) -> Course:
        plan = make_plan(self._supernet.space.lower(architecture))
        numbers = {value: self._source(name) for name, value in plan.sources.items()}
        for step in plan.steps:
            numbers[step.output] = self._number(step, tuple(numbers[value] for value in step.inputs))
        outputs = {name: tuple(numbers[value] for value in heads) for name, heads in plan.outputs.items()}
        return Course(tuple(numbers[step.output] for step in plan.steps), outputs)

    def _source(self, name: str) -> int:
        if name not in self.sources:
            self.sources[name] = len(self.computations)
            self.computations.append(None)
        return self.sources[name]

    def _number(self, step: Step, inputs: tuple[int, ...]) -> int:
        layer = self._supernet.layer_of(step)
        assert isinstance(layer, Layer)
        named = "" if isinstance(layer, Stateless) else layer_key(step.weights, step.part)
        key = named, step.op, step.input_types, inputs
        number = self._numbers.get(key)
        if number is None:
            self._check(layer, step)
            number = self._numbers[key] = len(self.computations)
            self.computations.append(Computation(layer, step.op, step.input_types, inputs))
        return number

    def _check(self, layer: Layer, step: Step) -> None:
        asked = type(layer), layer_key(step.weights, step.part) if not isinstance(layer, Stateless) else step.op
        if asked in self._checked:
            return
        if _is_closed(layer, step.op, step.input_types):
            raise IncompatibleError(
                f"layer '{layer_key(step.weights, step.part)}' keeps statistics inside {type(layer).__name__}, so they "
                "cannot be kept for many architectures at once; evaluate them one by one."
            )
        self._checked.add(asked)


def _is_closed(layer: Layer, op: Operator, types: Types) -> bool:
    """Say whether a layer normalises batches, or keeps what it has seen, where nobody else can get at it."""
    if isinstance(layer, ElasticBatchNorm):
        return False
    parts = (layer.plain(op, types) if isinstance(layer, Stateless) else layer).modules()
    return any(True for _ in layer.buffers()) or any(isinstance(part, ElasticBatchNorm | _BatchNorm) for part in parts)
