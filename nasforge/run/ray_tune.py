"""Ray Tune: every strategy as a search algorithm, and a trainable whose fidelity schedulers such as ASHA can cut.

`StrategySearcher` proposes and learns, `trainable` trains what it proposed epoch by epoch; each does without the other.
Tune owns the trials: where they run, which are stopped early, and what is saved.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

import torch

from nasforge import registry
from nasforge.build import build_network
from nasforge.errors import DamagedError, IncompatibleError, PluginError, UsageError
from nasforge.evaluate.evaluator import check_finite
from nasforge.goals import Constraint, Objective
from nasforge.hardware.cost import Cost
from nasforge.rng import integer_seed
from nasforge.run.asking import Asking
from nasforge.run.atomic import write_text
from nasforge.run.compatible import check_compatible
from nasforge.run.data import load_source
from nasforge.run.feasible import check_feasible
from nasforge.run.local import Job
from nasforge.run.options import make, make_space, make_strategy
from nasforge.run.plan import EVALUATION_EPOCHS, training_config
from nasforge.run.recipe import TEACHER
from nasforge.run.settings import Plug
from nasforge.run.trials import Report, Trials, check_state
from nasforge.space import SearchSpace
from nasforge.strategy import Problem, Strategy, WeightSharing
from nasforge.tasks import DataSource, Task
from nasforge.training import TrainConfig, Training, evaluate

try:
    from ray import tune
    from ray.tune.result import AUTO_RESULT_KEYS, DEBUG_METRICS
    from ray.tune.search import Searcher
except ImportError as error:
    raise PluginError(f"Ray Tune cannot be imported ({error}); install it: pip install 'ray[tune]'.") from error

Named = str | Mapping[str, Any]
EPOCHS: Final = "epochs"
CHECKPOINT: Final = "training.pt"
DIRECTIONS: Final[Mapping[str, Any]] = {"max": "maximize", "min": "minimize"}
COUNTED: Final = ("params", "macs", "activation_bytes")
NOT_METRICS: Final = frozenset({*AUTO_RESULT_KEYS, *DEBUG_METRICS, "done", "experiment_tag"})


@final
class StrategySearcher(Searcher):
    """A nasforge strategy as a search algorithm of `tune.Tuner`.

    Trials get `{"architecture": ..., "fidelity": ..., "seed": ...}`, plain JSON: `space.from_json` reads the
    architecture, the fidelity is a number of epochs (None: the trainable's own), the seed is the trial's. Tune's
    default is a single trial: set `num_samples`, -1 for as many as the strategy proposes.

    Args:
        strategy: a name, a name with options (`{"name": "evolution", "population": 30}`), or an object. One that
            shares weights must be an object that was set up and trained; its own problem then holds.
        space: a name, a name with options, or a `SearchSpace`.
        metric: what trials report; several for strategies of several objectives.
        mode: `max` or `min`, one for each metric.
        constraints: hard limits.
        costs: models of costs beside `params`, `macs` and `activation_bytes`, such as
            `{"latency_ms_predicted": target.predictor(space).cost}`.
        reference_cost: the cost that stands for latency.
        seed: of everything random.
        workers: trials at a time; part of what the search is, since a strategy hears of fewer before it proposes.
            None: `max_concurrent_trials` of Tune, else the processors of the cluster when it begins.
        budget: number of trials, for strategies that plan with it; give it to `num_samples` too.
        data: fixes input and classes of a space given by name; as for `trainable`.
        fidelity_metric: what a trial reports as spent, told to the strategy; without it, the trial's iterations.
        full_fidelity: epochs of a whole trial, for strategies that begin with shorter ones.

    Raises:
        UsageError, IncompatibleError: unknown names or options, an impossible pair of strategy and space.
        InfeasibleError: nothing in the space meets the limits.
    """

    def __init__(
        self,
        strategy: Named | Strategy = "evolution",
        space: Named | SearchSpace = "mbconv",
        *,
        metric: str | Sequence[str] = "accuracy_valid",
        mode: str | Sequence[str] = "max",
        constraints: Sequence[Constraint] = (),
        costs: Mapping[str, Cost] | None = None,
        reference_cost: str = "macs",
        seed: int = 0,
        workers: int | None = None,
        budget: int | None = None,
        data: str | DataSource = "digits",
        fidelity_metric: str = EPOCHS,
        full_fidelity: float = 1.0,
    ) -> None:
        """Check that the strategy can search the space; nothing is asked yet."""
        super().__init__(*_tune_goals(metric, mode))
        if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
            raise UsageError(f"workers was given {workers!r}; expected a whole number of at least one.")
        self._space = _space(space, data)
        self._strategy, self._seed, self._workers = strategy, seed, workers
        self._fidelity_metric = fidelity_metric
        self._trials: Trials | None = None
        known = {name: self._space.cost(name) for name in COUNTED}
        self._problem = Problem(
            self._space,
            objectives=_objectives(metric, mode),
            constraints=tuple(constraints),
            costs={**known, **(costs or {})},
            budget=budget,
            reference_cost=reference_cost,
            full_fidelity=full_fidelity,
            evaluated_by="the trainable",
        )
        check_feasible(_limited(self._problem), seed)
        self._fresh()

    def set_search_properties(self, metric: Any, mode: Any, config: dict[str, Any], **spec: Any) -> bool:
        """Take the goal Tune was given; the space is the searcher's own, so Tune may not offer one."""
        if metric is not None or mode is not None:
            if self._trials is not None:
                return False
            metric, mode = metric or self._metric, mode or self._mode
            self._metric, self._mode = _tune_goals(metric, mode)
            self._problem = dataclasses.replace(self._problem, objectives=_objectives(metric, mode))
        return False

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Take the number of trials at a time where it is not fixed yet; Tune goes on to see to it."""
        if self._workers is None and self._trials is None:
            self._workers = max_concurrent
        return False

    def suggest(self, trial_id: str) -> Any:
        """Return the configuration of a new trial, None while results are awaited, or `Searcher.FINISHED`."""
        trials = self._begun()
        if trials.done:
            return Searcher.FINISHED
        job = trials.suggest(trial_id)
        return None if job is None else self._config(job)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Remember the result, in case the trial is stopped."""
        self._begun().report(trial_id, self._report(result))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the strategy the last result with what was spent on it, or that the trial failed."""
        report = None if result is None else self._report(result)
        self._begun().complete(trial_id, report, f"trial {trial_id} failed; its error.txt says why." if error else None)

    def save(self, checkpoint_path: str) -> None:
        """Write what was told and what is under way, as JSON."""
        write_text(Path(checkpoint_path), json.dumps(self.get_state()))

    def restore(self, checkpoint_path: str) -> None:
        """Take back what `save` wrote.

        Raises:
            DamagedError: it cannot be read, or is of another space or strategy.
        """
        try:
            state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DamagedError(
                f"the state of the searcher '{checkpoint_path}' cannot be read ({type(error).__name__}: {error})."
            ) from error
        self.set_state(state)

    def get_state(self) -> dict[str, Any]:
        """Return what was told and what is under way, as JSON values."""
        return self._begun().state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Take back what `get_state` returned; the same suggestions follow."""
        check_state(state, self._space)
        self._seed, self._workers = int(state["seed"]), int(state["slots"])
        trials = self._new_trials()
        trials.load_state(state)
        self._trials = trials

    def _begun(self) -> Trials:
        if self._trials is None:
            self._trials = self._new_trials()
            self._trials.begin()
        return self._trials

    def _new_trials(self) -> Trials:
        strategy = self._fresh()
        if self._workers is None:
            self._workers = _processors()
        return Trials(Asking(strategy, self._space, self._seed, self._workers), strategy.problem)

    def _fresh(self) -> Strategy:
        """Return the strategy at its start, ready to be asked; what the caller holds is left alone."""
        given = self._strategy
        if isinstance(given, Strategy):
            strategy, name = copy.deepcopy(given), str(getattr(given, "name", type(given).__name__))
        else:
            plug = Plug.read(given, "strategy")
            strategy, name = make_strategy(plug.name, plug.options), plug.name
        check_compatible(strategy, self._space, name)
        if not isinstance(strategy, WeightSharing):
            strategy.setup(self._problem)
        elif not hasattr(strategy, "problem") or strategy.problem.space.fingerprint != self._space.fingerprint:
            raise IncompatibleError(
                f"strategy '{name}' trains shared weights before it proposes; give the object after its training on "
                f"space '{self._space.name}', or take another strategy."
            )
        return strategy

    def _config(self, job: Job) -> dict[str, Any]:
        return {"architecture": self._space.to_json(job.architecture), "fidelity": job.fidelity, "seed": job.seed}

    def _report(self, result: Mapping[str, Any]) -> Report:
        numbers = {str(key): float(value) for key, value in result.items() if _is_number(value)}
        spent = numbers.get(self._fidelity_metric, numbers.get("training_iteration"))
        metrics = {
            key: value for key, value in numbers.items() if key not in NOT_METRICS and not key.startswith("config/")
        }
        return Report(metrics, spent, numbers.get("time_total_s", 0.0))


def trainable(
    space: Named | SearchSpace = "mbconv",
    data: str | DataSource = "digits",
    *,
    task: Named | Task = "classification",
    training: Mapping[str, Any] | None = None,
) -> Callable[[dict[str, Any]], None]:
    """Return a function for `tune.Tuner` that trains the architecture of its configuration.

    It reports `accuracy_valid`, `nll_valid`, `params`, `macs` and `epochs` after every epoch, with a checkpoint, from
    which a paused or interrupted trial goes on as if nothing had happened. `training_iteration` counts the epochs, so a
    scheduler's `time_attr` may be either. Data and space reach each node once, through Ray's object store.

    Args:
        space: the space of the searcher.
        data: `name` or `name:argument`, or a data source; its test split is not handed on.
        task: what is learnt.
        training: fields of the training configuration; `epochs` where a trial names no fidelity.

    Raises:
        UsageError: something asked for does not exist or does not fit.
    """
    source = load_source(data, {}, 0) if isinstance(data, str) else data
    if (training or {}).get(TEACHER):
        raise UsageError("training.teacher was given; trials of Ray Tune follow no teacher, train the best with one.")
    config = training_config(training or {}, float((training or {}).get("epochs", EVALUATION_EPOCHS)))
    if isinstance(task, str | Mapping):
        plug = Plug.read(task, "task")
        task = make(registry.load("tasks", plug.name), plug.options, f"option of task '{plug.name}'")
    given = {"space": _space(space, source), "source": source.sealed(), "task": task, "training": config}
    wrapped: Callable[[dict[str, Any]], None] = tune.with_parameters(train_trial, **given)
    return wrapped


def train_trial(
    config: dict[str, Any], space: SearchSpace, source: DataSource, task: Task, training: TrainConfig
) -> None:
    """Train the architecture of a configuration, report after every epoch; `trainable` fixes the other arguments."""
    architecture, seed, epochs = space.from_json(config["architecture"]), int(config["seed"]), config["fidelity"]
    training = training if epochs is None else dataclasses.replace(training, epochs=float(epochs))
    network = build_network(space.lower(architecture), seed=integer_seed(seed, "weights"))
    work = Training(network, source, task, training, seed)
    kept = tune.get_checkpoint()
    if kept is not None:
        with kept.as_directory() as folder:
            work.load_state(torch.load(Path(folder) / CHECKPOINT, weights_only=True))
    costs = {"params": space.params(architecture), "macs": space.macs(architecture)}
    while work.step < work.total:
        work.run((work.step // work.steps_per_epoch + 1) * work.steps_per_epoch)
        found = check_finite(evaluate(work.judged(), source, task, "valid"))
        figures = {f"{name}_valid": value for name, value in found.items()}
        with tempfile.TemporaryDirectory() as folder:
            torch.save(work.state(), Path(folder) / CHECKPOINT)
            checkpoint = tune.Checkpoint.from_directory(folder)
            tune.report({**figures, **costs, EPOCHS: work.step / work.steps_per_epoch}, checkpoint=checkpoint)


def _space(given: Named | SearchSpace, data: str | DataSource) -> SearchSpace:
    if isinstance(given, SearchSpace):
        return given
    plug, source = Plug.read(given, "space"), load_source(data, {}, 0) if isinstance(data, str) else data
    return make_space(plug.name, plug.options, source.input_shape, len(source.classes))


def _objectives(metric: str | Sequence[str], mode: str | Sequence[str]) -> tuple[Objective, ...]:
    metrics, modes = ([each] if isinstance(each, str) else list(each) for each in (metric, mode))
    if len(metrics) != len(modes) or not metrics or any(each not in DIRECTIONS for each in modes):
        raise UsageError(f"metric {metrics} was given with mode {modes}; expected max or min for each metric.")
    return tuple(Objective(name, DIRECTIONS[each]) for name, each in zip(metrics, modes, strict=True))


def _tune_goals(metric: str | Sequence[str], mode: str | Sequence[str]) -> tuple[Any, Any]:
    """Return metric and mode as Tune wants them: both texts, or both lists."""
    _objectives(metric, mode)
    if isinstance(metric, str) and isinstance(mode, str):
        return metric, mode
    return [metric] if isinstance(metric, str) else list(metric), [mode] if isinstance(mode, str) else list(mode)


def _limited(problem: Problem) -> Problem:
    """Return the problem with those limits that are known before a trial."""
    known = tuple(limit for limit in problem.constraints if limit.metric in problem.costs)
    return dataclasses.replace(problem, constraints=known)


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool | str) and hasattr(value, "__float__") and math.isfinite(float(value))


def _processors() -> int:
    import ray

    if not ray.is_initialized():
        return 1
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray has no type here
    return max(1, int(resources.get("CPU", 1)))
