"""Dominance, Pareto fronts and hypervolume, for losses of which less is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Say whether `first` is nowhere worse and somewhere better than `second`.

    >>> dominates((1, 2), (1, 3)), dominates((1, 2), (1, 2))
    (True, False)
    """
    pairs = list(zip(first, second, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front_numbers(losses: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the number of each row's front: 0 where no row dominates it, else one more than that of its dominators.

    Equal rows have equal numbers. A row's number is the length of the longest chain of domination that ends in it, and
    in lexicographic order all of a row's dominators come before it.

    Args:
        losses: (points, objectives), less is better; infinity is worse than any number.

    >>> front_numbers([(1, 2), (2, 1), (2, 2), (3, 3), (2, 1)]).tolist()
    [0, 0, 1, 2, 0]
    """
    values = np.asarray(losses, dtype=float)
    if not values.size:
        return np.zeros(len(values), dtype=np.int64)
    rows, place_of = np.unique(values, axis=0, return_inverse=True)
    numbers = np.zeros(len(rows), dtype=np.int64)
    for place in range(1, len(rows)):
        dominators = (rows[:place, 1:] <= rows[place, 1:]).all(axis=1)
        numbers[place] = numbers[:place].max(where=dominators, initial=-1) + 1
    return numbers[place_of.reshape(-1)]


def pareto_front(losses: npt.ArrayLike) -> list[int]:
    """Return the indices of the rows that no other row dominates; of equal rows the first only.

    Args:
        losses: (points, objectives), less is better; rows with infinity or NaN are left out.
    """
    values = np.asarray(losses, dtype=float)
    if values.size == 0:
        return []
    front: list[int] = []
    order = np.lexsort(values.T[::-1])
    for index in order:
        row = values[index]
        if not np.isfinite(row).all():
            continue
        kept = values[front]
        if not len(front) or not (kept <= row).all(axis=1).any():
            front.append(int(index))
    return sorted(front)


def hypervolume(losses: npt.ArrayLike, reference: Sequence[float]) -> float:
    """Return the volume dominated by the rows up to `reference` (exact, by slicing on the first axis)."""
    values = np.asarray(losses, dtype=float)
    limit = np.asarray(reference, dtype=float)
    if values.size == 0:
        return 0.0
    values = values[(values < limit).all(axis=1)]
    if len(values) == 0:
        return 0.0
    if values.shape[1] == 1:
        return float(limit[0] - values[:, 0].min())
    values = values[np.argsort(values[:, 0], kind="stable")]
    edges = np.append(values[1:, 0], limit[0])
    return float(
        sum(
            (edge - values[i, 0]) * hypervolume(values[: i + 1, 1:], reference[1:])
            for i, edge in enumerate(edges)
            if edge > values[i, 0]
        )
    )
