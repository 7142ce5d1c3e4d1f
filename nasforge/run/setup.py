"""Making everything a run needs from its settings: data, task, space, target, problem, strategy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, final

from nasforge import registry
from nasforge.errors import UsageError
from nasforge.evaluate.quantised import INT8_METRIC
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.evaluate.zero_cost import ZeroCostEvaluator
from nasforge.goals import Objective, objective_of
from nasforge.hardware.cost import Cost
from nasforge.run.artifact import Artifact
from nasforge.run.batch_length import check_batch_length
from nasforge.run.compatible import check_compatible
from nasforge.run.data import load_source as load_source  # where others look for it, too
from nasforge.run.executors import placed_target
from nasforge.run.feasible import check_counts, check_feasible
from nasforge.run.options import make, make_space, make_strategy, make_target
from nasforge.run.plan import Plan, check_training, make_plan, training_config
from nasforge.run.progress import Listener
from nasforge.run.recipe import TEACHER, check_followed, check_places
from nasforge.run.scoring import check_scores, load_evaluation, quick_evaluations, scorers, with_scores
from nasforge.run.settings import Settings
from nasforge.run.teacher import load_teachers
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem, Strategy, WeightSharing
from nasforge.targets.base import Target
from nasforge.tasks.classification import Classification
from nasforge.training import Teachers

PREDICTED: Final = "latency_ms_predicted"
_SOURCE: Final = ("input_shape", "classes", "split", "sealed", "preprocessing")
INHERITED: Final = "inherited and recalibrated"


@final
@dataclass(frozen=True, slots=True)
class Given:
    """Objects passed from Python in the place of names; None where the name in the settings serves."""

    space: SearchSpace | None = None
    strategy: Strategy | None = None
    source: Any = None
    target: Any = None
    task: Any = None

    def __post_init__(self) -> None:
        """Refuse objects of another kind.

        Raises:
            UsageError: names what was given.
        """
        for key, kind in (("space", SearchSpace), ("strategy", Strategy), ("target", Target)):
            if not isinstance(getattr(self, key), kind | None):
                raise _no_such(key, getattr(self, key), f"a {kind.__name__}")
        if self.source is not None and not all(hasattr(self.source, name) for name in _SOURCE):
            raise _no_such("data", self.source, "a DataSource")
        if self.task is not None and not all(hasattr(self.task, name) for name in ("loss", "metrics")):
            raise _no_such("task", self.task, "a task")


def _no_such(key: str, given: object, expected: str) -> UsageError:
    return UsageError(f"{key} was given {given!r}; expected the name of one, see `nasforge list`, or {expected}.")


@final
@dataclass(frozen=True, slots=True)
class Setup:
    """Everything a run works with. `source` is sealed; `open_source` is for the final report alone."""

    settings: Settings
    open_source: Any
    source: Any
    task: Any
    space: SearchSpace
    space_is_plugin: bool
    target: Any
    predictor: Any
    problem: Problem
    strategy: Strategy
    plan: Plan
    table: TabularEvaluator | None = None
    teacher: Teachers | None = None
    scored: ZeroCostEvaluator | None = None

    @property
    def final_objective(self) -> Objective:
        """What decides between finalists that were trained: as asked for, where the search went by a score."""
        return objective_of(self.settings.objective)

    @property
    def weights_of_evaluations(self) -> str:
        """Which weights the accuracies of evaluations belong to."""
        if self.table is not None:
            return f"those of {self.settings.evaluation}"
        if self.scored is not None:
            return f"none, scored by {self.scored.scorer.name}"
        if isinstance(self.strategy, WeightSharing) and self.strategy.rates_by is not None:
            return f"none, rated by {self.settings.strategy.name}"
        return INHERITED if self.strategy.evaluator == "shared" else "trained briefly"

    def artifact(self, architecture: Architecture) -> Artifact:
        """Return the architecture with its space, to be written."""
        plug = self.settings.space if self.space_is_plugin else None
        return Artifact(self.space, architecture, plug, len(self.source.classes))


def set_up(settings: Settings, given: Given, listener: Listener) -> Setup:
    """Make what the settings name, and check that the search can succeed.

    Raises:
        UsageError: unknown names or options, an impossible pair of space and strategy, unusable data.
        InfeasibleError: nothing in the space meets the limits, as far as cost models know.
    """
    check_training(settings.training)
    source = given.source or load_source(settings.data, settings.data_options, settings.seed)
    task = given.task or _task(settings)
    shape, classes = tuple(source.input_shape), len(source.classes)
    space = given.space or make_space(settings.space.name, settings.space.options, shape, classes)
    strategy = given.strategy or make_strategy(settings.strategy.name, settings.strategy.options)
    check_shapes(space, source)
    check_compatible(strategy, space, settings.strategy.name)
    teacher = _teacher(settings, space, strategy, source, task, listener)
    check_batch_length(strategy, settings, source)
    plan, make_scorer = _plan(settings, source, strategy), scorers(settings, space, source, task)
    check_scores(settings, strategy, make_scorer)
    table, scored = load_evaluation(settings, space, strategy, make_scorer)
    if table is not None or scored is not None:
        costs: dict[str, Cost] = {metric: space.cost(metric) for metric in ("params", "macs")}
        strategy.setup(with_fidelities(Problem(space, costs=costs), settings, plan, table))  # before time is spent
    check_counts(space, settings)
    target = given.target or make_target(settings.target.name, settings.target.options)
    _check_objective(settings, strategy, target)
    target = placed_target(target, settings, listener.note)
    listener.stage("latency", 1.0)
    predictor = target.predictor(space, lambda done, total: listener.progress(done / max(total, 1), {}))
    listener.note(predictor.source)
    problem = with_fidelities(make_problem(space, settings, predictor.cost), settings, plan, table)
    check_feasible(problem, settings.seed)
    problem = with_scores(problem, settings, scored, make_scorer, listener)
    if isinstance(strategy, WeightSharing) and strategy.rates_by is not None:
        problem = replace(problem, objectives=(strategy.rates_by,))
    strategy.setup(problem)
    return Setup(
        settings=settings,
        open_source=source,
        source=source.sealed(),
        task=task,
        space=space,
        space_is_plugin=given.space is None,
        target=target,
        predictor=predictor,
        problem=problem,
        strategy=strategy,
        plan=plan,
        table=table,
        teacher=teacher,
        scored=scored,
    )


def _teacher(
    settings: Settings, space: SearchSpace, strategy: Strategy, source: Any, task: Any, listener: Listener
) -> Teachers | None:
    """Check that the recipe fits the space; return the teachers of the retraining.

    Raises:
        UsageError: nothing is retrained, or a teacher or the task does not fit.
    """
    config, given = training_config(settings.training), settings.training.get(TEACHER)
    check_places(config, space)
    check_followed(settings.training, config, given)
    if given is None:
        return None
    asked = f"training.{TEACHER}={given} was given"
    if not settings.retrain or not getattr(strategy, "retrain", True):
        raise UsageError(
            f"{asked}, and nothing is retrained by strategy '{settings.strategy.name}' as asked, so nobody follows it; "
            "leave it out, and distil with `nasforge train RUN --teacher ...`."
        )
    if not isinstance(task, Classification):
        raise UsageError(f"{asked} for task '{task.name}'; teachers are followed in classification only.")
    return load_teachers(given, source, listener)


def _check_objective(settings: Settings, strategy: Strategy, target: Target) -> None:
    """Refuse the accuracy of an INT8 file where none is delivered, or where evaluations do not measure it.

    Raises:
        UsageError: says what goes with it.
    """
    if objective_of(settings.objective).metric != INT8_METRIC:
        return
    asked = f"objective '{settings.objective}' was given with"
    if target.precision != "int8":
        raise UsageError(f"{asked} target '{target.name}', which delivers no INT8 file; give --target int8.")
    if settings.evaluation is not None:
        raise UsageError(f"{asked} evaluation={settings.evaluation}, where no network is trained; leave one out.")
    if isinstance(strategy, WeightSharing) and type(strategy).rate is not WeightSharing.rate:
        raise UsageError(
            f"{asked} strategy '{settings.strategy.name}', which rates networks in its own way; take another strategy."
        )


def check_shapes(space: SearchSpace, source: Any) -> None:
    """Refuse a space for other images or other classes than those of the data.

    Raises:
        UsageError: names both.
    """
    shape, classes = tuple(source.input_shape), len(source.classes)
    shapes = {name: tuple(given) for name, given in space.input_shapes.items()}
    found = f"the data '{source.name}' have images of {_by(shape)} and {classes} classes"
    if list(shapes.values()) != [shape]:
        inputs = " and ".join(f"'{name}' of {_by(given)}" for name, given in shapes.items())
        raise UsageError(
            f"space '{space.name}' takes the input {inputs}, and {found}; make the space for {_by(shape)}, or give "
            "other data."
        )
    logits = space.output_shapes
    wrong = [size for sizes in logits.values() for size in sizes if len(size) == 1 and size != (classes,)]
    if len(logits) == 1 and wrong:
        raise UsageError(
            f"space '{space.name}' gives {wrong[0][0]} logits, and {found}; make the space for {classes} classes, or "
            "give other data."
        )


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def make_problem(space: SearchSpace, settings: Settings, latency: Cost | None) -> Problem:
    """Return the problem a strategy sees: costs by formula, and the predicted latency."""
    costs: dict[str, Cost] = {metric: space.cost(metric) for metric in ("params", "macs", "activation_bytes")}
    if latency is not None:
        costs[PREDICTED] = latency
    objective = objective_of(settings.objective)
    return Problem(
        space,
        (objective,),
        constraints=settings.limits.constraints(),
        costs=costs,
        budget=settings.budget.evaluations,
        reference_cost=PREDICTED if latency is not None else "macs",
    )


def with_fidelities(problem: Problem, settings: Settings, plan: Plan, table: TabularEvaluator | None) -> Problem:
    """Return the problem with what evaluations can spend: what the table has, or epochs up to those of the plan."""
    if settings.evaluation is None:
        return replace(problem, full_fidelity=plan.evaluation_epochs, evaluated_by="training")
    known = (table.fidelities if table is not None else ()) or (1.0,)
    return replace(problem, fidelities=known, full_fidelity=known[-1], evaluated_by=str(settings.evaluation))


def _plan(settings: Settings, source: Any, strategy: Strategy) -> Plan:
    return make_plan(
        settings.budget,
        settings.training,
        len(source.split("train").labels),
        shares_weights=isinstance(strategy, WeightSharing),
        retrains=getattr(strategy, "retrain", True),
        quick_evaluations=quick_evaluations(settings.evaluation),
    )


def _task(settings: Settings) -> Any:
    task = registry.load("tasks", settings.task.name)
    return make(task, settings.task.options, f"option of task '{settings.task.name}'")
