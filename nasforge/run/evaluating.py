"""How a job is evaluated: from scratch, with shared weights, by the strategy's own rating, looked up, or scored.

What measures a job is plain objects without the run around them, so that it can be sent to a worker; what the run
knows without measuring (costs, networks that were evaluated before) is added in the driver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from nasforge.build import Supernet
from nasforge.errors import UsageError
from nasforge.evaluate.evaluator import Evaluator, Judge
from nasforge.evaluate.quantised import INT8_METRIC, QuantisedJudge
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.evaluate.trained import TrainedEvaluator
from nasforge.goals import Objective
from nasforge.run.executors import make_executor
from nasforge.run.local import Counted, Evaluate, Executor, Job, MeasuresMany, Outcome, TogetherExecutor
from nasforge.run.plan import Plan, training_config
from nasforge.run.setup import Setup
from nasforge.strategy import Evaluation, WeightSharing
from nasforge.training.meter import RATING, Meter

if TYPE_CHECKING:
    from torch import nn

    from nasforge.run.shared_training import SharedTraining

TEST_METRIC: Final = "accuracy"


def measure_function(setup: Setup, plan: Plan, training: SharedTraining | None) -> Evaluate:
    """Return what measures a job: for the table or the score of the run, or for the strategy's kind of evaluation.

    Raises:
        UsageError: the strategy wants shared weights and trains none.
    """
    if setup.table is not None:
        return LookedUp(setup.table)
    if setup.scored is not None:
        return Measured(setup.scored)
    strategy = setup.strategy
    if strategy.evaluator == "trained":
        config = training_config(setup.settings.training, plan.evaluation_epochs)
        return Metered(Measured(TrainedEvaluator(setup.space, setup.task, setup.source, config, judge_of(setup))))
    if strategy.evaluator != "shared" or training is None or not isinstance(strategy, WeightSharing):
        raise UsageError(
            f"strategy '{setup.settings.strategy.name}' wants '{strategy.evaluator}' evaluation, which needs a "
            "strategy that trains shared weights; take another strategy."
        )
    evaluators = {
        name: shared_evaluator(setup, module)
        for name, module in training.modules.items()
        if isinstance(module, Supernet) and module.space.fingerprint == setup.space.fingerprint
    }
    shared = Inherited(strategy, evaluators, setup.problem.objectives[0])
    if type(strategy).rate is WeightSharing.rate:
        return Metered(shared)
    return Metered(Rated(strategy, training.modules, shared))


def shared_evaluator(setup: Setup, supernet: Supernet) -> SharedEvaluator:
    """Return what evaluates with the weights of a supernet."""
    return SharedEvaluator(supernet, setup.task, setup.source, augment=augmented(setup), judge=judge_of(setup))


def at_a_time(setup: Setup) -> int:
    """Return how many evaluations a run has under way."""
    return setup.settings.together if _together(setup) else setup.settings.workers


def executor_of(setup: Setup, measure: Evaluate, note: Callable[[str], Any]) -> Executor:
    """Return the executor of a run; in this process it takes all that are rated by shared weights in one go."""
    if _together(setup) and isinstance(measure, MeasuresMany):
        return TogetherExecutor(measure, at_a_time(setup))
    return make_executor(setup.settings, measure, note)


def _together(setup: Setup) -> bool:
    rated = setup.table is None and setup.scored is None and setup.strategy.evaluator == "shared"
    return rated and not setup.settings.distributed


def judge_of(setup: Setup) -> Judge | None:
    """Return what measures the objective where evaluators do not by themselves: the accuracy of the INT8 file."""
    wanted = any(objective.metric == INT8_METRIC for objective in setup.problem.objectives)
    return QuantisedJudge(setup.task, setup.source) if wanted else None


def augmented(setup: Setup) -> bool:
    """Return whether the images are augmented that shared weights are trained on."""
    return training_config(setup.settings.training).augment


@final
class Metered:
    """Counts what each evaluation costs: its rating, and its training where it is trained."""

    def __init__(self, evaluate: Evaluate) -> None:
        """Take what evaluates."""
        self._evaluate, self._meter = evaluate, Meter()

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job."""
        self._meter = Meter()
        with self._meter.counting(RATING):
            return self._evaluate(job)

    def many(self, jobs: Sequence[Job]) -> Sequence[Mapping[str, float]]:
        """Return the metrics of several jobs, in less time than one after the other where that can be."""
        self._meter = Meter()
        with self._meter.counting(RATING):
            if isinstance(self._evaluate, MeasuresMany):
                return self._evaluate.many(jobs)
            return [self._evaluate(job) for job in jobs]

    def spent(self) -> Counted:
        """Return what the last call cost."""
        found = self._meter.to_json()
        return {part: {key: value for key, value in each.items() if key != "seconds"} for part, each in found.items()}


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """By an evaluator."""

    evaluator: Evaluator

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job."""
        return self.evaluator.evaluate(job.architecture, job.fidelity, job.seed)


@final
@dataclass(frozen=True, slots=True)
class Inherited:
    """With the weights of the supernet that holds an architecture's; where several do, the best counts."""

    strategy: WeightSharing
    evaluators: Mapping[str, SharedEvaluator]
    objective: Objective

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job."""
        found = [
            self.evaluators[name].evaluate(job.architecture, job.fidelity, job.seed)
            for name in self.strategy.holders(job.architecture)
        ]
        return self._best(found)

    def many(self, jobs: Sequence[Job]) -> list[Mapping[str, float]]:
        """Return the metrics of several jobs; what they compute alike in a supernet is computed once."""
        held: dict[str, list[int]] = {}
        for place, job in enumerate(jobs):
            for name in self.strategy.holders(job.architecture):
                held.setdefault(name, []).append(place)
        found: list[list[Mapping[str, float]]] = [[] for _ in jobs]
        for name, places in held.items():
            rated = self.evaluators[name].evaluate_many([jobs[place].architecture for place in places])
            for place, metrics in zip(places, rated, strict=True):
                found[place].append(metrics)
        return [self._best(each) for each in found]

    def _best(self, found: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        return min(found, key=self.objective.loss) if len(found) > 1 else found[0]


@final
@dataclass(frozen=True, slots=True)
class Rated:
    """By the strategy's own rating, or with inherited weights where it gives none."""

    strategy: WeightSharing
    modules: Mapping[str, nn.Module]
    inherited: Inherited

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job."""
        rating = self.strategy.rate([job.architecture], self.modules)
        if rating is not None:
            return rating[0]
        return self.inherited(job)

    def many(self, jobs: Sequence[Job]) -> Sequence[Mapping[str, float]]:
        """Return the metrics of several jobs."""
        rating = self.strategy.rate([job.architecture for job in jobs], self.modules)
        return self.inherited.many(jobs) if rating is None else rating


@final
@dataclass(frozen=True, slots=True)
class LookedUp:
    """By a table; each job is looked up with its own seed, and what the table says of test data stays shut."""

    table: TabularEvaluator

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of a job."""
        found = self.table.evaluate(job.architecture, job.fidelity, job.seed)
        shut = self.table.of_test | {TEST_METRIC}
        return {name: value for name, value in found.items() if name not in shut}


@final
class Remembering:
    """An executor that adds known costs, and does not evaluate twice what would come out the same.

    An architecture that computes the network of an earlier evaluation of the same fidelity gets its metrics; with
    shared weights the decisions must be the same, since other weights may be used; what is looked up is cheap.

    Args:
        executor: evaluates what is new.
        setup: of the run.
        stored: what was evaluated before.
    """

    def __init__(self, executor: Executor, setup: Setup, stored: Sequence[Evaluation]) -> None:
        """Remember what is stored."""
        self.slots = executor.slots
        self._executor, self._problem = executor, setup.problem
        self._key = _key(setup)
        self._jobs: dict[int, Job] = {}
        self._known: dict[Any, Mapping[str, float]] = {}
        self._answered: deque[Outcome] = deque()
        for each in stored:
            if each.error is None:
                self._keep(each.architecture, each.fidelity, each.metrics)

    def submit(self, job: Job) -> None:
        """Take a job, or answer it at once."""
        known = self._known.get(self._key(job.architecture, job.fidelity)) if self._key is not None else None
        if known is not None:
            self._answered.append(Outcome(job.number, known, None, 0.0))
            return
        self._jobs[job.number] = job
        self._executor.submit(job)

    def wait(self) -> Outcome:
        """Return the next outcome."""
        if self._answered:
            return self._answered.popleft()
        outcome = self._executor.wait()
        job = self._jobs.pop(outcome.number)
        if outcome.error is not None:
            return outcome
        costs = self._problem.cost_metrics(job.architecture)
        known = {**costs, **outcome.metrics} if self._key is not None else {**outcome.metrics, **costs}
        outcome = replace(outcome, metrics=known)
        self._keep(job.architecture, job.fidelity, outcome.metrics)
        return outcome

    def close(self) -> None:
        """Close the executor."""
        self._executor.close()

    def _keep(self, architecture: Any, fidelity: float | None, metrics: Mapping[str, float]) -> None:
        if self._key is not None:
            self._known[self._key(architecture, fidelity)] = metrics


def _key(setup: Setup) -> Callable[[Any, float | None], tuple[Any, ...]] | None:
    if setup.table is not None:
        return None
    if setup.strategy.evaluator == "shared":
        return lambda architecture, fidelity: (architecture.decisions, fidelity)
    return lambda architecture, fidelity: (setup.space.network_id(architecture), fidelity)
