"""The content of `result.json`: what was found, and where every number comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib.metadata import version
from typing import Any, Final

from nasforge import registry
from nasforge.goals import pareto_front
from nasforge.identity import fingerprint
from nasforge.run.finalists import MEASURED, Finalist
from nasforge.run.options import option_defaults
from nasforge.run.plan import Plan, training_config
from nasforge.run.ranking import highest_fidelity
from nasforge.run.result import environment
from nasforge.run.setup import Setup
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, WeightSharing

VALID: Final = "valid, held out of train"
INT8_SPLITS: Final = {"accuracy_int8": "test", "accuracy_int8_valid": VALID}


def result_document(
    setup: Setup,
    plan: Plan,
    evaluations: Sequence[Evaluation],
    finalists: Sequence[Finalist],
    best: Finalist | None,
    seconds: Mapping[str, float],
    warnings: Sequence[str] = (),
    cost: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of `result.json`, schema 1."""
    settings = setup.settings
    met = best is not None and best.within(settings.limits.latency_ms)
    return {
        "nasforge": version("nasforge"),
        "space": {**settings.space.to_json(), "name": setup.space.name, "fingerprint": setup.space.fingerprint},
        "strategy": settings.strategy.to_json(),
        "target": settings.target.to_json(),
        "task": {**settings.task.to_json(), "data": settings.data},
        "objectives": [{"metric": o.metric, "direction": o.direction} for o in setup.problem.objectives],
        "seed": settings.seed,
        "status": "finished" if met else "limit_missed",
        "warnings": list(warnings),
        "best": None if best is None else entry(setup, best),
        "pareto": [_pareto_entry(setup, each) for each in pareto(setup, evaluations)],
        "finalists": [entry(setup, each) for each in finalists],
        "winners": winners(setup, evaluations),
        "evaluations": len(evaluations),
        "budget": {"asked": str(settings.budget), "limits": settings.limits.to_json(), **asdict(plan)},
        "seconds": dict(seconds),
        "cost": dict(cost or {}),
        "latency": {
            "source": setup.predictor.source,
            "profile": setup.predictor.profile,
            "validated": dict(setup.predictor.validated),
            "details": dict(setup.predictor.details),
        },
        "options": options_of(setup, plan),
        "environment": environment(),
    }


def options_of(setup: Setup, plan: Plan) -> dict[str, dict[str, Any]]:
    """Return all options that the run was made with, defaults resolved, as far as they are plain data."""
    settings = setup.settings
    data = settings.data.partition(":")[0]
    named = {"space": settings.space, "target": settings.target, "task": settings.task}
    kinds = {"space": "spaces", "target": "targets", "task": "tasks"}
    found = {key: _resolved(kinds[key], plug.name, plug.options) for key, plug in named.items()}
    found["data"] = _resolved("datasets", data, settings.data_options)
    strategy: Any = setup.strategy
    parts = fields(strategy) if is_dataclass(strategy) else ()
    found["strategy"] = {spec.name: getattr(strategy, spec.name) for spec in parts if spec.init}
    given = {key: settings.training[key] for key in ("recipe", "teacher") if key in settings.training}
    found["training"] = {**asdict(training_config(settings.training, plan.retrain_epochs)), **given}
    return {key: {name: value for name, value in found[key].items() if _is_plain(value)} for key in sorted(found)}


def _resolved(kind: str, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a plug-in with its defaults; those given alone where it was passed as an object."""
    defaults = option_defaults(kind, name) if name in registry.installed(kind) else {}
    return {**defaults, **options}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def identity(architecture: Architecture) -> str:
    """Return the short name of an architecture: equal decisions of one space, equal id."""
    return fingerprint([architecture.fingerprint, list(architecture.decisions)])


def entry(setup: Setup, finalist: Finalist) -> dict[str, Any]:
    """Return a finalist in the shape of `best`."""
    reason = setup.target.available()
    measured = MEASURED in finalist.metrics
    said = (finalist.measurement.get(key) for key in ("source", "noise"))
    latency = "; ".join(filter(None, said)) if measured else setup.predictor.source
    provenance: dict[str, Any] = {
        "weights": finalist.weights,
        "latency": latency,
        "measurement": finalist.measurement,
        "splits": {"accuracy": "test", "accuracy_valid": VALID},
        "evaluation": finalist.evaluation.number,
    }
    provenance["splits"] |= {key: split for key, split in INT8_SPLITS.items() if key in finalist.metrics}
    if finalist.measurement_float32:
        provenance["measurement_float32"] = finalist.measurement_float32
    if finalist.float_convolutions is not None:
        provenance["float_convolutions"] = list(finalist.float_convolutions)
    if not measured:
        provenance["unverified"] = f"the latency is predicted, not measured: {reason or 'the target was not asked'}."
    return {
        **_identity(setup, finalist.evaluation.architecture),
        "metrics": finalist.metrics,
        "provenance": provenance,
        "verified": measured and finalist.within(setup.settings.limits.latency_ms),
    }


def pareto(setup: Setup, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return the evaluations of highest fidelity that no other beats in first objective and reference cost."""
    problem = setup.problem
    usable = [each for each in evaluations if each.error is None and problem.feasible(each.architecture)]
    kept = highest_fidelity(usable, problem)
    cost = problem.costs[problem.reference_cost]
    return [kept[i] for i in pareto_front([[problem.loss(each), cost(each.architecture)] for each in kept])]


def winners(setup: Setup, evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return what the strategy names beside the best, such as the best within each of several budgets."""
    if not isinstance(setup.strategy, WeightSharing):
        return []
    rated = {each.architecture: each for each in evaluations if each.error is None}
    named = setup.strategy.winners().items()
    return [{"best_of": name, **_pareto_entry(setup, rated[each])} for name, each in named if each in rated]


def _pareto_entry(setup: Setup, evaluation: Evaluation) -> dict[str, Any]:
    return {
        **_identity(setup, evaluation.architecture),
        "metrics": {**setup.problem.cost_metrics(evaluation.architecture), **evaluation.metrics},
        "provenance": {
            "weights": setup.weights_of_evaluations,
            "latency": setup.predictor.source,
            "evaluation": evaluation.number,
        },
        "verified": False,
    }


def _identity(setup: Setup, architecture: Architecture) -> dict[str, Any]:
    return {
        "architecture": setup.space.to_json(architecture),
        "id": identity(architecture),
        "network_id": setup.space.network_id(architecture),
    }
