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
    """The best value of the first objective so far, without looking at all evaluations again each time."""

    def __init__(self, problem: Problem, evaluations: Iterable[Evaluation]) -> None:
        """Look at what was evaluated before."""
        self._problem, self._loss = problem, float("inf")
        self._figures: dict[str, float] = {}
        for each in evaluations:
            self.hear(each)

    def hear(self, evaluation: Evaluation) -> dict[str, float]:
        """Take one more into account; return the metric's name and best value, nothing where all failed."""
        loss, metric = self._problem.loss(evaluation), self._problem.objectives[0].metric
        if loss < self._loss:
            self._loss, self._figures = loss, {f"best {metric}": float(evaluation.metrics[metric])}
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
    evaluation of highest fidelity counts, then the latest. With several objectives, whole Pareto fronts come
    one after another, each by its first objective. Equal ones are ordered by cost, then by number.
    """
    kept = _distinct(each for each in evaluations if each.error is None and problem.feasible(each.architecture))
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


def _distinct(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    best: dict[Architecture, Evaluation] = {}
    for each in evaluations:
        known = best.get(each.architecture)
        if known is None or (each.fidelity or 0.0, each.number) >= (known.fidelity or 0.0, known.number):
            best[each.architecture] = each
    return sorted(best.values(), key=lambda each: each.number)
