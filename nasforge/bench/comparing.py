"""`nasforge.compare`: configurations (everything but the seed) over seeds, paired with a baseline.

Pairs are formed by seed, for runs of one seed share data splits and much of their luck; only what both have counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from nasforge.bench.comparison import Comparison, Configuration, Curve, Mean, Pairing
from nasforge.bench.grouping import baseline_of, differing_of, grouped
from nasforge.bench.runs import Run, read_runs
from nasforge.bench.statistics import Kind, Point, common_reference, front_volume, mean, paired, signs
from nasforge.errors import IncompatibleError, UsageError, unknown_name_sentence
from nasforge.run.result import latency_warning

PREDICTED: Final = "latency_ms_predicted"
VOLUME: Final = "hypervolume"
EQUAL_COST: Final = 0.05
LESS_IS_BETTER: Final = re.compile(r"latency|params|macs|bitops|bytes|nll|loss|error|rmspe|seconds|evaluations")


def compare(
    folders: Sequence[str | Path],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    interval: Kind = "t",
    confidence: float = 0.95,
    force: bool = False,
) -> Comparison:
    """Compare finished runs.

    Args:
        folders: of runs and of sweeps.
        metric: of the chosen network, or `seconds` or `evaluations`; `accuracy` where all runs have it, else the
            first objective.
        baseline: settings that one configuration has, such as `strategy=random`, or the folder of one of its runs;
            the first configuration without.
        interval: `t` or `bootstrap`.
        confidence: of intervals.
        force: compare runs of different data, spaces or targets; the comparison says which differ.

    Raises:
        UsageError: a folder that is no run, an unknown metric or baseline, or nothing to compare.
        IncompatibleError: the runs differ in what must be the same.
    """
    if not folders:
        raise UsageError("no folder was given; give folders of runs or sweeps.")
    runs, notes = read_runs(folders)
    differing = differing_of(runs)
    if differing and not force:
        raise IncompatibleError(
            f"the runs cannot be compared: {'; '.join(differing)}. Compare like with like, or give --force."
        )
    groups = grouped(runs, notes)
    chosen = _metric(metric, runs, notes)
    first = baseline_of(baseline, groups)
    objective = runs[0].objective
    cost = PREDICTED if all(_has_cost(run) for run in runs) else "macs"
    reference = common_reference([_losses(run, cost) for run in runs])
    if reference is None:
        notes.append("no run has a Pareto front, so there is no hypervolume.")
    direction = direction_of(chosen, objective)
    parts = _Parts(chosen, direction, cost, reference, interval, confidence)
    configurations = tuple(parts.configuration(label, members) for label, members in groups.items())
    pairs = tuple(parts.pairs(configurations, first))
    _say_what_is_missing(configurations, pairs, runs, notes)
    _say_unequal_cost(configurations, notes)
    sign = -1.0 if objective[1] == "maximize" else 1.0
    return Comparison(
        metric=chosen,
        direction=direction,
        objective=objective,
        cost=cost,
        reference=None if reference is None else (reference[0], sign * reference[1]),
        interval=interval,
        confidence=confidence,
        baseline=first,
        configurations=configurations,
        pairs=pairs,
        differing=tuple(differing),
        notes=tuple(notes),
    )


def _say_unequal_cost(configurations: Sequence[Configuration], notes: list[str]) -> None:
    """Note configurations whose searches did not cost the same, counted in multiply-accumulates of images."""
    costs = {each.label: each.image_macs.mean for each in configurations if each.image_macs is not None}
    low, high = (edge(costs, key=costs.__getitem__, default="") for edge in (min, max))
    if costs and costs[high] > costs[low] * (1 + EQUAL_COST):
        notes.append(
            f"the searches did not cost the same: '{high}' {costs[high]:.3g} multiply-accumulates of images, '{low}' "
            f"{costs[low]:.3g}."
        )


def direction_of(metric: str, objective: tuple[str, str]) -> str:
    """Return which way a metric is better."""
    if metric in (objective[0], objective[0].removesuffix("_valid")):
        return objective[1]
    return "minimize" if LESS_IS_BETTER.search(metric) else "maximize"


@final
@dataclass(frozen=True, slots=True)
class _Parts:
    """What every part of a comparison is made with."""

    metric: str
    direction: str
    cost: str
    reference: Point | None
    kind: Kind
    confidence: float

    def mean(self, values: Mapping[int, float]) -> Mean | None:
        return Mean.of(values, self.kind, self.confidence)

    def configuration(self, label: str, runs: Mapping[int, Run]) -> Configuration:
        values = {seed: run.values() for seed, run in runs.items()}
        scores = _of(values, self.metric)
        better = max if self.direction == "maximize" else min
        measured = all("latency_ms" in each for each in values.values())
        latency = "latency_ms" if measured else PREDICTED
        volumes = {}
        if self.reference is not None:
            volumes = {seed: front_volume(_losses(run, self.cost), self.reference) for seed, run in runs.items()}
        return Configuration(
            label=label,
            settings=dict(next(iter(runs.values())).settings),
            folders={seed: str(run.folder) for seed, run in runs.items()},
            score=self.mean(scores),
            best=better(scores.items(), key=lambda each: each[1]) if scores else None,
            latency=self.mean(_of(values, latency)),
            latency_metric=latency,
            seconds=self.mean(_of(values, "seconds")),
            evaluations=self.mean(_of(values, "evaluations")),
            image_macs=self.mean(_of(values, "image_macs")),
            hypervolume=self.mean(volumes),
            curve=curve_of([run.curve for run in runs.values() if run.curve]),
            fronts={seed: run.front(self.cost) for seed, run in runs.items()},
        )

    def pairs(self, configurations: Sequence[Configuration], baseline: str) -> list[Pairing]:
        first = next(each for each in configurations if each.label == baseline)
        found = []
        for each in configurations:
            if each.label != baseline:
                found.append(self._pair(each.label, self.metric, first.score, each.score, self.direction))
                if self.reference is not None:
                    found.append(self._pair(each.label, VOLUME, first.hypervolume, each.hypervolume, "maximize"))
        return found

    def _pair(self, label: str, metric: str, first: Mean | None, second: Mean | None, direction: str) -> Pairing:
        before, after = (each.values if each is not None else {} for each in (first, second))
        differences = paired(before, after)
        missing = {
            "configuration": sorted(before.keys() - after.keys()),
            "baseline": sorted(after.keys() - before.keys()),
        }
        return Pairing(label, metric, self.mean(differences), signs(list(differences.values()), direction), missing)


def curve_of(curves: Sequence[Sequence[float]]) -> Curve | None:
    """Return mean, lowest and highest of curves at each evaluation from which all of them have a value.

    >>> curve_of([[0.25, 0.5], [0.75]])
    Curve(evaluations=(1, 2), mean=(0.5, 0.625), low=(0.25, 0.5), high=(0.75, 0.75))
    """
    length = max((len(each) for each in curves), default=0)
    columns = [[each[min(place, len(each) - 1)] for each in curves] for place in range(length)]
    kept = [(place + 1, column) for place, column in enumerate(columns) if not any(map(math.isnan, column))]
    if not kept:
        return None
    rows = [(number, mean(column), min(column), max(column)) for number, column in kept]
    numbers, means, lows, highs = zip(*rows, strict=True)
    return Curve(numbers, means, lows, highs)


def _of(values: Mapping[int, Mapping[str, float]], metric: str) -> dict[int, float]:
    return {seed: each[metric] for seed, each in values.items() if metric in each}


def _has_cost(run: Run) -> bool:
    return len(run.front(PREDICTED)) == len(run.front("macs"))


def _losses(run: Run, cost: str) -> list[Point]:
    sign = -1.0 if run.objective[1] == "maximize" else 1.0
    return [(x, sign * y) for x, y in run.front(cost)]


def _metric(given: str | None, runs: Sequence[Run], notes: list[str]) -> str:
    values = [(run, run.values()) for run in runs]
    known = sorted({key for _, each in values for key in each})
    if given is None:
        objective = runs[0].objective[0]
        tested = objective.removesuffix("_valid")
        given = tested if all(tested in each for _, each in values) else objective
    if given not in known:
        raise UsageError(unknown_name_sentence("metric", given, known))
    notes.extend(
        f"'{run.folder}' has no {given}, so it counts in no figure of it." for run, each in values if given not in each
    )
    return given


def _say_what_is_missing(
    configurations: Sequence[Configuration], pairs: Sequence[Pairing], runs: Sequence[Run], notes: list[str]
) -> None:
    if len(runs) == 1:
        notes.append("there is one run only, so there are no intervals and no pairs.")
    elif len(configurations) == 1:
        notes.append("all runs have the same configuration, so there is nothing to pair.")
    for pair in pairs:
        if pair.metric != VOLUME:
            for side, seeds in pair.missing.items():
                whose = pair.label if side == "configuration" else "the baseline"
                if seeds:
                    notes.append(
                        f"{whose} has no seed {', '.join(map(str, seeds))}; such pairs of {pair.label} are left out."
                    )
    warnings = [(run.folder, latency_warning(run.result)) for run in runs]
    notes.extend(f"predicted latencies of '{folder}': {warning}." for folder, warning in warnings if warning)
    profiles = sorted({str(run.result["latency"].get("profile")) for run in runs})
    if len(profiles) > 1:
        notes.append(f"latency was predicted from different profiles: {', '.join(profiles)}.")
