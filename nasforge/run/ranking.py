"""Which evaluated architectures deserve to be finalists: within the limits, best first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import final

import numpy as np

from nasforge.errors import EvaluationError, InfeasibleError, NasforgeError
from nasforge.goals import front_numbers
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem


@final
class Best:
    """The best value of the first objective so far at the highest fidelity so far, found without looking back."""

    def __init__(self, problem: Problem, evaluations: Iterable[Evaluation]) -> None:
        """Look at what was evaluated before."""
        self._problem, self._standing = problem, (0.0, float("inf"))
        self._figures: dict[str, float] = {}
        for each in evaluations:
            self.hear(each)

    def hear(self, evaluation: Evaluation) -> dict[str, float]:
        """Take one more into account; return the metric's name and best value, nothing where all failed."""
        loss, metric = self._problem.loss(evaluation), self._problem.objectives[0].metric
        standing = (-self._problem.spent(evaluation), loss)
        if loss < float("inf") and standing < self._standing:
            self._standing, self._figures = standing, {f"best {metric}": float(evaluation.metrics[metric])}
        return self._figures


def nothing_found(evaluations: Sequence[Evaluation], problem: Problem) -> NasforgeError:
    """Return the error that says why no evaluation can be a finalist."""
    failed = [each for each in evaluations if each.error is not None]
    if len(failed) == len(evaluations):
        first = f"; the first: {failed[0].error}" if failed else ", for nothing was proposed."
        return EvaluationError(f"all {len(evaluations)} evaluations failed{first}")
    limits = " and ".join(map(str, problem.constraints))
    return InfeasibleError(
        f"none of {len(evaluations) - len(failed)} evaluated architectures of space '{problem.space.name}' meets "
        f"{limits or 'the goals'}; raise the limit or the budget."
    )


def ranked(evaluations: Iterable[Evaluation], problem: Problem) -> list[Evaluation]:
    """Return the evaluations worth measuring, best first.

    Failures and architectures beyond a cost limit are left out; of one architecture looked at several times the
    evaluation of highest fidelity counts, then the latest. All of a fidelity come before any of a lower one, which
    says less. With several objectives, whole Pareto fronts come one after another, each by its first objective. Equal
    ones are ordered by cost, then by number.
    """
    levels: dict[float, list[Evaluation]] = {}
    for each in _distinct(evaluations, problem):
        levels.setdefault(problem.spent(each), []).append(each)
    return [each for fidelity in sorted(levels, reverse=True) for each in _ranked(levels[fidelity], problem)]


def highest_fidelity(evaluations: Sequence[Evaluation], problem: Problem) -> list[Evaluation]:
    """Return the evaluations on which most was spent: the only ones that can be compared with the best."""
    most = max((problem.spent(each) for each in evaluations), default=0.0)
    return [each for each in evaluations if problem.spent(each) == most]


def _ranked(kept: Sequence[Evaluation], problem: Problem) -> list[Evaluation]:
    losses = [[objective.loss(each.metrics) for objective in problem.objectives] for each in kept]
    fronts = front_numbers(losses).tolist()
    cost = problem.costs.get(problem.reference_cost, problem.space.cost("macs"))
    order = sorted(
        (place for place in range(len(kept)) if np.isfinite(losses[place]).all()),
        key=lambda place: (fronts[place], losses[place][0], cost(kept[place].architecture), kept[place].number),
    )
    return [kept[place] for place in order]


def different_networks(ranking: Iterable[Evaluation], space: SearchSpace) -> Iterator[Evaluation]:
    """Yield the first evaluation of each network; lazily, for its identity takes a while to find out."""
    seen: set[str] = set()
    for each in ranking:
        identity = space.network_id(each.architecture)
        if identity not in seen:
            seen.add(identity)
            yield each


def _distinct(evaluations: Iterable[Evaluation], problem: Problem) -> list[Evaluation]:
    """Return one evaluation for each architecture that has a usable one, by number."""
    best: dict[Architecture, Evaluation] = {}
    for each in evaluations:
        if each.error is not None or not problem.feasible(each.architecture):
            continue
        known = best.get(each.architecture)
        if known is None or (problem.spent(each), each.number) >= (problem.spent(known), known.number):
            best[each.architecture] = each
    return sorted(best.values(), key=lambda each: each.number)
