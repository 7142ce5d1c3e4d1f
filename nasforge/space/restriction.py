"""What a restriction leaves: options that a chain could not go on from are dropped with those that were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasforge.errors import SpaceError
from nasforge.space.analysis import Analysis

Allowed = tuple[int, ...]


def consistent(analysis: Analysis, allowed: Sequence[Allowed]) -> list[Allowed]:
    """Return the options left to each choice, without those of a chain that no later option may follow.

    Raises:
        SpaceError: a choice is left without an option.
    """
    choices, left = analysis.graph.choices, list(allowed)
    number = {read: index for index, read in enumerate(choices)}
    for index in reversed(analysis.order):
        relation = choices[index].relation
        if relation is not None and _can_be_active(analysis, index, left):
            before = number[relation.previous]
            left[before] = tuple(o for o in left[before] if any(relation.allowed[o][own] for own in left[index]))
    for read, options in zip(choices, left, strict=True):
        if not options:
            raise SpaceError(f"the restriction leaves no option to choice '{read.name}'; keep at least one.")
    return left


def _can_be_active(analysis: Analysis, index: int, allowed: Sequence[Allowed]) -> bool:
    return bool(activity(analysis, index, allowed).any())


def activity(analysis: Analysis, index: int, allowed: Sequence[Allowed]) -> npt.NDArray[np.bool_]:
    """Say for every combination of the options left to other choices whether a choice is active."""
    active = analysis.active
    seen = [sorted({*allowed[axis], 0} if active[axis].axes else allowed[axis]) for axis in active[index].axes]
    found: npt.NDArray[np.bool_] = np.asarray(active[index].values[np.ix_(*seen)], dtype=bool)
    return found
