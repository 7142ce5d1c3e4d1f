"""The function that evaluates one job: from scratch, with shared weights, or by the strategy's own rating."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nasforge.build import Supernet
from nasforge.errors import UsageError
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.evaluate.trained import TrainedEvaluator
from nasforge.run.local import Evaluate, Job
from nasforge.run.plan import Plan, training_config
from nasforge.run.setup import Setup
from nasforge.run.shared_training import SharedTraining
from nasforge.strategy import Evaluation, WeightSharing

TEST_METRIC: Final = "accuracy"


def evaluation_function(
    setup: Setup, plan: Plan, training: SharedTraining | None, stored: Sequence[Evaluation]
) -> Evaluate:
    """Return the function for the table of the run, or for the strategy's kind of evaluation.

    An architecture that computes the network of an earlier evaluation of the same fidelity gets its metrics and
    is not trained twice; with shared weights the decisions must be the same, since other weights may be used.
    """
    if setup.table is not None:
        return _looked_up(setup, setup.table)
    key = _key(setup)
    known = {key(each.architecture, each.fidelity): each.metrics for each in stored if each.error is None}
    measure = _measure(setup, plan, training)

    def evaluate(job: Job) -> Mapping[str, float]:
        identity = key(job.architecture, job.fidelity)
        if identity not in known:
            metrics = measure(job)
            known[identity] = {**setup.problem.cost_metrics(job.architecture), **metrics}
        return known[identity]

    return evaluate


def _looked_up(setup: Setup, table: TabularEvaluator) -> Evaluate:
    """Look every job up with its own seed; what the table says of test data stays shut."""

    def evaluate(job: Job) -> Mapping[str, float]:
        found = table.evaluate(job.architecture, job.fidelity, job.seed)
        return {**{k: v for k, v in found.items() if k != TEST_METRIC}, **setup.problem.cost_metrics(job.architecture)}

    return evaluate


def _key(setup: Setup) -> Callable[..., tuple[Any, ...]]:
    if setup.strategy.evaluator == "shared":
        return lambda architecture, fidelity: (architecture.decisions, fidelity)
    return lambda architecture, fidelity: (setup.space.network_id(architecture), fidelity)


def _measure(setup: Setup, plan: Plan, training: SharedTraining | None) -> Callable[[Job], Mapping[str, float]]:
    strategy = setup.strategy
    if strategy.evaluator == "trained":
        config = training_config(setup.settings.training, plan.evaluation_epochs)
        trained = TrainedEvaluator(setup.space, setup.task, setup.source, config)
        return lambda job: trained.evaluate(job.architecture, job.fidelity, job.seed)
    if strategy.evaluator != "shared" or training is None or not isinstance(strategy, WeightSharing):
        raise UsageError(
            f"strategy '{setup.settings.strategy.name}' wants '{strategy.evaluator}' evaluation, which needs a "
            "strategy that trains shared weights; take another strategy."
        )
    supernet = training.modules["supernet"]
    assert isinstance(supernet, Supernet), "the module named supernet is the one that is evaluated"
    shared = SharedEvaluator(supernet, setup.task, setup.source)

    def measure(job: Job) -> Mapping[str, float]:
        rating = strategy.rate([job.architecture], training.modules)
        return rating[0] if rating is not None else shared.evaluate(job.architecture, job.fidelity, job.seed)

    return measure
