"""Putting a network together from rated blocks: the best combinations of paths within the cost limits.

Scores add up over blocks; costs need not, so every combination is looked up in the cost models as long as there are
few enough. Where there are too many, a path is left out that another one of its block beats in score and in every
limited cost, which loses nothing where costs add up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space import Architecture
from nasforge.strategy.base import Problem
from nasforge.strategy.block_paths import Block

MOST: Final = 400_000


@final
@dataclass(frozen=True)
class RatedBlock:
    """A block with the paths that were rated; less score is better."""

    block: Block
    paths: Sequence[Architecture]
    scores: npt.NDArray[np.float64]


def best_combinations(problem: Problem, rated: Sequence[RatedBlock], count: int) -> list[Architecture]:
    """Return up to `count` architectures within the limits, least summed score first; none where none is.

    Equal scores are ordered by the blocks' own order of paths.
    """
    columns = _narrowed(problem, rated)
    rows, total = [], []
    base = np.asarray(rated[0].paths[0].decisions, dtype=np.int64)
    sizes = [len(scores) for _, scores in columns]
    places = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1)
    for begin in range(0, len(places), 50_000):
        part = places[begin : begin + 50_000]
        decisions = np.repeat(base[None], len(part), axis=0)
        for number, (each, (paths, _)) in enumerate(zip(rated, columns, strict=True)):
            decisions[:, each.block.choices] = paths[part[:, number]]
        summed = np.sum([scores[part[:, n]] for n, (_, scores) in enumerate(columns)], axis=0)
        inside = problem.violation(decisions) <= 0
        rows.append(decisions[inside])
        total.append(summed[inside])
    found_rows, found_total = np.concatenate(rows), np.concatenate(total)
    space = problem.space
    ordered = (space.from_decisions(found_rows[place]) for place in np.argsort(found_total, kind="stable"))
    fine = (each for each in ordered if space.contains(each) and problem.feasible(each))
    return list(itertools.islice(fine, count))


def _narrowed(
    problem: Problem, rated: Sequence[RatedBlock]
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Return for each block the decisions (paths, choices) and scores, fewer where the combinations are too many."""
    columns = []
    for each in rated:
        whole = np.asarray([path.decisions for path in each.paths], dtype=np.int64)
        columns.append((whole, whole[:, each.block.choices], np.asarray(each.scores, dtype=np.float64)))
    share = math.floor(MOST ** (1 / len(rated)))
    if math.prod(len(scores) for _, _, scores in columns) <= MOST:
        return [(paths, scores) for _, paths, scores in columns]
    limited = [problem.costs[limit.metric] for limit in problem.constraints if limit.metric in problem.costs]
    kept = []
    for whole, paths, scores in columns:
        figures = np.stack([scores, *(cost.batch(whole) for cost in limited)], axis=1)
        order = np.lexsort((np.arange(len(scores)), scores))
        front = [place for place in order if not _beaten(figures[place], figures)]
        rest = [place for place in order if place not in set(front)]
        if len(front) > share:  # spread over the costs, the best score always among them
            front = [front[int(place)] for place in np.linspace(0, len(front) - 1, share).round()]
        chosen = np.asarray([*front, *rest][:share])
        kept.append((paths[chosen], scores[chosen]))
    return kept


def _beaten(own: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> bool:
    return bool(((others <= own).all(axis=1) & (others < own).any(axis=1)).any())
