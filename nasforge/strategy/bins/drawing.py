"""Architectures drawn for cost bins, to be trained, and at a limit, to be selected: by a sampler or by a generator.

A learned generator is only worth its training if it does better than drawing, so both answer the same two questions
here, and a strategy that compares them (ShiftNAS) never asks which of them it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import UsageError
from nasforge.space import Architecture
from nasforge.strategy.base import Problem
from nasforge.strategy.bins.cost_bins import BinSampler, CostBins
from nasforge.strategy.bins.generator import ArchitectureGenerator, decoded

BELOW: Final = 0.1
"""Share of the range below a limit that a generator is asked for too, as it misses its targets by a little."""
DRAWS: Final = 8
"""For one architecture that is to be selected."""
Sampler = Callable[[int, np.random.Generator], Architecture]
"""An architecture for the bin of a number."""


@final
@dataclass(frozen=True, slots=True)
class ForBins:
    """What was drawn for bins.

    Attributes:
        architectures: one for each bin that was asked for, in that order.
        figures: `in_bin`, the share of first draws (before any fallback) that lie in their bin; `drawn_METRIC`, the
            mean cost of `architectures`; of a generator `fallback_share`, the share that was drawn again.
    """

    architectures: list[Architecture]
    figures: dict[str, float]


class Drawing(Protocol):
    """Draws architectures by their cost."""

    def for_bins(self, numbers: Sequence[int], rng: np.random.Generator) -> ForBins:
        """Return an architecture for each bin in `numbers` (one or more, 0..bins - 1), in it as far as it can be."""
        ...

    def at(self, limit: float, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Return several times `count` architectures whose cost is about the limit or less, in no order.

        Some may be beyond limits and some the same; for that there are several times as many as are needed.
        """
        ...


@final
class SampledDrawing:
    """Draws by a sampler; at a limit, from the bins at and below it, what the problem allows.

    Args:
        problem: its limits and filter hold for what is drawn at a limit.
        within: of the bins; draws at a limit.
        sample: draws for a bin; need not keep to it.
    """

    def __init__(self, problem: Problem, within: BinSampler, sample: Sampler) -> None:
        """Take the parts."""
        self._problem, self._within, self._sample = problem, within, sample

    def for_bins(self, numbers: Sequence[int], rng: np.random.Generator) -> ForBins:
        """Return what the sampler draws."""
        drawn = [self._sample(number, rng) for number in numbers]
        return ForBins(drawn, _figures(self._within, drawn, self._within.hits(drawn, numbers)))

    def at(self, limit: float, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Return draws from the bin of the limit and, until there are `count`, from those below it; none twice."""
        found: set[Architecture] = set()
        for number in range(int(self._within.bins.index(limit)), -1, -1):
            drawn = [self._within.sample(number, rng) for _ in range(DRAWS * count)]
            found.update(each for each in drawn if self._problem.feasible(each))
            if len(found) >= count:
                break
        return list(found)


@final
class GeneratedDrawing:
    """Draws by a generator; what it misses may be drawn from the bin.

    Args:
        net: makes architectures of costs.
        within: of the bins.
        tries: for one target, of which the nearest in cost is taken.
        fallback: whether a target for which no try falls into the bin is drawn from the bin instead.

    Raises:
        UsageError: no tries.
    """

    def __init__(self, net: ArchitectureGenerator, within: BinSampler, tries: int, fallback: bool) -> None:
        """Take the parts."""
        if tries < 1:
            raise UsageError(f"a drawing by a generator was given {tries} tries; expected at least one.")
        self._net, self._within, self._tries, self._fallback = net, within, tries, fallback

    def for_bins(self, numbers: Sequence[int], rng: np.random.Generator) -> ForBins:
        """Return what the generator makes of a target within each bin, and draws from the bins that it missed."""
        drawn = self._nearest(numbers, rng)
        hits = self._within.hits(drawn, numbers)
        if self._fallback:
            found = zip(drawn, hits, numbers, strict=True)
            drawn = [each if hit else self._within.sample(number, rng) for each, hit, number in found]
        figures = _figures(self._within, drawn, hits)
        return ForBins(drawn, figures | {"fallback_share": 1.0 - figures["in_bin"] if self._fallback else 0.0})

    def _nearest(self, numbers: Sequence[int], rng: np.random.Generator) -> list[Architecture]:
        """Return what is made of a target within each bin: the nearest of a few, all drawn in one batch."""
        bins, tries = self._within.bins, self._tries
        targets = bins.centres[list(numbers)] + bins.width * (rng.random(len(numbers)) - 0.5)
        drawn = decoded(self._net, [aim(bins, float(target)) for target in np.repeat(targets, tries)], rng)
        costs = self._within.costs(drawn).reshape(-1, tries)
        best = np.abs(costs - targets[:, None]).argmin(1) + tries * np.arange(len(numbers))
        return [drawn[int(place)] for place in best]

    def at(self, limit: float, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Return the likeliest architecture of the limit, and draws of targets up to `BELOW` of the range below it."""
        aims = np.clip(aim(self._within.bins, limit) - np.linspace(0.0, BELOW, DRAWS * count), 0.0, 1.0).tolist()
        return [decoded(self._net, aims[:1], rng, noise=0.0)[0], *decoded(self._net, aims, rng)]


def aim(bins: CostBins, cost: float) -> float:
    """Return a cost as a generator is told it: 0 at the least of the bins' range, 1 at the most."""
    return (cost - bins.least) / (bins.most - bins.least)


def _figures(within: BinSampler, drawn: Sequence[Architecture], hits: npt.NDArray[np.bool_]) -> dict[str, float]:
    return {"in_bin": float(np.mean(hits)), f"drawn_{within.bins.metric}": float(np.mean(within.costs(drawn)))}
