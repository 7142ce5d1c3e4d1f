"""Which evaluated architectures deserve to be finalists: within the limits, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from nasforge.goals import pareto_front
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation, Problem


def ranked(evaluations: Iterable[Evaluation], problem: Problem) -> list[Evaluation]:
    """Return the evaluations worth measuring, best first.

    Failures and architectures beyond a cost limit are left out; of one network looked at several times the
    evaluation of highest fidelity counts, then the latest. With several objectives, whole Pareto fronts come
    one after another, each by its first objective. Equal ones are ordered by cost, then by number.
    """
    kept = _distinct(
        [each for each in evaluations if each.error is None and problem.feasible(each.architecture)], problem.space
    )
    losses = [[objective.loss(each.metrics) for objective in problem.objectives] for each in kept]
    fronts = _front_numbers(losses)
    cost = problem.costs.get(problem.reference_cost, problem.space.cost("macs"))
    order = sorted(
        (place for place in range(len(kept)) if np.isfinite(losses[place]).all()),
        key=lambda place: (fronts[place], losses[place][0], cost(kept[place].architecture), kept[place].number),
    )
    return [kept[place] for place in order]


def _distinct(evaluations: Sequence[Evaluation], space: SearchSpace) -> list[Evaluation]:
    best: dict[str, Evaluation] = {}
    for each in evaluations:
        identity = space.network_id(each.architecture)
        known = best.get(identity)
        if known is None or (each.fidelity or 0.0, each.number) >= (known.fidelity or 0.0, known.number):
            best[identity] = each
    return sorted(best.values(), key=lambda each: each.number)


def _front_numbers(losses: Sequence[Sequence[float]]) -> list[int]:
    """Return the number of each row's Pareto front, 0 for the best."""
    if losses and len(losses[0]) == 1:
        return [0] * len(losses)
    numbers = [len(losses)] * len(losses)
    remaining = list(range(len(losses)))
    front = 0
    while remaining:
        places = pareto_front([losses[place] for place in remaining])
        if not places:
            break
        for place in places:
            numbers[remaining[place]] = front
        remaining = [place for number, place in enumerate(remaining) if number not in set(places)]
        front += 1
    return numbers
