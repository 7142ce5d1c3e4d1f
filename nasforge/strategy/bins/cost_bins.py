"""Cost bins: a cost range cut into equal parts, and architectures drawn bin by bin instead of choice by choice.

Drawing every choice uniformly makes the cost a sum of independent numbers, so almost all draws cost about the mean and
the cheapest and dearest architectures are hardly ever seen. A bin is drawn first here, then an architecture within it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import IncompatibleError, UsageError
from nasforge.hardware.cost import Cost
from nasforge.space import Architecture, SearchSpace

ENUMERATED: Final = 2000
DRAWN: Final = 4096
CHAINS: Final = 64
POOL: Final = 512
MOST_BINS: Final = 10
Rows = npt.NDArray[np.int16]


@final
@dataclass(frozen=True, slots=True)
class CostBins:
    """`number` bins of equal width from `least` to `most`, in the unit of `metric`; the last is closed above.

    >>> bins = CostBins("macs", 0.0, 10.0, 5)
    >>> bins.centres.tolist(), bins.index([0, 1.9, 2, 10, 12]).tolist()
    ([1.0, 3.0, 5.0, 7.0, 9.0], [0, 0, 1, 4, 4])
    """

    metric: str
    least: float
    most: float
    number: int

    def __post_init__(self) -> None:
        """Refuse a range of nothing and no bins.

        Raises:
            UsageError: `most` is not above `least`, or fewer than one bin.
        """
        if self.number < 1 or not self.most > self.least:
            raise UsageError(
                f"cost bins were given number={self.number} and the range {self.least:g} to {self.most:g} of "
                f"'{self.metric}'; expected one bin or more and an end above the beginning."
            )

    @property
    def width(self) -> float:
        """Width of a bin."""
        return (self.most - self.least) / self.number

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Centres of the bins, (number,)."""
        return np.asarray(self.least + self.width * (np.arange(self.number) + 0.5), dtype=np.float64)

    def index(self, costs: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return the bin of each cost; those beyond the range belong to the first and the last."""
        places = np.floor((np.asarray(costs, dtype=np.float64) - self.least) / self.width)
        return np.clip(places, 0, self.number - 1).astype(np.intp)

    def histogram(self, costs: npt.ArrayLike) -> npt.NDArray[np.intp]:
        """Return how many of the costs fall into each bin, (number,)."""
        return np.bincount(self.index(np.ravel(np.asarray(costs))), minlength=self.number)

    def unevenness(self, costs: npt.ArrayLike) -> float:
        """Return Pearson's chi-squared of the histogram against equal counts; 0 where all bins hold as many."""
        counts = self.histogram(costs)
        expected = counts.sum() / self.number
        return float(((counts - expected) ** 2).sum() / max(expected, 1e-12))


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """Different architectures from one end of a cost to the other.

    Attributes:
        rows: decisions, (n, choices).
        costs: of the rows, (n,), ascending.
        complete: whether these are all architectures of the space.
    """

    rows: Rows
    costs: npt.NDArray[np.float64]
    complete: bool


def coverage(space: SearchSpace, cost: Cost, rng: np.random.Generator) -> Coverage:
    """Look a space over: all architectures of a small one, else random ones and chains of mutations from both ends."""
    if space.size <= ENUMERATED:
        return _covering(space.integers(list(space.enumerate())), cost, complete=True)
    parts = [space.sample_batch(DRAWN, rng)]
    for sign in (1.0, -1.0):
        end = _descended(space, cost, sign, parts[0])
        current = np.repeat(np.asarray([end.decisions], dtype=np.int16), CHAINS, axis=0)
        for _ in range(2 * len(space.choices)):
            parts.append(current)
            current = space.mutate_batch(current, rng)
    return _covering(np.concatenate(parts), cost, complete=False)


def _covering(rows: Rows, cost: Cost, *, complete: bool) -> Coverage:
    different = np.unique(rows, axis=0)
    costs = cost.batch(different)
    order = np.argsort(costs, kind="stable")
    return Coverage(different[order], costs[order], complete)


def _descended(space: SearchSpace, cost: Cost, sign: float, rows: Rows) -> Architecture:
    """Return the architecture to which changing one decision at a time leads, from the best of `rows`."""
    best = space.from_decisions(rows[int((sign * cost.batch(rows)).argmin())])
    while True:
        near = min(space.neighbours(best), key=lambda each: sign * cost(each), default=best)
        if sign * cost(near) >= sign * cost(best):
            return best
        best = near


def make_bins(
    space: SearchSpace, cost: Cost, found: Coverage, number: int | None = None, width: float | None = None
) -> CostBins:
    """Cut the range of a cost into bins.

    Args:
        space: for messages.
        cost: to cut.
        found: `coverage` of the space.
        number: of bins; without it and `width`, the most up to ten of which none is empty.
        width: of a bin in the cost's unit; goes before `number`. The last bin then ends at or above the greatest cost.

    Raises:
        IncompatibleError: all architectures cost the same.
        UsageError: a width or number that makes no bins, or a bin in which no architecture was found.
    """
    least, most = float(found.costs[0]), float(found.costs[-1])
    if not most > least:
        raise IncompatibleError(
            f"all architectures of space '{space.name}' have {cost.metric} {least:g}, so there are no cost bins; "
            "take another cost or another strategy."
        )
    if width is not None:
        if not 0 < width < most - least:
            raise UsageError(
                f"a bin width of {width:g} was given for {cost.metric} from {least:g} to {most:g}; "
                "expected more than nothing and less than the range."
            )
        number = math.ceil((most - least) / width - 1e-9)
        most = least + number * width
    if number is not None:
        bins = CostBins(cost.metric, least, most, number)
        _check_filled(space, bins, found)
        return bins
    numbers = (n for n in range(MOST_BINS, 1, -1) if CostBins("", least, most, n).histogram(found.costs).all())
    return CostBins(cost.metric, least, most, next(numbers, 2))


def _check_filled(space: SearchSpace, bins: CostBins, found: Coverage) -> None:
    empty = np.flatnonzero(bins.histogram(found.costs) == 0)
    if len(empty):
        first = bins.least + bins.width * int(empty[0])
        held = "hold no architecture" if found.complete else f"hold none of {len(found.costs)} architectures looked at"
        raise UsageError(
            f"{len(empty)} of {bins.number} bins of {bins.metric} in space '{space.name}' {held} (the first from "
            f"{first:g} to {first + bins.width:g}); use fewer or wider bins."
        )


@final
class BinSampler:
    """Draws architectures of a bin, as likely as the space draws them given that they are in it.

    By rejection of the space's own draws, which choose every decision uniformly and so prefer architectures of few
    decisions (small depth) to others of the bin. Where they are too rare in a bin, from a table of architectures known
    to be in it: uniformly if the table is the whole space, else by a walk of mutations that never leaves the bin.

    Args:
        space: to draw from.
        cost: that is binned.
        bins: none of them empty.
        found: `coverage` of the space.
    """

    def __init__(self, space: SearchSpace, cost: Cost, bins: CostBins, found: Coverage) -> None:
        """Sort what covers the space into the bins."""
        self._space, self.cost, self.bins = space, cost, bins
        places = bins.index(found.costs)
        self._tables = [found.rows[places == number] for number in range(bins.number)]
        self._common = bins.histogram(cost.batch(space.sample_batch(POOL, np.random.default_rng(0)))) / POOL
        self._complete = found.complete

    def table(self, number: int) -> Rows:
        """Return the known decisions of a bin, (n, choices)."""
        known: Rows = self._tables[number]
        return known

    def costs(self, architectures: Sequence[Architecture]) -> npt.NDArray[np.float64]:
        """Return the costs of one architecture or more, (n,)."""
        return self.cost.batch(self._space.integers(architectures))

    def hits(self, architectures: Sequence[Architecture], numbers: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return whether each architecture lies in the bin of the number beside it, (n,)."""
        return np.asarray(self.bins.index(self.costs(architectures)) == np.asarray(numbers))

    def sample(self, number: int, rng: np.random.Generator) -> Architecture:
        """Draw an architecture of bin `number`."""
        if self._common[number] > 0.02:
            rows = self._space.sample_batch(64, rng)
            inside = np.flatnonzero(self.bins.index(self.cost.batch(rows)) == number)
            if len(inside):
                return self._space.from_decisions(rows[inside[0]])
        known = self._tables[number]
        start = self._space.from_decisions(known[int(rng.integers(len(known)))])
        return start if self._complete else self._walked(start, number, rng)

    def _walked(self, current: Architecture, number: int, rng: np.random.Generator) -> Architecture:
        for _ in range(2 * len(self._space.choices)):
            moved = self._space.mutate(current, rng)
            if int(self.bins.index(self.cost(moved))) == number:
                current = moved
        return current


@final
class CategoricalSampler:
    """AttentiveNAS's sampler (Wang et al. 2021): for each bin an independent categorical of every choice.

    The categoricals are counted in architectures of the bin. They are drawn from until a draw falls into the bin,
    `tries` times at most; then the nearest is taken.
    """

    def __init__(self, space: SearchSpace, cost: Cost, within: BinSampler, tries: int = 100) -> None:
        """Count the options in each bin's table."""
        self._space, self._cost, self.bins, self._tries = space, cost, within.bins, tries
        self._ends = [self._counted(within.table(number)) for number in range(self.bins.number)]

    def _counted(self, rows: Rows) -> list[npt.NDArray[Any]]:
        counts = [
            np.bincount(column[column >= 0], minlength=size).astype(float)
            for column, size in zip(rows.T, self._space.sizes, strict=True)
        ]
        return [np.cumsum(count / max(count.sum(), 1.0)) for count in counts]

    def sample(self, number: int, rng: np.random.Generator) -> Architecture:
        """Draw an architecture of bin `number`, or the nearest to its centre that was drawn."""
        centre = float(self.bins.centres[number])
        drawn = self._space.decide(lambda choice, options: self._pick(number, choice, options, rng))
        for _ in range(self._tries - 1):
            if int(self.bins.index(self._cost(drawn))) == number:
                break
            again = self._space.decide(lambda choice, options: self._pick(number, choice, options, rng))
            if abs(self._cost(again) - centre) < abs(self._cost(drawn) - centre):
                drawn = again
        return drawn

    def _pick(self, number: int, choice: int, options: tuple[int, ...], rng: np.random.Generator) -> int:
        option = int(np.searchsorted(self._ends[number][choice], rng.random(), "right"))
        return option if option in options else options[int(rng.integers(len(options)))]
