"""Selections that population-based strategies share: tournaments, non-dominated sorting and crowding.

All work on losses, of which less is better; infinity stands for a failed evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasforge.goals import front_numbers


def tournament(losses: Sequence[float], size: int, rng: np.random.Generator) -> int:
    """Return the index of the least loss among `size` contestants drawn with replacement (Real et al. 2019).

    >>> tournament([3.0, 1.0, 2.0], 50, np.random.default_rng(0))
    1
    """
    contestants: list[int] = rng.integers(len(losses), size=size).tolist()
    return min(contestants, key=lambda index: (losses[index], index))


def non_dominated_fronts(losses: npt.ArrayLike) -> list[list[int]]:
    """Split rows into fronts: the first is dominated by none, the next by the first only, and so on.

    Args:
        losses: (points, objectives).
    """
    numbers = front_numbers(losses)
    return [np.flatnonzero(numbers == number).tolist() for number in range(int(numbers.max(initial=-1)) + 1)]


def constrained_fronts(losses: npt.ArrayLike, violations: npt.ArrayLike) -> list[list[int]]:
    """Split rows into fronts by constrained domination (Deb et al., 2002, section VI).

    Rows that violate nothing come first, by domination; the others follow, the least violation first.

    Args:
        losses: (points, objectives).
        violations: (points,), 0 where all limits hold, infinity for failures.
    """
    rows, excess = np.asarray(losses, dtype=float), np.asarray(violations, dtype=float)
    inside = np.flatnonzero(excess <= 0)
    fronts = [inside[front].tolist() for front in non_dominated_fronts(rows[inside])]
    return fronts + [np.flatnonzero(excess == value).tolist() for value in np.unique(excess[excess > 0])]


def crowding_distance(losses: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return each row's crowding distance within one front (NSGA-II; Deb et al., 2002); ends are infinite."""
    values = np.asarray(losses, dtype=float)
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        distance[order[[0, -1]]] = np.inf
        if not np.isfinite(column).all():  # failures have no distances
            continue
        span = column[order[-1]] - column[order[0]]
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def select(losses: npt.ArrayLike, count: int, violations: npt.ArrayLike | None = None) -> list[int]:
    """Return `count` indices: whole fronts first, then the least crowded of the front that does not fit."""
    values = np.asarray(losses, dtype=float)
    fronts = non_dominated_fronts(values) if violations is None else constrained_fronts(values, violations)
    chosen: list[int] = []
    for front in fronts:
        if len(chosen) + len(front) <= count:
            chosen += front
            continue
        crowding = crowding_distance(values[front])
        by_crowding = sorted(range(len(front)), key=lambda place: (-crowding[place], front[place]))
        chosen += [front[place] for place in by_crowding[: count - len(chosen)]]
        break
    return chosen
