"""What a joint run does for each computation: run its layer, or a convolution and its normalisation in one.

Statistics are kept by computation, not by layer: the same layer has others behind another input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional

from nasforge.build.joint_graph import Computation, JointGraph
from nasforge.layers.combine import MultiplyLayer
from nasforge.layers.conv import ActivationLayer, ElasticBatchNorm, ElasticConv2d
from nasforge.layers.folding import (
    Statistics,
    folded,
    fresh_statistics,
    kept_statistics,
    normalise,
    observe,
    observe_moments,
    observe_only,
    widens,
)


@final
@dataclass(slots=True)
class Norms:
    """Statistics of every normalisation, by number of its computation: the mean over the batches observed.

    Attributes:
        observing: whether the batch at hand is one that statistics are taken of.
        batches: how many were observed before it.
        statistics: what was found so far.
        seen: the normalisations that the batch has been through.
    """

    observing: bool = False
    batches: int = 0
    statistics: dict[int, Statistics] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def observed(self, number: int, found: Computation) -> Statistics | None:
        """Return the statistics that a batch is to move; None where it has moved them before."""
        assert isinstance(found.layer, ElasticBatchNorm)
        if number in self.seen:
            return None
        self.seen.add(number)
        if number not in self.statistics:
            self.statistics[number] = fresh_statistics(found.layer, found.types)
        return self.statistics[number]

    @property
    def momentum(self) -> float:
        """How far a batch moves them: to the mean of all so far."""
        return 1.0 / (self.batches + 1)

    def of(self, number: int, found: Computation) -> Statistics:
        """Return the statistics to judge by; the layer's own where none were taken."""
        assert isinstance(found.layer, ElasticBatchNorm)
        return self.statistics.get(number) or kept_statistics(found.layer, found.types)


class Unit(ABC):
    """Makes the value of one computation from those that it reads."""

    reads: tuple[int, ...]

    @property
    def spends(self) -> tuple[int, ...]:
        """The numbers among `reads` whose values are overwritten."""
        return ()

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return 0

    @abstractmethod
    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Return the value, (batch, *shape)."""


@final
@dataclass(frozen=True, slots=True)
class Plain(Unit):
    """A layer that has no statistics."""

    found: Computation
    reads: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Those of the layer."""
        return self.found.op.macs(self.found.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Run the layer."""
        result: Tensor = self.found.layer(self.found.op, self.found.types, *inputs)
        return result


@final
@dataclass(frozen=True, slots=True)
class InPlace(Unit):
    """An activation that nothing else reads the input of: it overwrites it."""

    module: nn.Module
    reads: tuple[int, ...]

    @property
    def spends(self) -> tuple[int, ...]:
        """The input."""
        return self.reads

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Run the module."""
        result: Tensor = self.module(*inputs)
        return result


@final
@dataclass(frozen=True, slots=True)
class Gated(Unit):
    """A product with a gate made of the value itself, as in squeeze-excite: it overwrites the value."""

    reads: tuple[int, ...]

    @property
    def spends(self) -> tuple[int, ...]:
        """The value."""
        return self.reads[:1]

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Multiply."""
        return inputs[0].mul_(inputs[1])


@final
@dataclass(frozen=True, slots=True)
class Pointwise(Unit):
    """A 1x1 convolution of a single position, as in squeeze-excite: a matrix product takes a fifth of the time."""

    found: Computation
    reads: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Those of the layer."""
        return self.found.op.macs(self.found.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Multiply."""
        assert isinstance(self.found.layer, ElasticConv2d)
        weight, bias = self.found.layer.taken(self.found.op, self.found.types)
        return functional.linear(inputs[0].flatten(1), weight.flatten(1), bias)[:, :, None, None]


@final
@dataclass(frozen=True, slots=True)
class Normalised(Unit):
    """A batch normalisation; `ends` where no other follows, so that nothing reads it while observing."""

    number: int
    found: Computation
    reads: tuple[int, ...]
    ends: bool

    @property
    def macs(self) -> int:
        """Those of the layer."""
        return self.found.op.macs(self.found.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Normalise by the batch while observing, by what was observed afterwards."""
        found, layer = self.found, self.found.layer
        assert isinstance(layer, ElasticBatchNorm)
        if norms.observing:
            statistics = norms.observed(self.number, found)
            return _observe(layer, found, statistics, norms.momentum, inputs[0], self.ends)
        return normalise(layer, found.op, found.types, inputs[0], norms.of(self.number, found))


@final
@dataclass(frozen=True, slots=True)
class Convolved(Unit):
    """A convolution whose value only a batch normalisation reads, and that normalisation; `ends` as there."""

    number: int
    conv: Computation
    norm: Computation
    reads: tuple[int, ...]
    ends: bool

    @property
    def macs(self) -> int:
        """Those of the convolution and of the normalisation."""
        return self.conv.op.macs(self.conv.types) + self.norm.op.macs(self.norm.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Convolve and normalise; in one where the statistics are known."""
        conv, norm, layer, after = self.conv, self.norm, self.conv.layer, self.norm.layer
        assert isinstance(layer, ElasticConv2d)
        assert isinstance(after, ElasticBatchNorm)
        if not norms.observing:
            return folded(layer, conv.op, conv.types, after, norm.op, norms.of(self.number, norm), inputs[0])
        statistics = norms.observed(self.number, norm)
        if widens(layer, conv.op, conv.types) and not self.ends:
            return observe_moments(layer, conv.op, conv.types, after, norm.op, statistics, norms.momentum, inputs[0])
        value: Tensor = layer(conv.op, conv.types, *inputs)
        return _observe(after, norm, statistics, norms.momentum, value, self.ends)


def _observe(
    layer: ElasticBatchNorm, found: Computation, statistics: Statistics | None, momentum: float, x: Tensor, ends: bool
) -> Tensor:
    if not ends:
        return observe(layer, found.op, found.types, x, statistics, momentum)
    if statistics is not None:
        observe_only(x, statistics, momentum)
    return x.new_empty(0)


def before_norms(graph: JointGraph) -> list[bool]:
    """Say of each computation whether a batch normalisation comes behind it."""
    found = [False] * len(graph.computations)
    for number in reversed(range(len(found))):
        computation = graph.computations[number]
        if computation is not None and (found[number] or isinstance(computation.layer, ElasticBatchNorm)):
            for source in computation.inputs:
                found[source] = True
    return found


def make_units(graph: JointGraph) -> list[Unit | None]:
    """Return the unit of each computation; None for inputs, and for what is run inside another unit."""
    making = _Making(graph)
    for number, found in enumerate(graph.computations):
        making.units.append(None if found is None else making.unit(number, found))
    return making.units


@final
class _Making:
    """The units made so far, and what must be known of the graph to merge some."""

    def __init__(self, graph: JointGraph) -> None:
        self.units: list[Unit | None] = []
        self._graph = graph
        self._followed = before_norms(graph)
        self._kept = {number for course in graph.courses for number in course.results}

    def unit(self, number: int, found: Computation) -> Unit:
        layer, first = found.layer, found.inputs[0]
        if isinstance(layer, ElasticBatchNorm):
            return self._norm(number, found)
        if isinstance(layer, ActivationLayer) and self._owned(first) and self._graph.consumers[first] == [number]:
            module = layer.plain(found.op, found.types)
            if hasattr(module, "inplace"):
                module.inplace = True  # type: ignore[assignment]  # torch declares no attribute of nn.Module's
                return InPlace(module, found.inputs)
        if isinstance(layer, MultiplyLayer) and self._owned(first) and self._is_own_gate(number, found):
            return Gated(found.inputs)
        if isinstance(layer, ElasticConv2d) and _is_matrix(found):
            return Pointwise(found, found.inputs)
        return Plain(found, found.inputs)

    def _norm(self, number: int, found: Computation) -> Unit:
        first, ends = found.inputs[0], not self._followed[number]
        source = self._graph.computations[first]
        alone = self._graph.consumers[first] == [number] and first not in self._kept
        if source is None or not isinstance(source.layer, ElasticConv2d) or not alone:
            return Normalised(number, found, found.inputs, ends)
        self.units[first] = None
        return Convolved(number, source, found, source.inputs, ends)

    def _owned(self, number: int) -> bool:
        """Say whether a value is in memory of its own, and no result."""
        return number not in self._kept and isinstance(self.units[number], Normalised | Convolved | InPlace)

    def _is_own_gate(self, number: int, found: Computation) -> bool:
        """Say whether the second factor is made of the first, which nothing else reads."""
        first, gate = found.inputs
        readers = self._graph.consumers[first]
        while gate > first and gate not in readers:
            source = self._graph.computations[gate]
            gate = source.inputs[0] if source is not None and len(source.inputs) == 1 else -1
        return sorted(readers) == sorted({gate, number})


def _is_matrix(found: Computation) -> bool:
    op: Any = found.op
    return found.types[0].spatial == (1, 1) and op.kernel == 1 and op.groups == 1 and not op.depthwise
