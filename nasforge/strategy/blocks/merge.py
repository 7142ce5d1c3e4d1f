"""Merging rated blocks one after another, keeping what can still be best: exact where scores and costs add up.

A partial choice is left out once as many others as are wanted are at least as good in score and in every limited cost:
whatever is appended to it, they stay so. What no rest of the network could bring within the limits is left out too.
So 16 x 256^4 combinations come down to a few thousand sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
KEPT_FOR_ONE: Final = 20_000
KEPT_FOR_SEVERAL: Final = 3_000
"""Partial choices kept at most, with one limited cost and with several; beyond that the result is approximate."""
ROUNDING: Final = 1e-9
CHUNK: Final = 512


@final
@dataclass(frozen=True)
class Column:
    """The paths of one block.

    Attributes:
        paths: (paths, choices), decisions of the block's choices.
        scores: (paths,), less is better.
        costs: (paths, limits), limited costs.
    """

    paths: npt.NDArray[np.int64]
    scores: Floats
    costs: Floats


def merged(columns: Sequence[Column], rooms: Floats, count: int) -> tuple[npt.NDArray[np.int64], bool]:
    """Return places of paths, (combinations, blocks), the `count` best sums within the limits among them.

    Args:
        columns: of each block; costs add up.
        rooms: (limits,), what the sums of costs may be.
        count: how many sums have to be right. Equal sums are ordered by their places.

    Returns:
        The combinations in the order of their places, and whether they are exact.
    """
    least = [each.costs.min(axis=0) for each in columns]
    slack = ROUNDING * (1.0 + np.abs(rooms))
    places = np.zeros((1, 0), dtype=np.int64)
    scores, costs, exact = np.zeros(1), np.zeros((1, len(rooms))), True
    for number, column in enumerate(columns):
        own = np.flatnonzero(undominated(column.scores, column.costs, count))
        before, added = (grid.ravel() for grid in np.mgrid[: len(scores), : len(own)])
        added = own[added]
        summed, spent = scores[before] + column.scores[added], costs[before] + column.costs[added]
        rest = np.sum(least[number + 1 :], axis=0) if number + 1 < len(columns) else 0.0
        inside = np.flatnonzero((spent + rest <= rooms + slack).all(axis=1))
        kept = inside[undominated(summed[inside], spent[inside], count)]
        most = KEPT_FOR_ONE if len(rooms) == 1 else KEPT_FOR_SEVERAL
        if len(kept) > most:
            kept, exact = kept[_thinned(summed[kept], spent[kept], most)], False
        places = np.column_stack([places[before[kept]], added[kept]])
        scores, costs = summed[kept], spent[kept]
    return places, exact


def undominated(scores: Floats, costs: Floats, count: int) -> npt.NDArray[np.bool_]:
    """Say of each entry whether fewer than `count` others come before it in score and cost no more.

    Equal scores are ordered by place. With one cost a few more are kept than that.

    Args:
        scores: (n,).
        costs: (n, limits).
        count: 1 leaves the Pareto front.
    """
    order = np.argsort(scores, kind="stable")
    kept = np.zeros(len(scores), dtype=bool)
    if costs.shape[1] == 0:
        kept[order[:count]] = True
    elif costs.shape[1] == 1:
        for _ in range(count):  # who is in layer k is preceded by one of each layer before
            along = costs[order, 0]
            falls = along < np.concatenate([[np.inf], np.minimum.accumulate(along)[:-1]])
            kept[order[falls]] = True
            order = order[~falls]
            if not len(order):
                break
    else:
        kept[_several(order, costs, count)] = True
    return kept


def _several(order: npt.NDArray[np.intp], costs: Floats, count: int) -> npt.NDArray[np.intp]:
    """Return which entries are kept, where several costs are limited: each is compared with those kept before."""
    found = order[:0]
    for begin in range(0, len(order), CHUNK):
        part = order[begin : begin + CHUNK]
        beaten = np.zeros(len(part), dtype=np.int64)
        for start in range(0, len(found), CHUNK):
            beaten += _no_dearer(costs[found[start : start + CHUNK]], costs[part]).sum(axis=0)
        part = part[beaten < count]
        beaten = beaten[beaten < count]
        beaten += np.triu(_no_dearer(costs[part], costs[part]), 1).sum(axis=0)
        found = np.concatenate([found, part[beaten < count]])
    return found


def _no_dearer(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Return whether each of one costs no more than each of another in anything, (ones, others)."""
    fine: npt.NDArray[np.bool_] = np.ones((len(one), len(other)), dtype=bool)
    for limit in range(one.shape[1]):
        fine &= one[:, None, limit] <= other[None, :, limit]
    return fine


def _thinned(scores: Floats, costs: Floats, most: int) -> npt.NDArray[np.intp]:
    """Return up to `most` places, in order: the cheapest by each cost and by all of them, and a spread of scores."""
    low, high = costs.min(axis=0), costs.max(axis=0)
    shares = (costs - low) / np.maximum(high - low, 1e-12)
    cheapest = [int(side.argmin()) for side in (*shares.T, shares.sum(axis=1), shares.max(axis=1))]
    order = np.argsort(scores, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, most - len(cheapest)).round().astype(np.int64)]
    found: npt.NDArray[np.intp] = np.unique(np.concatenate([cheapest, spread]))
    return found


__all__ = ["Column", "merged", "undominated"]
