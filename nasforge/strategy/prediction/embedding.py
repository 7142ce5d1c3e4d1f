"""Architectures as points between which distances mean something, for predictors that compare.

Read from the declaration alone, so that it serves every space: an option without order is as far from one other as
from the next, of numbers neighbours are nearer, and an inactive choice is a place of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space import Choice, SearchSpace

Rows = npt.NDArray[np.float64]
ORDERED: Final = frozenset({"attribute", "depth"})
"""Kinds of choice of which numbers are quantities; elsewhere they only count candidates."""


@final
@dataclass(frozen=True, eq=False)
class Embedding:
    """Maps rows of decisions to points; squared distances are summed over choices, each adding at most 1.

    Two options of names are at squared distance 1. Options that are numbers, in order, are at |i - j| / (k - 1) for
    places i and j of k: the bits of a thermometer. Active and inactive are at 1/2 at least.

    Args:
        space: whose decisions are embedded.
    """

    space: SearchSpace

    @cached_property
    def _blocks(self) -> list[Rows]:
        """For each choice its table of points: a row for each option, and a last one for inactive (index -1)."""
        return [_block(read) for read in self.space.choices]

    def __call__(self, decisions: npt.NDArray[Any]) -> Rows:
        """Return the points, (n, dimensions), of rows of decisions, (n, choices)."""
        columns = [block[decisions[:, index]] for index, block in enumerate(self._blocks)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(decisions), 0))


def _block(read: Choice) -> Rows:
    count = len(read.options)
    if count > 2 and read.kind in ORDERED and _in_order(read.options):
        bits = np.tri(count, count - 1, -1) / np.sqrt(count - 1)
        active = np.full((count, 1), np.sqrt(0.5))
        return np.concatenate([np.concatenate([bits, active], axis=1), np.zeros((1, count))])
    return np.concatenate([np.eye(count) * np.sqrt(0.5), np.zeros((1, count))])


def _in_order(options: tuple[Any, ...]) -> bool:
    """Say whether the options are numbers that rise or fall throughout."""
    if not all(isinstance(option, int | float) and not isinstance(option, bool) for option in options):
        return False
    steps = np.diff(np.asarray(options, dtype=float))
    return bool((steps > 0).all() or (steps < 0).all())


def squared_distances(first: Rows, second: Rows) -> Rows:
    """Return the squared Euclidean distances, (n, m), of points (n, d) and (m, d)."""
    squared = first @ (-2.0 * second.T)
    squared += np.einsum("ij,ij->i", first, first)[:, None]
    squared += np.einsum("ij,ij->i", second, second)
    return np.asarray(np.maximum(squared, 0.0, out=squared))
