"""Selections that population-based strategies share: tournaments, non-dominated sorting and crowding.

All work on losses, of which less is better; infinity stands for a failed evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasforge.goals import dominates


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
    rows = [tuple(map(float, row)) for row in np.asarray(losses, dtype=float)]
    dominated_by = [{j for j, other in enumerate(rows) if dominates(other, row)} for row in rows]
    remaining = set(range(len(rows)))
    fronts: list[list[int]] = []
    while remaining:
        front = sorted(index for index in remaining if not dominated_by[index] & remaining)
        fronts.append(front)
        remaining -= set(front)
    return fronts


def crowding_distance(losses: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return each row's crowding distance within one front (NSGA-II; Deb et al., 2002); ends are infinite."""
    values = np.asarray(losses, dtype=float)
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def select(losses: npt.ArrayLike, count: int) -> list[int]:
    """Return `count` indices: whole fronts first, then the least crowded of the front that does not fit."""
    values = np.asarray(losses, dtype=float)
    chosen: list[int] = []
    for front in non_dominated_fronts(values):
        if len(chosen) + len(front) <= count:
            chosen += front
            continue
        crowding = crowding_distance(values[front])
        by_crowding = sorted(range(len(front)), key=lambda place: (-crowding[place], front[place]))
        chosen += [front[place] for place in by_crowding[: count - len(chosen)]]
        break
    return chosen
