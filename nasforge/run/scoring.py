"""Zero-cost scores in a run: as what evaluates, as what a strategy may ask for, and as a filter of what it proposes.

All are functions of (architecture, seed of the run), so a resumed run proposes the same. They are not kept in the run
folder: replaying computes those again that the strategy asks for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from nasforge import registry
from nasforge.errors import InfeasibleError, UsageError
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.evaluate.zero_cost import Batch, Scorer, ZeroCostEvaluator, make_scorer, scoring_batch
from nasforge.goals import Objective
from nasforge.rng import generator
from nasforge.run.plan import QUICK_EVALUATIONS, QUICK_LOOKED_UP, QUICK_SCORED
from nasforge.run.progress import Listener
from nasforge.run.scores import Filter
from nasforge.run.settings import Settings
from nasforge.run.table import load_table
from nasforge.space import SearchSpace
from nasforge.strategy import Problem, ScoreFilter, Strategy, WeightSharing

HEAD: Final = "zero_cost:"
LEAST_DRAWN: Final = 32
DRAWN_ABOVE: Final = 16  # architectures that fix a threshold from above
MakeScorer = Callable[[str], Scorer]


def scorers(settings: Settings, space: SearchSpace, source: Any, task: Any) -> MakeScorer:
    """Return what makes the run's scorer of a name: one batch and one seed for all, and one scorer for each name."""
    batch: list[Batch] = []
    made: dict[str, Scorer] = {}

    def make(name: str) -> Scorer:
        if name not in made:
            registry.load("scores", name)
            if not batch:
                batch.append(scoring_batch(source.sealed(), task, settings.seed))
            made[name] = make_scorer(name, space, batch[0], settings.seed)
        return made[name]

    return make


def load_evaluation(
    settings: Settings, space: SearchSpace, strategy: Strategy, make: MakeScorer
) -> tuple[TabularEvaluator | None, ZeroCostEvaluator | None]:
    """Return what the setting `evaluation` names, a table or a score; neither where it names nothing.

    Raises:
        NotInstalledError: no such table or score; the nearest is named.
        UsageError: another text, a file that cannot be used, or the strategy trains shared weights.
        ArchitectureError: the table is of another space.
    """
    evaluation, name = settings.evaluation, settings.strategy.name
    if evaluation is None:
        return None, None
    if not evaluation.startswith(HEAD):
        return load_table(evaluation, space, strategy, name), None
    _check_only_proposes(f"evaluation={evaluation}", strategy, name)
    return None, ZeroCostEvaluator(make(evaluation.removeprefix(HEAD)))


def quick_evaluations(evaluation: str | None) -> int:
    """Return how many evaluations a quick run has without shared weights, by what one of them takes."""
    if evaluation is None:
        return QUICK_EVALUATIONS
    return QUICK_SCORED if evaluation.startswith(HEAD) else QUICK_LOOKED_UP


def check_scores(settings: Settings, strategy: Strategy, make: MakeScorer) -> None:
    """Refuse unknown scores, and a filter that the strategy would not go by, before anything takes time.

    Raises:
        NotInstalledError: no such score; the nearest is named.
        UsageError: the strategy trains shared weights.
    """
    for name in settings.scores:
        make(name)
    if settings.filter is not None:
        make(settings.filter.score)
        _check_only_proposes(f"filter={settings.filter}", strategy, settings.strategy.name)


def _check_only_proposes(asked: str, strategy: Strategy, strategy_name: str) -> None:
    if isinstance(strategy, WeightSharing):
        raise UsageError(
            f"strategy '{strategy_name}' trains shared weights and decides by them, so it cannot go by {asked}; take a "
            "strategy that only proposes, such as evolution, or leave it away."
        )


def with_scores(
    problem: Problem, settings: Settings, scored: ZeroCostEvaluator | None, make: MakeScorer, listener: Listener
) -> Problem:
    """Return the problem with the scores that were asked for, their filter, and the score that evaluates as objective.

    Raises:
        InfeasibleError: no architecture has the score that filters.
    """
    if scored is not None:
        problem = dataclasses.replace(problem, objectives=(Objective(scored.scorer.name),))
    names = [*settings.scores, *([settings.filter.score] if settings.filter is not None else [])]
    problem = dataclasses.replace(problem, scores={name: make(name) for name in names})
    if settings.filter is None:
        return problem
    return dataclasses.replace(problem, filter=_fitted(problem, settings.filter, settings.seed, listener))


def _fitted(problem: Problem, asked: Filter, seed: int, listener: Listener) -> ScoreFilter:
    """Return the filter whose threshold leaves the share of random architectures within the limits."""
    count = max(LEAST_DRAWN, math.ceil(DRAWN_ABOVE / asked.share))
    rng, score = generator(seed, "filter"), problem.scores[asked.score]
    listener.stage("scoring", 1.0)
    found = np.empty(count)
    for place in range(count):
        found[place] = score([problem.sample(rng)])[0]
        listener.progress((place + 1) / count, {})
    finite = found[np.isfinite(found)]
    if not len(finite):
        raise InfeasibleError(
            f"filter={asked} was given, and none of {count} random architectures of space '{problem.space.name}' has "
            f"the score {asked.score}; take another score."
        )
    threshold = float(np.quantile(finite, 1 - asked.share))
    listener.note(
        f"filter: {asked.score} of at least {threshold:.6g}, the best {asked.share:.0%} of {count} architectures."
    )
    return ScoreFilter(asked.score, threshold)
