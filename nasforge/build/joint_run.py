"""Running many architectures of a supernet on the same batches, each of their different computations once.

Each batch goes through all architectures before the next one comes, so what is kept is never more than of one batch.
A batch that statistics are taken of goes no further than to the last normalisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, final

import torch
from torch import Tensor

from nasforge.build.joint_graph import JointGraph
from nasforge.build.joint_schedule import Schedule
from nasforge.build.joint_units import Convolved, Normalised, Norms, before_norms, make_units
from nasforge.build.passes import images_of, tell_pass
from nasforge.build.plan import gather_heads
from nasforge.build.supernet import Supernet
from nasforge.errors import UsageError
from nasforge.space import Architecture

MEMORY: Final = 1 << 29
"""Bytes of values that are kept, unless asked for otherwise."""


@final
class JointRun:
    """Calibrates and runs a set of architectures.

    Args:
        supernet: holds the weights; it is left as it is.
        architectures: any number, one several times too.
        memory: bytes of values that may be kept for later; beyond it those that are needed last are dropped and made
            again. What the step in hand reads and gives comes on top.

    Attributes:
        kept_bytes: most that was kept from one step to the next.
        peak_bytes: most that was there at a time, the step in hand included.
        computed: how many computations were carried out, those made again among them.

    Raises:
        IncompatibleError: a layer keeps statistics that cannot be kept apart.
    """

    def __init__(self, supernet: Supernet, architectures: Iterable[Architecture], memory: int = MEMORY) -> None:
        """Lay out what there is to do."""
        self._supernet, self._memory = supernet, memory
        self._graph = JointGraph(supernet, architectures)
        self._units = make_units(self._graph)
        courses, followed = self._graph.courses, before_norms(self._graph)

        def is_observed(number: int) -> bool:
            return followed[number] or isinstance(self._units[number], Normalised | Convolved)

        self._observing = Schedule(courses, self._units, is_observed, lambda course: ())
        self._judging = Schedule(courses, self._units, lambda number: True, lambda course: course.results)
        self._schedule = self._judging
        self._norms = Norms()
        self._values: dict[int, Tensor] = {}
        self._bytes = self.peak_bytes = self.kept_bytes = self.computed = self._macs = 0

    def _unit(self, number: int) -> Any:
        unit = self._units[number]
        assert unit is not None, "inputs are fed, and what runs inside another unit is never asked for"
        return unit

    def calibrate(self, x: Tensor | Mapping[str, Tensor]) -> None:
        """Take the statistics of all normalisations on one more batch (N, C, H, W), or on inputs by name."""
        self._norms.observing = True
        self._norms.seen.clear()
        for _ in self._pass(x, self._observing):
            pass
        self._norms.batches += 1

    @torch.no_grad()
    def outputs(self, x: Tensor | Mapping[str, Tensor]) -> Iterator[tuple[int, Any]]:
        """Run all architectures on a batch, judging by what was calibrated, by the supernet's statistics without.

        Yields:
            The place of an architecture, and what its network gives in evaluation mode; in an order of its own.
        """
        self._norms.observing = False
        for place, time in self._pass(x, self._judging):
            yield place, self._collect(place, time)

    @torch.no_grad()
    def _pass(self, x: Tensor | Mapping[str, Tensor], schedule: Schedule) -> Iterator[tuple[int, int]]:
        """Compute all that is scheduled; yield the place of each architecture that is done, and the time."""
        self._values, self._bytes, self._macs, time = self._feed(x), 0, 0, 0
        self._schedule = schedule
        with _evaluating(self._supernet):
            for place, new in schedule.visits:
                for number in new:
                    self._make(number, time)
                    time += 1
                tell_pass(images_of(x), lambda: images_of(x) * self._macs, ())
                self._macs = 0
                yield place, time
                time += 1
        self._values = {}

    def _feed(self, x: Tensor | Mapping[str, Tensor]) -> dict[int, Tensor]:
        sources = self._graph.sources
        named = {next(iter(sources)): x} if isinstance(x, Tensor) and len(sources) == 1 else x
        if isinstance(named, Tensor) or set(named) != set(sources):
            given = "one tensor" if isinstance(named, Tensor) else sorted(named)
            raise UsageError(f"the networks were given {given}; expected the inputs {sorted(sources)}.")
        return {sources[name]: tensor for name, tensor in named.items()}

    def _make(self, number: int, time: int) -> None:
        """Compute a value, and what it reads where that was dropped; forget what is read no more."""
        unit = self._unit(number)
        self._restore(unit.reads)
        self._compute(number)
        self._forget(unit.reads, time, number)

    def _compute(self, number: int) -> None:
        unit = self._unit(number)
        value = unit.run(self._norms, *[self._values[source] for source in unit.reads])
        for spent in unit.spends:
            self._drop(spent)
        self._values[number] = value
        self._bytes += value.nbytes
        self.peak_bytes = max(self.peak_bytes, self._bytes)
        self.computed += 1
        self._macs += unit.macs

    def _restore(self, numbers: Iterable[int]) -> None:
        missing: set[int] = set()
        stack = [number for number in numbers if number not in self._values]
        while stack:
            number = stack.pop()
            if number not in missing:
                missing.add(number)
                stack.extend(source for source in self._unit(number).reads if source not in self._values)
        for number in sorted(missing):
            self._compute(number)

    def _forget(self, read: Iterable[int], time: int, made: int | None = None) -> None:
        for number in dict.fromkeys(read):
            if self._schedule.next_use(number, time) == math.inf:
                self._drop(number)
        if self._bytes > self._memory:
            self._evict(time, made)
        self.kept_bytes = max(self.kept_bytes, self._bytes)

    def _evict(self, time: int, made: int | None) -> None:
        """Drop what is needed last until the rest fits; what was made just now stays."""
        kept = [number for number in self._values if self._graph.computations[number] is not None and number != made]
        for number in sorted(kept, key=lambda number: self._schedule.next_use(number, time), reverse=True):
            self._drop(number)
            if self._bytes <= self._memory:
                return

    def _drop(self, number: int) -> None:
        if self._graph.computations[number] is not None and number in self._values:
            self._bytes -= self._values.pop(number).nbytes

    def _collect(self, place: int, time: int) -> Any:
        course = self._graph.courses[place]
        self._restore(course.results)
        found = {
            name: gather_heads([self._values[number] for number in numbers], training=False)
            for name, numbers in course.outputs.items()
        }
        self._forget(course.results, time)
        return next(iter(found.values())) if len(found) == 1 else found


@contextmanager
def _evaluating(supernet: Supernet) -> Iterator[None]:
    """Put a supernet into evaluation mode for a while."""
    modes = [(part, part.training) for part in supernet.modules()]
    supernet.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
