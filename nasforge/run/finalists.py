"""The end of a search: measure the best on the target, train the best of those within the limits.

The latency of a network does not depend on its weights, so finalists are measured before anything is
spent on training them. The file that is delivered is measured once more.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, final

from nasforge.build import build_network, export_onnx
from nasforge.run.progress import Listener
from nasforge.run.ranking import different_networks, highest_fidelity
from nasforge.run.setup import PREDICTED, Setup
from nasforge.strategy import Evaluation

ROUNDS: Final = 4
MEASURED: Final = "latency_ms"
MEASURED_FLOAT: Final = "latency_ms_float32"


@final
@dataclass(slots=True, eq=False)
class Finalist:
    """An evaluated architecture on its way to being the result.

    `metrics` are the evaluation's, then the measured latency, then those of the retrained network;
    `weights` says which weights the accuracies belong to. Of an INT8 network that was delivered, `measurement_float32`
    is that of its float file, and `float_convolutions` are those of the INT8 file that stayed float.
    """

    evaluation: Evaluation
    metrics: dict[str, float]
    weights: str
    measurement: dict[str, Any] = field(default_factory=dict)
    measurement_float32: dict[str, Any] = field(default_factory=dict)
    float_convolutions: tuple[str, ...] | None = None

    def within(self, limit_ms: float | None) -> bool:
        """Say whether the latency, as measured, meets the limit; one that was not measured passes."""
        return limit_ms is None or self.metrics.get(MEASURED, 0.0) <= limit_ms


def measure_finalists(setup: Setup, ranking: Sequence[Evaluation], listener: Listener) -> list[Finalist]:
    """Measure the best, a few at a time, until one is within the latency limit.

    All of a round were evaluated at one fidelity, those of the highest first: others would be chosen by less. After a
    miss the next are the best of those that should be within, going by how far predictions were off so far.

    Returns:
        All that were measured, best first; only the first few, unmeasured, where the target cannot measure here.
    """
    count, limit = setup.settings.finalists, setup.settings.limits.latency_ms
    source = setup.weights_of_evaluations
    if setup.target.available() is not None:
        chosen = itertools.islice(different_networks(highest_fidelity(ranking, setup.problem), setup.space), count)
        return [_finalist(setup, each, source) for each in chosen]
    places = {each.number: place for place, each in enumerate(ranking)}
    found: list[Finalist] = []
    for _ in range(ROUNDS):
        known = {setup.space.network_id(each.evaluation.architecture) for each in found}
        new = (
            each
            for each in different_networks(_by_likelihood(setup, ranking, found, limit), setup.space)
            if setup.space.network_id(each.architecture) not in known
        )
        batch = [_finalist(setup, each, source) for each in _of_one_fidelity(itertools.islice(new, count))]
        if not batch:
            break
        listener.stage("measuring", 1.0)
        _measure(setup, batch, listener)
        found += batch
        if any(each.within(limit) for each in batch):
            break
    return sorted(found, key=lambda each: places[each.evaluation.number])


def _of_one_fidelity(ranking: Iterable[Evaluation]) -> list[Evaluation]:
    """Return the first evaluation and those right behind it of the same fidelity."""
    return [*next(itertools.groupby(ranking, key=lambda each: each.fidelity), (None, ()))[1]]


def _by_likelihood(
    setup: Setup, ranking: Sequence[Evaluation], measured: Sequence[Finalist], limit: float | None
) -> list[Evaluation]:
    """Return whom to measure next, in this order: the best that are likely within the limit, then the fastest."""
    cost = setup.problem.costs.get(PREDICTED)
    if limit is None or not measured or cost is None:
        return list(ranking)
    predicted = {each.number: cost(each.architecture) for each in ranking}
    off = median(each.metrics[MEASURED] / max(predicted[each.evaluation.number], 1e-12) for each in measured)
    likely = [each for each in ranking if predicted[each.number] * off <= limit]
    chosen = {each.number for each in likely}
    rest = [each for each in ranking if each.number not in chosen]
    return [*likely, *sorted(rest, key=lambda each: predicted[each.number])]


def _finalist(setup: Setup, evaluation: Evaluation, source: str) -> Finalist:
    costs = setup.problem.cost_metrics(evaluation.architecture)
    return Finalist(evaluation, {**costs, **evaluation.metrics}, source)


def _measure(setup: Setup, finalists: Sequence[Finalist], listener: Listener) -> None:
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        paths = []
        for number, each in enumerate(finalists):
            network = build_network(setup.space.lower(each.evaluation.architecture), seed=setup.settings.seed)
            shape = next(iter(setup.space.input_shapes.values()))
            paths.append(export_onnx(network, shape, Path(folder) / f"{number}.onnx", {}))
        measured = setup.target.measure_many(paths, lambda done, total: listener.progress(done / max(total, 1), {}))
    for each, measurement in zip(finalists, measured, strict=True):
        record_measurement(each, measurement)


def record_measurement(finalist: Finalist, measurement: Any) -> None:
    """Note a measured latency, and by how much the prediction was off."""
    finalist.measurement = measurement.to_json()
    finalist.metrics[MEASURED] = measurement.latency_ms
    if PREDICTED in finalist.metrics and measurement.latency_ms > 0:
        finalist.metrics["latency_error"] = finalist.metrics[PREDICTED] / measurement.latency_ms - 1.0
