"""What is done with a truth table: its space made again, ratings judged by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from nasforge.bench.ranking import Ranking, honest_ranking
from nasforge.errors import ArchitectureError, UsageError, unknown_name_sentence
from nasforge.evaluate.truth_table import TruthTable
from nasforge.run.options import make_space
from nasforge.space import Architecture, SearchSpace

Array = npt.NDArray[np.float64]
SIGNS: Final = {"accuracy": 1.0, "accuracy_valid": 1.0, "nll": -1.0, "nll_valid": -1.0}
"""Metrics that a rating may be judged by, and the sign that makes higher better."""


def space_of(table: TruthTable) -> SearchSpace:
    """Return the space of a table, made again by its name for the table's images and classes.

    Raises:
        ArchitectureError: it was made in Python, or has changed since.
        NotInstalledError: no installed space has the name.
    """
    about = table.about["space"]
    if about["options"] is None:
        raise ArchitectureError(
            f"the space '{about['name']}' of the truth table was made in Python; make it again there, and give it."
        )
    space = make_space(about["name"], about["options"], tuple(about["input_shape"]), about["classes"])
    table.check(space)
    return space


def ranking_by_truth(
    scores: npt.ArrayLike | Callable[[Sequence[Architecture]], npt.ArrayLike],
    table: TruthTable,
    *,
    metric: str = "accuracy",
    space: SearchSpace | None = None,
    **options: Any,
) -> Ranking:
    """Judge a rating of all architectures of a table by what they are worth on test.

    Architectures that are the same network count once, with the mean of their scores, for they share their truth.

    Args:
        scores: (n,) in the order of the table, higher is better, NaN where there is none; or what gives them.
        table: of n architectures.
        metric: `accuracy` or `nll`, of which less is better.
        space: of the table, where scores are given as a function and the space was made in Python.
        options: of `honest_ranking`.

    Raises:
        UsageError: an unknown metric, another number of scores, or what `honest_ranking` refuses.
    """
    if metric not in SIGNS:
        raise UsageError(unknown_name_sentence("metric of a truth table", metric, SIGNS))
    if callable(scores):
        scores = scores(table.architectures(space_of(table) if space is None else space))
    given = np.asarray(scores, dtype=float)
    if given.shape != (len(table),):
        raise UsageError(f"scores were given in the shape {given.shape}; expected ({len(table)},), as the table has.")
    kept = table.distinct
    return honest_ranking(
        _means(given, table),
        SIGNS[metric] * table.measured[metric][kept],
        table.macs[kept],
        table.params[kept],
        **options,
    )


def _means(scores: Array, table: TruthTable) -> Array:
    """Return the mean score of each network, in the order of `table.distinct`; equal scores stay exact."""
    groups: dict[str, list[float]] = {}
    for network, score in zip(table.network_ids, scores.tolist(), strict=True):
        groups.setdefault(network, []).append(score)
    found = [groups[table.network_ids[place]] for place in table.distinct]
    return np.asarray([each[0] if len(set(each)) == 1 else float(np.mean(each)) for each in found])
