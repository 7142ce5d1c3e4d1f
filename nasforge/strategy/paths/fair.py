"""Which paths train together in one step: every option equally often (strict fairness), or distinct ones at random.

Strict fairness (Chu et al. 2021, FairNAS; used by BossNAS for its MBConv and NATS-Bench spaces): each choice draws a
permutation of its options by itself, and path p takes the p-th entries. With as many paths as options every option is
used exactly once. Relations between choices forbid that; then paths are drawn from a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from nasforge.errors import UsageError

PathT = TypeVar("PathT")


def fair_rows(options: Sequence[Sequence[int]], paths: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Draw decisions of independent choices in which each option of a choice is used equally often.

    Args:
        options: of each choice.
        paths: how many rows. Where a choice has not as many options, permutations follow one another and the last is
            cut: uses differ by one at most.
        rng: of the step.

    Returns:
        One row of options for each path, in the order of the choices.

    Raises:
        UsageError: fewer than one path, or a choice without options.
    """
    if paths < 1 or not all(len(each) for each in options):
        raise UsageError(f"{paths} paths were asked for over choices of {[len(each) for each in options]} options; "
                         "expected one path or more, and an option of each choice.")  # fmt: skip
    columns = []
    for each in options:
        rounds = -(-paths // len(each))
        column = np.concatenate([rng.permutation(np.asarray(each)) for _ in range(rounds)])
        columns.append(column[:paths])
    return [tuple(int(column[path]) for column in columns) for path in range(paths)]


def distinct_paths(paths: Sequence[PathT], count: int, rng: np.random.Generator) -> list[PathT]:
    """Draw `count` different ones of a list of paths, all of them where there are fewer."""
    places = rng.permutation(len(paths))[:count]
    return [paths[int(place)] for place in places]
