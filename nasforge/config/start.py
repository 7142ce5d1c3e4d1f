"""`nasforge.search` and `nasforge.resume`: the main job from Python, as the command line does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasforge.config.written import read_settings, resolved_text
from nasforge.errors import UsageError
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener
from nasforge.run.resume import resume_run
from nasforge.run.search import run_search
from nasforge.run.settings import Settings
from nasforge.run.setup import Given

if TYPE_CHECKING:
    from nasforge.space import SearchSpace
    from nasforge.strategy import Strategy

Named = str | Mapping[str, Any]


def search(
    space: Named | SearchSpace = "mbconv",
    strategy: Named | Strategy = "proxyless",
    target: Any = "cpu",
    *,
    data: Any = "digits",
    task: Any = "classification",
    objective: str = "accuracy",
    max_latency: str | float | None = None,
    max_params: str | float | None = None,
    max_macs: str | float | None = None,
    evaluation: str | None = None,
    scores: Sequence[str] = (),
    filter: str | None = None,
    budget: str = "quick",
    training: Mapping[str, Any] | None = None,
    data_options: Mapping[str, Any] | None = None,
    finalists: int = 4,
    retrain: bool = True,
    seed: int = 0,
    workers: int | None = None,
    engine: Mapping[str, Any] | None = None,
    storage: str | None = None,
    tracking: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    listener: Listener | None = None,
) -> SearchResult:
    """Search a space for the best network on a target, within limits.

    Names may be given with options, as `{"name": "evolution", "population": 30}`. Objects do as well: a
    `SearchSpace`, a `Strategy`, a data source, a target, a task; such a run is resumed by `resume` with the
    same objects.

    Args:
        space: the search space.
        strategy: the strategy.
        target: where the network will run.
        data: `name` or `name:argument`, or a data source.
        task: what is learnt.
        objective: what to improve: `accuracy`, `int8_accuracy` (of the quantised file) or `nll`.
        max_latency: hard limit; text with its unit, or milliseconds.
        max_params: hard limit; number, or text such as `2M`.
        max_macs: hard limit; number, or text such as `300M`.
        evaluation: `table:NAME` of an installed suite, or `table:PATH.csv`, to look evaluations up; `zero_cost:SCORE`
            to go by a score of untrained networks.
        scores: zero-cost scores that the strategy may ask for, such as `["naswot", "synflow"]`.
        filter: `SCORE:SHARE`; only the best share of architectures by a score is looked at.
        budget: `quick`, `NNmin`, `NN-evaluations` or `NN-epochs`.
        training: fields of the training configuration.
        data_options: size, classes, limit.
        finalists: how many architectures are measured at the end.
        retrain: whether the winner is trained; without, the run may end with the architecture alone.
        seed: of everything random.
        workers: evaluations at a time; more than one run on Ray.
        engine: how Ray is used, such as `{"address": "auto", "cpus": 2}`; see `nasforge.run.engine.Engine`.
        storage: Optuna storage URL in the place of the journal `study.log`; `${oc.env:NAME}` in it stands for a
            variable of the environment, and only that is written down.
        tracking: who else hears of the run, such as `{"mlflow": "sqlite:///mlflow.db"}`.
        out: the run folder; a new one below `runs` without.
        listener: hears of progress.

    Returns:
        The result; `result.load()` gives the network.

    Raises:
        UsageError: something asked for does not exist or does not fit.
        InfeasibleError: nothing in the space meets the limits.
    """
    asked = {"space": space, "strategy": strategy, "target": target, "task": task}
    objects = {key: value for key, value in asked.items() if not isinstance(value, str | Mapping)}
    named: dict[str, Any] = {key: _name_of(value, key) if key in objects else value for key, value in asked.items()}
    source = None if isinstance(data, str) else data
    given = Given(source=source, **objects)
    name_of_data = data if source is None else _name_of(source, "data")
    maps = {"data_options": data_options, "training": training, "engine": engine, "tracking": tracking}
    for key, value in maps.items():
        if not isinstance(value, Mapping | None):
            raise UsageError(f"{key} was given {value!r}; expected a mapping of options.")
    settings = Settings.read(
        {
            **named,
            **{key: dict(value or {}) for key, value in maps.items()},
            "data": name_of_data,
            "objective": objective,
            "limits": {"latency": max_latency, "params": max_params, "macs": max_macs},
            "evaluation": evaluation,
            "scores": scores,
            "filter": filter,
            "budget": budget,
            "finalists": finalists,
            "retrain": retrain,
            "seed": seed,
            "workers": workers,
            "storage": None if storage is None else resolved_text(storage),
            "out": None if out is None else str(out),
        }
    )
    return run_search(
        settings,
        config={**settings.to_json(), "storage": storage},
        listener=listener,
        given=given,
        write_report=partial(write_report, space=given.space),
    )


def resume(
    run: str | Path,
    *,
    space: SearchSpace | None = None,
    strategy: Strategy | None = None,
    target: Any = None,
    data: Any = None,
    task: Any = None,
    storage: str | None = None,
    listener: Listener | None = None,
) -> SearchResult:
    """Carry on a stopped run; give again what was given as objects when it was started.

    Args:
        run: its folder.
        space: the space, where it was given as an object.
        strategy: as `space`.
        target: as `space`.
        data: as `space`.
        task: as `space`.
        storage: where the run's evaluations are now, where not as `config.yaml` says.
        listener: hears of progress.
    """
    given = Given(space=space, strategy=strategy, source=data, target=target, task=task)
    return resume_run(
        run,
        partial(read_settings, storage=storage),
        listener=listener,
        given=given,
        write_report=partial(write_report, space=given.space),
    )


def write_report(folder: str | Path, space: SearchSpace | None = None) -> None:
    """Write `report.html` of a finished run; give the space again where it was given as an object."""
    from nasforge.report import write_report as write

    write(Path(folder), space)


def _name_of(given: object, key: str) -> str:
    name = getattr(given, "name", None) or type(given).__name__
    if given is None:
        raise UsageError(f"{key} was given None; expected a name, see `nasforge list`, or an object.")
    return str(name)
