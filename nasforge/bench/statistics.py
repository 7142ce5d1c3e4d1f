"""The statistics of a comparison: intervals of a mean, signs of differences, hypervolume with a common reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import UsageError
from nasforge.goals.pareto import hypervolume, pareto_front
from nasforge.rng import generator

Kind = Literal["t", "bootstrap"]
RESAMPLES: Final = 9999
MARGIN: Final = 0.1
Point = tuple[float, float]


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """Where the mean lies."""

    low: float
    high: float


@final
@dataclass(frozen=True, slots=True)
class Signs:
    """How many of the differences are better, worse, and neither."""

    better: int
    worse: int
    equal: int


def mean(values: Sequence[float]) -> float:
    """Return the mean, exactly rounded."""
    return math.fsum(values) / len(values)


def check_confidence(confidence: float) -> float:
    """Return a confidence that is one.

    Raises:
        UsageError: not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence was given {confidence:g}; expected a number between 0 and 1, such as 0.95.")
    return confidence


def interval(values: Sequence[float], kind: Kind = "t", confidence: float = 0.95) -> Interval | None:
    """Return an interval of the mean; None for fewer than two values, from which nothing follows.

    Args:
        values: independent, such as one for each seed.
        kind: `t`, Student's, exact for normal values and sound for few; or `bootstrap`, percentiles of resampled
            means, which assumes no distribution and is too narrow for few values.
        confidence: between 0 and 1.

    Raises:
        UsageError: another kind, or a confidence that is none.
    """
    if kind not in ("t", "bootstrap"):
        raise UsageError(f"interval was given '{kind}'; expected t or bootstrap.")
    check_confidence(confidence)
    if len(values) < 2:
        return None
    return _student(values, confidence) if kind == "t" else _resampled(values, confidence)


def _student(values: Sequence[float], confidence: float) -> Interval:
    from scipy.stats import t

    middle, count = mean(values), len(values)
    error = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (count - 1) / count)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    return Interval(middle - half, middle + half)


def _resampled(values: Sequence[float], confidence: float) -> Interval:
    rng = generator(0, "bootstrap")
    given = np.asarray(values, dtype=float)
    means = given[rng.integers(0, len(given), (RESAMPLES, len(given)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def intervals(rows: npt.ArrayLike, confidence: float = 0.95) -> npt.NDArray[np.float64]:
    """Return bootstrap intervals of many means at once, by the resamples that `interval` takes.

    Args:
        rows: (values, means), independent along the first axis.
        confidence: between 0 and 1.

    Returns:
        Low and high ends, shape (2, means).
    """
    given = np.asarray(rows, dtype=float)
    means = _shares(len(given)) @ given
    ends: npt.NDArray[np.float64] = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return ends


@lru_cache(maxsize=2)
def _shares(count: int) -> npt.NDArray[np.float64]:
    """Return the share that each of `count` values has in each resample, (resamples, count)."""
    drawn = generator(0, "bootstrap").integers(0, count, (RESAMPLES, count))
    places = drawn + count * np.arange(RESAMPLES)[:, None]
    return np.bincount(places.ravel(), minlength=RESAMPLES * count).reshape(RESAMPLES, count) / count


def signs(differences: Sequence[float], direction: str) -> Signs:
    """Count differences by whether they are better than the baseline.

    >>> signs([0.1, -0.2, 0.0, 0.3], "maximize")
    Signs(better=2, worse=1, equal=1)
    """
    above, below = (sum(1 for each in differences if sign * each > 0) for sign in (1, -1))
    better, worse = (above, below) if direction == "maximize" else (below, above)
    return Signs(better, worse, len(differences) - above - below)


def common_reference(fronts: Sequence[Sequence[Point]]) -> Point | None:
    """Return one reference point for fronts of losses: the worst of each loss, and a tenth of its range beyond.

    Every point of every front then has a share of the volume, and the fronts may be compared with each other.
    """
    points = [point for front in fronts for point in front]
    if not points:
        return None
    found = []
    for values in zip(*points, strict=True):
        span = max(values) - min(values)
        found.append(max(values) + MARGIN * (span or abs(max(values)) or 1.0))
    return found[0], found[1]


def front_volume(front: Sequence[Point], reference: Point) -> float:
    """Return the area that a front of losses dominates up to the reference."""
    kept = [front[place] for place in pareto_front(front)] if front else []
    return hypervolume(kept, reference)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """Return second - first by seed, for the seeds that both have."""
    return {seed: second[seed] - first[seed] for seed in sorted(first.keys() & second.keys())}
