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
from nasforge.layers.conv import ActivationLayer, ElasticBatchNorm, ElasticConv2d
from nasforge.layers.folding import Statistics, folded, fresh_statistics, kept_statistics, normalise, observe


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

    def observe(self, number: int, found: Computation, x: Tensor) -> Tensor:
        """Normalise a batch by itself, and take its statistics the first time it comes."""
        assert isinstance(found.layer, ElasticBatchNorm)
        statistics = None
        if number not in self.seen:
            self.seen.add(number)
            statistics = self.statistics.get(number)
            if statistics is None:
                statistics = self.statistics[number] = fresh_statistics(found.layer, found.types)
        return observe(found.layer, found.op, found.types, x, statistics, 1.0 / (self.batches + 1))

    def of(self, number: int, found: Computation) -> Statistics:
        """Return the statistics to judge by; the layer's own where none were taken."""
        assert isinstance(found.layer, ElasticBatchNorm)
        return self.statistics.get(number) or kept_statistics(found.layer, found.types)


class Unit(ABC):
    """Makes the value of one computation from those that it reads."""

    reads: tuple[int, ...]

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

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Run the module."""
        result: Tensor = self.module(*inputs)
        return result


@final
@dataclass(frozen=True, slots=True)
class Pointwise(Unit):
    """A 1x1 convolution of a single position, as in squeeze-excite: a matrix product takes a fifth of the time."""

    found: Computation
    reads: tuple[int, ...]

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Multiply."""
        assert isinstance(self.found.layer, ElasticConv2d)
        weight, bias = self.found.layer.taken(self.found.op, self.found.types)
        return functional.linear(inputs[0].flatten(1), weight.flatten(1), bias)[:, :, None, None]


@final
@dataclass(frozen=True, slots=True)
class Normalised(Unit):
    """A batch normalisation."""

    number: int
    found: Computation
    reads: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Those of the layer."""
        return self.found.op.macs(self.found.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Normalise by the batch while observing, by what was observed afterwards."""
        if norms.observing:
            return norms.observe(self.number, self.found, inputs[0])
        layer: Any = self.found.layer
        return normalise(layer, self.found.op, self.found.types, inputs[0], norms.of(self.number, self.found))


@final
@dataclass(frozen=True, slots=True)
class Convolved(Unit):
    """A convolution whose value only a batch normalisation reads, and that normalisation."""

    number: int
    conv: Computation
    norm: Computation
    reads: tuple[int, ...]

    @property
    def macs(self) -> int:
        """Those of the convolution and of the normalisation."""
        return self.conv.op.macs(self.conv.types) + self.norm.op.macs(self.norm.types)

    def run(self, norms: Norms, *inputs: Tensor) -> Tensor:
        """Convolve and normalise; in one where the statistics are known."""
        conv, norm = self.conv, self.norm
        if norms.observing:
            return norms.observe(self.number, norm, conv.layer(conv.op, conv.types, *inputs))
        statistics = norms.of(self.number, norm)
        assert isinstance(conv.layer, ElasticConv2d)
        assert isinstance(norm.layer, ElasticBatchNorm)
        return folded(conv.layer, conv.op, conv.types, norm.layer, norm.op, statistics, inputs[0])


def make_units(graph: JointGraph) -> list[Unit | None]:
    """Return the unit of each computation; None for inputs, and for what is run inside another unit."""
    kept = {number for course in graph.courses for number in course.results}
    alone = {number for number, readers in enumerate(graph.consumers) if len(readers) == 1 and number not in kept}
    units: list[Unit | None] = []
    for number, found in enumerate(graph.computations):
        units.append(None if found is None else _unit(number, found, graph, units, alone))
    return units


def _unit(number: int, found: Computation, graph: JointGraph, units: list[Unit | None], alone: set[int]) -> Unit:
    source = graph.computations[found.inputs[0]]
    if isinstance(found.layer, ElasticBatchNorm):
        if source is None or not isinstance(source.layer, ElasticConv2d) or found.inputs[0] not in alone:
            return Normalised(number, found, found.inputs)
        units[found.inputs[0]] = None
        return Convolved(number, source, found, source.inputs)
    if isinstance(found.layer, ActivationLayer) and found.inputs[0] in alone:
        module = found.layer.plain(found.op, found.types)
        if isinstance(units[found.inputs[0]], Normalised | Convolved) and hasattr(module, "inplace"):
            module.inplace = True  # type: ignore[assignment]  # torch declares no attribute of nn.Module's
            return InPlace(module, found.inputs)
    if isinstance(found.layer, ElasticConv2d) and _is_matrix(found):
        return Pointwise(found, found.inputs)
    return Plain(found, found.inputs)


def _is_matrix(found: Computation) -> bool:
    op: Any = found.op
    return found.types[0].spatial == (1, 1) and op.kernel == 1 and op.groups == 1 and not op.depthwise
