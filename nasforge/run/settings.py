"""What a run was asked to do, as plain data: the content of `config.yaml`, from which `resume` rebuilds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, final

from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.goals import Constraint, objective_of
from nasforge.goals.quantity import count, milliseconds
from nasforge.run.budget import Budget, plain_number
from nasforge.run.engine import Engine, seconds
from nasforge.run.scores import Filter, read_scores
from nasforge.run.tracking import Tracking

ALL_WORKERS: Final = 0
LIMITS: Final = {"latency": "latency_ms_predicted", "params": "params", "macs": "macs"}


@final
@dataclass(frozen=True, slots=True)
class Plug:
    """A plug-in by name, with the options it is made with."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, given: Any, kind: str) -> Plug:
        """Read a name, or a mapping with `name` and options; of a target also the short form `name:option`."""
        if isinstance(given, str):
            return cls(*short_form(given)) if kind == "target" else cls(given)
        if isinstance(given, Mapping) and isinstance(given.get("name"), str):
            return cls(given["name"], {str(key): value for key, value in given.items() if key != "name"})
        raise UsageError(f"{kind} was given {given!r}; expected the name of one, see `nasforge list`.")

    def to_json(self) -> dict[str, Any]:
        """Return name and options in one mapping."""
        return {"name": self.name, **self.options}


def short_form(text: str) -> tuple[str, dict[str, str]]:
    """Return name and options of a target: what follows a colon is the option of the target's own name.

    >>> short_form("profile:my-phone"), short_form("cpu")
    (('profile', {'profile': 'my-phone'}), ('cpu', {}))
    """
    name, colon, value = text.partition(":")
    return name, {name: value} if colon else {}


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits; None where there is none. Latency in milliseconds."""

    latency_ms: float | None = None
    params: int | None = None
    macs: int | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Limits:
        """Read `latency` (text with unit, or milliseconds), `params` and `macs` (text or number)."""
        for key in given:
            if key not in LIMITS:
                raise UsageError(unknown_name_sentence("limit", str(key), LIMITS))
        latency, params, macs = (given.get(key) for key in LIMITS)
        return cls(
            None if latency is None else milliseconds(latency, "max-latency"),
            None if params is None else count(params, "max-params"),
            None if macs is None else count(macs, "max-macs"),
        )

    def constraints(self) -> tuple[Constraint, ...]:
        """Return the limits as constraints on metrics known without an evaluation."""
        bounds = {"latency": self.latency_ms, "params": self.params, "macs": self.macs}
        return tuple(Constraint(LIMITS[key], float(bound)) for key, bound in bounds.items() if bound is not None)

    def to_json(self) -> dict[str, Any]:
        """Return what `read` takes."""
        latency = None if self.latency_ms is None else f"{plain_number(self.latency_ms)}ms"
        return {"latency": latency, "params": self.params, "macs": self.macs}


@final
@dataclass(frozen=True, slots=True)
class Settings:
    """One search, as asked for.

    Attributes:
        space: space and its options (width, presets).
        strategy: strategy and its options.
        target: where the network will run.
        task: task and its options.
        data: `name` or `name:argument` of a data set.
        data_options: size, classes, limit.
        evaluation: `table:NAME` or `table:PATH.csv` to look evaluations up, `zero_cost:SCORE` to score untrained
            networks; None: as the strategy wants them.
        scores: zero-cost scores that the strategy may ask for.
        filter: only architectures with such a score are looked at.
        objective: what to improve: `accuracy`, `int8_accuracy` (of the quantised file) or `nll`, on valid; where
            evaluations are scores, what decides between finalists that were trained.
        limits: hard limits.
        budget: what the search may spend.
        training: fields of the training configuration, for finalists and for evaluations.
        finalists: how many architectures are measured on the target at the end.
        retrain: whether the winner is trained; without, a run of a strategy that delivers no weights of its own ends
            with the architecture, for `nasforge train`.
        seed: of everything random.
        workers: evaluations at a time; part of what a run is, since a strategy hears of fewer before it proposes.
            ALL_WORKERS: as many as a cluster has room for when the run begins.
        together: with shared weights, architectures that this process evaluates at a time, what they have in common
            once; part of what a run is, since a strategy hears of all before it proposes the next.
        engine: how Ray is used where there is more than one worker, or an address.
        storage: Optuna storage URL in the place of the journal `study.log`.
        storage_wait: seconds a run waits for a storage that is away before it stops.
        tracking: who else hears of the run: TensorBoard, MLflow.
        out: the run folder; None: a new one below `runs`.
    """

    space: Plug = Plug("mbconv")
    strategy: Plug = Plug("random")
    target: Plug = Plug("cpu")
    task: Plug = Plug("classification")
    data: str = "digits"
    data_options: Mapping[str, Any] = field(default_factory=dict)
    evaluation: str | None = None
    scores: tuple[str, ...] = ()
    filter: Filter | None = None
    objective: str = "accuracy"
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    training: Mapping[str, Any] = field(default_factory=dict)
    finalists: int = 4
    retrain: bool = True
    seed: int = 0
    workers: int = 1
    together: int = 8
    engine: Engine = field(default_factory=Engine)
    storage: str | None = None
    storage_wait: float = 60.0
    tracking: Tracking = field(default_factory=Tracking)
    out: str | None = None

    @property
    def distributed(self) -> bool:
        """Whether the run computes on Ray."""
        return self.workers != 1 or self.engine.address is not None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Settings:
        """Read the content of `config.yaml`.

        Raises:
            UsageError: an unknown key (the nearest is named), or a value of the wrong kind.
        """
        known = [part.name for part in fields(cls)]
        for key in given:
            if key not in known:
                raise UsageError(unknown_name_sentence("setting", str(key), known))
        default = cls()
        plugs = {
            kind: Plug.read(given.get(kind, getattr(default, kind).name), kind)
            for kind in ("space", "strategy", "target", "task")
        }
        engine = Engine.read(given.get("engine") or {})
        return cls(
            **plugs,
            data=str(given.get("data") or default.data),
            data_options=dict(given.get("data_options") or {}),
            evaluation=_text(given, "evaluation"),
            scores=read_scores(given.get("scores")),
            filter=Filter.read(given.get("filter")),
            objective=_objective(given),
            limits=Limits.read(given.get("limits") or {}),
            budget=Budget.parse(str(given.get("budget", "quick"))),
            training=dict(given.get("training") or {}),
            finalists=_whole(given, "finalists", default.finalists, least=1),
            retrain=_yes_or_no(given, "retrain", default.retrain),
            seed=_whole(given, "seed", default.seed, least=0),
            workers=_workers(given, engine),
            together=_whole(given, "together", default.together, least=1),
            engine=engine,
            storage=_text(given, "storage"),
            storage_wait=seconds(given.get("storage_wait", default.storage_wait), "storage_wait"),
            tracking=Tracking.read(given.get("tracking") or {}),
            out=given.get("out"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `read` takes."""
        return {
            "space": self.space.to_json(),
            "strategy": self.strategy.to_json(),
            "target": self.target.to_json(),
            "task": self.task.to_json(),
            "data": self.data,
            "data_options": dict(self.data_options),
            "evaluation": self.evaluation,
            "scores": list(self.scores),
            "filter": None if self.filter is None else str(self.filter),
            "objective": self.objective,
            "limits": self.limits.to_json(),
            "budget": str(self.budget),
            "training": dict(self.training),
            "finalists": self.finalists,
            "retrain": self.retrain,
            "seed": self.seed,
            "workers": self.workers or None,
            "together": self.together,
            "engine": self.engine.to_json(),
            "storage": self.storage,
            "storage_wait": self.storage_wait,
            "tracking": self.tracking.to_json(),
            "out": self.out,
        }


def _workers(given: Mapping[str, Any], engine: Engine) -> int:
    """Return how many evaluations at a time; where nothing is said, one here and all that fit on a cluster."""
    if given.get("workers") is None:
        return 1 if engine.address is None else ALL_WORKERS
    return _whole(given, "workers", 1, least=1)


def _whole(given: Mapping[str, Any], key: str, default: int, least: int) -> int:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{key} was given {value!r}; expected a whole number of at least {least}.")
    return value


def _objective(given: Mapping[str, Any]) -> str:
    name = _text(given, "objective") or Settings().objective
    objective_of(name)
    return name


def _text(given: Mapping[str, Any], key: str) -> str | None:
    value = given.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{key} was given {value!r}; expected a text.")
    return value


def _yes_or_no(given: Mapping[str, Any], key: str, default: bool) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise UsageError(f"{key} was given {value!r}; expected true or false.")
    return value
