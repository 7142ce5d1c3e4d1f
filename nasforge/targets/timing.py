"""The timing protocol: many short visits separated in time, gated by a reference, and the minimum of them.

On a shared host the slow spells last for seconds, so back-to-back runs average nothing out. Items are visited in
shuffled passes; a reference network is visited between, and a visit counts only while the reference runs near
its best.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

Run = Callable[[], None]


@final
@dataclass(frozen=True, slots=True)
class Protocol:
    """How to time.

    Attributes:
        visits: passes over all items, at least 4 for a figure to trust.
        runs: least runs of a visit.
        visit_ms: least length of a visit.
        warm_up: runs before a visit counts.
        gate: a visit counts while the nearest reference is within this share of its best.
        every: items between two visits of the reference.
        pause_seconds: between passes, to spread them over time.
    """

    visits: int = 6
    runs: int = 15
    visit_ms: float = 30.0
    warm_up: int = 3
    gate: float = 0.06
    every: int = 8
    pause_seconds: float = 0.5


SHORT = Protocol(visits=4, visit_ms=12.0, pause_seconds=0.0)
"""For building a profile on first use."""


@final
@dataclass(frozen=True, slots=True)
class Readings:
    """Run times in ms by visit of one item; `accepted` says which visits the gate let through."""

    visits: tuple[tuple[float, ...], ...]
    accepted: tuple[bool, ...]

    @property
    def counted(self) -> tuple[tuple[float, ...], ...]:
        """The accepted visits; all of them where fewer than two were accepted."""
        kept = tuple(v for v, ok in zip(self.visits, self.accepted, strict=True) if ok)
        return kept if len(kept) >= 2 else self.visits


@final
@dataclass(frozen=True, slots=True)
class Noise:
    """How quiet the host was: the reference's best and spread, and the share of accepted visits."""

    reference_ms: float
    reference_spread: float
    accepted: float


def one_visit(run: Run, protocol: Protocol) -> tuple[float, ...]:
    """Run an item for a while and return each run's milliseconds."""
    for _ in range(protocol.warm_up):
        run()
    times: list[float] = []
    total = 0.0
    while len(times) < protocol.runs or total < protocol.visit_ms:
        begin = time.perf_counter_ns()
        run()
        elapsed = (time.perf_counter_ns() - begin) / 1e6
        times.append(elapsed)
        total += elapsed
    return tuple(times)


def time_interleaved(
    items: Sequence[Run],
    reference: Run,
    protocol: Protocol,
    progress: Callable[[float], None] | None = None,
    seed: int = 0,
) -> tuple[list[Readings], Noise]:
    """Time items in shuffled passes.

    Args:
        items: calls to time.
        reference: a call of known, steady cost.
        protocol: how.
        progress: hears the share that is done.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    visits: list[list[tuple[float, ...]]] = [[] for _ in items]
    moments: list[list[float]] = [[] for _ in items]
    marks: list[tuple[float, float]] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(protocol.visits):
            for place, index in enumerate(rng.permutation(len(items))):
                if place % protocol.every == 0:
                    marks.append((time.monotonic(), min(one_visit(reference, protocol))))
                visits[index].append(one_visit(items[index], protocol))
                moments[index].append(time.monotonic())
            marks.append((time.monotonic(), min(one_visit(reference, protocol))))
            if progress is not None:
                progress((turn + 1) / protocol.visits)
            if turn + 1 < protocol.visits and protocol.pause_seconds:
                time.sleep(protocol.pause_seconds)
    finally:
        if collecting:
            gc.enable()
    best = min(value for _, value in marks)
    accepted = [[_near(marks, moment) <= best * (1 + protocol.gate) for moment in row] for row in moments]
    flat = [ok for row in accepted for ok in row]
    noise = Noise(best, float(np.median([v for _, v in marks]) / best - 1.0), float(np.mean(flat)) if flat else 1.0)
    return [Readings(tuple(v), tuple(a)) for v, a in zip(visits, accepted, strict=True)], noise


def _near(marks: Sequence[tuple[float, float]], moment: float) -> float:
    """Return the reference reading nearest in time."""
    return min(marks, key=lambda mark: abs(mark[0] - moment))[1]
