"""Putting a network together from rated blocks: the best combinations of paths within the cost limits.

Scores add up over blocks; costs need not, so every combination is looked up in the cost models as long as there are
few enough. Where there are too many and costs do add up, the best are found exactly by merging block after block
(`nasforge.strategy.blocks.merge`). Where neither holds, some paths of each block are left out, and what is found is
approximately the best: a warning says so.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space import Architecture, SearchSpace
from nasforge.space.table import Table
from nasforge.strategy.base import Problem
from nasforge.strategy.blocks.merge import Column, merged
from nasforge.strategy.blocks.paths import Block, are_independent

MOST: Final = 400_000
"""Combinations that are all looked up."""


@final
@dataclass(frozen=True)
class RatedBlock:
    """A block with the paths that were rated; less score is better."""

    block: Block
    paths: Sequence[Architecture]
    scores: npt.NDArray[np.float64]


def best_combinations(problem: Problem, rated: Sequence[RatedBlock], count: int) -> list[Architecture]:
    """Return up to `count` architectures within the limits, least summed score first; none where none was found.

    Equal scores are ordered by the blocks' own order of paths. Warns where the result is approximate: more than `MOST`
    combinations, and a limited cost that does not add up over blocks, or paths that depend on other blocks', or so many
    limits that the combinations worth keeping are too many.
    """
    columns = [_column(problem, each) for each in rated]
    exact = True
    if math.prod(len(each.scores) for each in columns) <= MOST:
        places = _all_places(columns)
    elif _adds_up(problem, rated):
        places, exact = merged(*_apart(problem, rated, columns), count)
    else:
        columns, exact = [_narrowed(each, math.floor(MOST ** (1 / len(rated)))) for each in columns], False
        places = _all_places(columns)
    if not exact:
        warnings.warn(
            f"the blocks of space '{problem.space.name}' have too many combinations to look at all of them, so the "
            "best within the limits was found approximately; fewer limits or smaller blocks make it exact.",
            RuntimeWarning,
            stacklevel=2,
        )
    return _looked_up(problem, rated, columns, places, count)


def best_samples(
    drawn: Sequence[Architecture],
    rate: Callable[[Sequence[Architecture]], Sequence[float]],
    count: int,
    strategy: str,
) -> list[Architecture]:
    """Return up to `count` of the architectures drawn within the limits, the least rating first; and warn of it.

    Blocks are rated behind the best paths before them. Where these end at a scale that later blocks cannot leave,
    no combination of rated paths may be within the limits, although other architectures are.
    """
    warnings.warn(
        f"no combination of the paths that {strategy} rated is within the limits; proposed are the best of "
        f"{len(drawn)} random architectures within them, rated behind blocks of their own.",
        RuntimeWarning,
        stacklevel=2,
    )
    return [drawn[int(place)] for place in np.argsort(rate(drawn), kind="stable")[:count]]


def _column(problem: Problem, rated: RatedBlock) -> Column:
    """Return the decisions, scores and limited costs of a block's paths, each behind its own prefix."""
    whole = np.asarray([path.decisions for path in rated.paths], dtype=np.int64)
    limited = [problem.costs[limit.metric] for limit in problem.constraints if limit.metric in problem.costs]
    costs = np.stack([cost.batch(whole) for cost in limited], axis=1) if limited else np.zeros((len(whole), 0))
    return Column(whole[:, rated.block.choices], np.asarray(rated.scores, dtype=np.float64), costs)


def _all_places(columns: Sequence[Column]) -> npt.NDArray[np.int64]:
    """Return all combinations of places, (combinations, blocks), the first block's place the slowest to change."""
    sizes = [len(each.scores) for each in columns]
    return np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)


def _looked_up(
    problem: Problem,
    rated: Sequence[RatedBlock],
    columns: Sequence[Column],
    places: npt.NDArray[np.int64],
    count: int,
) -> list[Architecture]:
    """Return the best of the combinations given by places, (combinations, blocks), that are within the limits."""
    rows, total = [], []
    base = np.asarray(rated[0].paths[0].decisions, dtype=np.int64)
    for begin in range(0, len(places), 50_000):
        part = places[begin : begin + 50_000]
        decisions = np.repeat(base[None], len(part), axis=0)
        summed = np.zeros(len(part))
        for number, (each, column) in enumerate(zip(rated, columns, strict=True)):
            decisions[:, each.block.choices] = column.paths[part[:, number]]
            summed += column.scores[part[:, number]]
        inside = problem.violation(decisions) <= 0
        rows.append(decisions[inside])
        total.append(summed[inside])
    if not rows:
        return []
    found_rows, found_total = np.concatenate(rows), np.concatenate(total)
    space = problem.space
    ordered = (space.from_decisions(found_rows[place]) for place in np.argsort(found_total, kind="stable"))
    fine = (each for each in ordered if space.contains(each) and problem.feasible(each))
    return list(itertools.islice(fine, count))


def _adds_up(problem: Problem, rated: Sequence[RatedBlock]) -> bool:
    """Say whether blocks can be chosen one by one: no part of a limited cost depends on two blocks together.

    What a filter lets through depends on the whole network.
    """
    space = problem.space
    if problem.filter is not None or not are_independent(space, [each.block for each in rated]):
        return False
    owner = {choice: number for number, each in enumerate(rated) for choice in each.block.choices}
    limited = [problem.costs[limit.metric] for limit in problem.constraints if limit.metric in problem.costs]
    tables = [getattr(cost, "tables", ()) for cost in limited]
    return all(parts and all(_is_sum(table, owner, space) for table in parts) for parts in tables)


def _is_sum(table: Table, owner: Mapping[int, int], space: SearchSpace) -> bool:
    """Say whether a table over choices of several blocks is a sum of one table for each block.

    Tables of a cost are joined where that makes them fewer, so those that read two blocks may still be sums.
    """
    read = [set(space.allowed[axis]) | ({0} if space.analysis.active[axis].axes else set()) for axis in table.axes]
    if any(axis not in owner and len(options) > 1 for axis, options in zip(table.axes, read, strict=True)):
        return False
    values = np.asarray(table.values, dtype=np.float64)[np.ix_(*map(sorted, read))]
    total = np.full(values.shape, values.flat[0])
    for block in {owner[axis] for axis in table.axes if axis in owner}:
        of_block = tuple(slice(None) if owner.get(axis) == block else slice(0, 1) for axis in table.axes)
        total = total + (values[of_block] - values.flat[0])
    return bool(np.allclose(total, values, rtol=1e-9, atol=1e-9 * float(np.abs(values).max())))


def _apart(
    problem: Problem, rated: Sequence[RatedBlock], columns: Sequence[Column]
) -> tuple[list[Column], npt.NDArray[np.float64]]:
    """Return the columns with what each path costs more than the first network's, and what is left of the limits.

    Only of costs that add up over blocks.
    """
    limits = [limit for limit in problem.constraints if limit.metric in problem.costs]
    base = np.asarray(rated[0].paths[0].decisions, dtype=np.int64)[None]
    first = np.asarray([problem.costs[limit.metric].batch(base)[0] for limit in limits], dtype=np.float64)
    found = []
    for each, column in zip(rated, columns, strict=True):
        rows = np.repeat(base, len(column.scores), axis=0)
        rows[:, each.block.choices] = column.paths
        costs = [problem.costs[limit.metric].batch(rows) for limit in limits]
        more = np.stack(costs, axis=1) - first if limits else np.zeros((len(rows), 0))
        found.append(Column(column.paths, column.scores, more))
    rooms: npt.NDArray[np.float64] = np.asarray([limit.bound for limit in limits], dtype=np.float64) - first
    return found, rooms


def _narrowed(column: Column, most: int) -> Column:
    """Leave out paths beyond a number: first those that another one beats in score and in every limited cost.

    Of the others stay the best score, the cheapest by each limited cost and by all of them, and a spread between.
    """
    figures = np.column_stack([column.scores, column.costs])
    order = np.lexsort((np.arange(len(figures)), column.scores))
    front = [int(place) for place in order if not _beaten(figures[place], figures)]
    if len(front) > most:
        share = column.costs / np.maximum(column.costs.max(axis=0, initial=1e-12), 1e-12)
        sides = [*column.costs.T, share.sum(axis=1)] if column.costs.shape[1] else []
        kept = dict.fromkeys([front[0], *(min(front, key=side.__getitem__) for side in sides)])
        spread = [front[int(place)] for place in np.linspace(0, len(front) - 1, most).round()]
        front = list(dict.fromkeys([*kept, *spread]))
    rest = [int(place) for place in order if int(place) not in set(front)]
    chosen = np.asarray([*front, *rest][:most])
    return Column(column.paths[chosen], column.scores[chosen], column.costs[chosen])


def _beaten(own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> bool:
    return bool(((others <= own).all(axis=1) & (others < own).any(axis=1)).any())
