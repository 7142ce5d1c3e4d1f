"""Exact counting and uniform sampling of assignments by variable elimination.

An architecture is counted once by its canonical assignment, in which inactive choices take their first
option (as readers see them). Each choice contributes a 0/1 factor over the few choices that decide its activity, so
eliminating choices one after another counts spaces of 10^30 architectures exactly, in Python integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space.table import Table, TableTooLargeError, joined_axes

MAX_FACTOR_CELLS: Final = 1 << 22


@final
@dataclass(frozen=True, slots=True)
class Elimination:
    """The order in which choices were eliminated, and for each the factors that held it."""

    size: int
    steps: tuple[tuple[int, tuple[Table, ...]], ...]
    free: tuple[int, ...]


def eliminate(factors: Sequence[Table], sizes: Sequence[int]) -> Elimination:
    """Sum the product of `factors` over all assignments, least connected choice first.

    Args:
        factors: integer tables (object dtype holds big integers); a factor excludes an assignment by 0.
        sizes: number of options of each choice.

    Raises:
        TableTooLargeError: an intermediate table is too large to count exactly.
    """
    live = [Table(table.axes, table.values.astype(object)) for table in factors if table.axes]
    size = math.prod(int(table.values) for table in factors if not table.axes)
    connected = {axis for table in live for axis in table.axes}
    free = tuple(axis for axis in range(len(sizes)) if axis not in connected)
    size *= math.prod(sizes[axis] for axis in free)
    steps: list[tuple[int, tuple[Table, ...]]] = []
    while connected:
        axis = min(connected, key=lambda candidate: (_cells(candidate, live, sizes), candidate))
        held = tuple(table for table in live if axis in table.axes)
        live = [table for table in live if axis not in table.axes]
        product, axes = _product(held, sizes)
        summed = product.sum(axis=axes.index(axis))
        rest = tuple(other for other in axes if other != axis)
        if rest:
            live.append(Table(rest, summed))
        else:
            size *= int(summed)
        steps.append((axis, held))
        connected.remove(axis)
    return Elimination(size, tuple(steps), free)


def project(factors: Sequence[Table], sizes: Sequence[int], keep: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return for which option combinations of the choices `keep` (ascending) the product of 0/1 factors is not 0.

    Raises:
        TableTooLargeError: an intermediate table is too large.
    """
    live = list(factors)
    waiting = {axis for table in live for axis in table.axes} - set(keep)
    while waiting:
        axis = min(waiting, key=lambda candidate: (_cells(candidate, live, sizes), candidate))
        held = [table for table in live if axis in table.axes]
        live = [table for table in live if axis not in table.axes]
        axes = joined_axes(held, sizes, MAX_FACTOR_CELLS)
        joint = np.asarray(_conjunction(held, axes, sizes).any(axis=axes.index(axis)))
        live.append(Table(tuple(other for other in axes if other != axis), joint))
        waiting.remove(axis)
    joined_axes([*live, Table(tuple(keep), np.empty(0))], sizes, MAX_FACTOR_CELLS)
    return _conjunction(live, keep, sizes)


def _conjunction(tables: Sequence[Table], axes: Sequence[int], sizes: Sequence[int]) -> npt.NDArray[np.bool_]:
    result = np.ones([sizes[axis] for axis in axes], dtype=bool)
    for table in tables:
        result &= table.spread(axes, sizes).astype(bool)
    return result


def _cells(axis: int, tables: Sequence[Table], sizes: Sequence[int]) -> int:
    axes = {other for table in tables if axis in table.axes for other in table.axes}
    return math.prod(sizes[other] for other in axes)


def _product(tables: Sequence[Table], sizes: Sequence[int]) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    axes = joined_axes(tables, sizes, MAX_FACTOR_CELLS)
    result = np.ones([sizes[axis] for axis in axes], dtype=object)
    for table in tables:
        result = result * table.spread(axes, sizes)
    return result, axes


def draw(elimination: Elimination, sizes: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Draw one assignment with probability proportional to the product of the factors."""
    chosen = [0] * len(sizes)
    for axis in elimination.free:
        chosen[axis] = int(rng.integers(sizes[axis]))
    for axis, held in reversed(elimination.steps):
        weights = np.ones(sizes[axis], dtype=object)
        for table in held:
            place = tuple(slice(None) if other == axis else chosen[other] for other in table.axes)
            weights = weights * table.values[place]
        total = int(weights.sum())
        threshold = _random_below(total, rng)
        for option, weight in enumerate(weights):
            threshold -= int(weight)
            if threshold < 0:
                chosen[axis] = option
                break
    return chosen


def _random_below(bound: int, rng: np.random.Generator) -> int:
    """Return a uniform integer in [0, bound) of any size, by rejection over random bytes."""
    if bound <= 1 << 62:
        return int(rng.integers(bound))
    length = (bound.bit_length() + 7) // 8
    while True:
        value = int.from_bytes(rng.bytes(length), "little") >> (8 * length - bound.bit_length())
        if value < bound:
            return value


__all__ = ["Elimination", "TableTooLargeError", "draw", "eliminate", "project"]
