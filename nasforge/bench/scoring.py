"""From searches to figures: means over seeds at equal budgets with bootstrap intervals, paired with random search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt

from nasforge.bench.comparison import Mean
from nasforge.bench.contestant import BASELINE, Contestant
from nasforge.bench.result import At, Course, Standing, SuiteResult, Versus
from nasforge.bench.searching import Contest
from nasforge.bench.statistics import Interval, intervals, mean, signs
from nasforge.bench.trace import Step, Trace

Unit = Literal["evaluations", "seconds"]
VOLUME: Final = "hypervolume"
POINTS: Final = 60
Read = Callable[[Step], float | None]


@final
@dataclass(frozen=True, slots=True)
class Searches:
    """The searches of one strategy on one suite, by seed."""

    contestant: Contestant
    traces: Mapping[int, Trace]

    def reach(self, unit: Unit) -> float:
        """Return up to which budget every search is known; a strategy that was done would stay where it is."""
        spent = [each.evaluations if unit == "evaluations" else each.seconds for each in self.traces.values()]
        done = [each.exhausted for each in self.traces.values()]
        return min((value for value, over in zip(spent, done, strict=True) if not over), default=math.inf)

    def values(self, unit: Unit, budget: float, read: Read) -> dict[int, float] | None:
        """Return what `read` reads at a budget, by seed; None where it is not known for every seed."""
        if budget > self.reach(unit) * (1 + 1e-9):
            return None
        steps = {seed: _at(trace, unit, budget) for seed, trace in self.traces.items()}
        found = {seed: value for seed, step in steps.items() if (value := read(step)) is not None}
        return found if len(found) == len(steps) else None


def _at(trace: Trace, unit: Unit, budget: float) -> Step:
    return trace.at_evaluations(budget) if unit == "evaluations" else trace.at_seconds(budget)


def truth_of(step: Step) -> float | None:
    """Return the truth of the choice."""
    return step.truth


def volume_of(step: Step) -> float | None:
    """Return the share of the hypervolume."""
    return step.volume


@final
@dataclass(frozen=True, slots=True)
class Scoring:
    """How searches are summed up.

    Attributes:
        evaluations, seconds: budgets at which searches are compared.
        confidence: of the intervals.
    """

    evaluations: tuple[float, ...]
    seconds: tuple[float, ...] = ()
    confidence: float = 0.95

    def suite(self, contest: Contest, searches: Sequence[Searches]) -> SuiteResult:
        """Return the figures of a suite."""
        suite, goal = contest.suite, contest.goals[0]
        baseline = next(each for each in searches if each.contestant.label == BASELINE)
        return SuiteResult(
            name=suite.name,
            space=suite.space.name,
            fingerprint=suite.space.fingerprint,
            architectures=len(suite.table),
            objectives=tuple(each.objective.metric for each in contest.goals),
            feedback=goal.objective.metric,
            truth=goal.metric,
            direction=goal.objective.direction,
            optimum=contest.optimum,
            device=suite.device if len(contest.goals) > 1 else None,
            reference=contest.reference,
            knows_seconds=suite.knows_seconds,
            fidelities=suite.table.fidelities,
            scores=tuple(sorted(suite.scores)),
            files=tuple(each.name for each in suite.files),
            checksum=suite.checksum,
            strategies=tuple(self._standing(contest, each) for each in searches),
            pairs=tuple(
                pair for each in searches if each is not baseline for pair in self._pairs(contest, baseline, each)
            ),
        )

    def _budgets(self, contest: Contest) -> list[tuple[Unit, float]]:
        found: list[tuple[Unit, float]] = [("evaluations", each) for each in self.evaluations]
        return found + ([("seconds", each) for each in self.seconds] if contest.suite.knows_seconds else [])

    def _mean(self, values: Mapping[int, float] | None) -> Mean | None:
        if values is None:
            return None
        given = list(values.values())
        return Mean(mean(given), self._interval(given), dict(values))

    def _interval(self, values: Sequence[float]) -> Interval | None:
        if len(values) < 2:
            return None
        low, high = intervals(np.asarray(values)[:, None], self.confidence)[:, 0].tolist()
        return Interval(low, high)

    def _standing(self, contest: Contest, searches: Searches) -> Standing:
        traces = list(searches.traces.values())
        first = next((each.first_failure for each in traces if each.first_failure is not None), None)
        return Standing(
            label=searches.contestant.label,
            name=searches.contestant.name,
            options=dict(searches.contestant.options),
            at=tuple(self._at(contest, searches, unit, budget) for unit, budget in self._budgets(contest)),
            curves=tuple(self._courses(contest, searches)),
            evaluations=mean([each.evaluations for each in traces]),
            distinct=mean([each.distinct for each in traces]),
            partial=mean([each.partial for each in traces]),
            seconds=mean([each.seconds for each in traces]),
            failures=sum(each.failures for each in traces),
            first_failure=first,
            exhausted=sum(each.exhausted for each in traces),
            chosen={seed: each.chosen for seed, each in searches.traces.items()},
        )

    def _at(self, contest: Contest, searches: Searches, unit: Unit, budget: float) -> At:
        truth = self._mean(searches.values(unit, budget, truth_of))
        volume = self._mean(searches.values(unit, budget, volume_of)) if contest.reference is not None else None
        return At(unit, budget, truth, None if truth is None else _regret(truth, contest), volume)

    def _courses(self, contest: Contest, searches: Searches) -> list[Course]:
        reads: dict[str, Read] = {contest.goals[0].metric: truth_of}
        if contest.reference is not None:
            reads[VOLUME] = volume_of
        units: list[Unit] = ["evaluations", *(["seconds"] if contest.suite.knows_seconds else [])]  # type: ignore[list-item]  # a literal
        found = [self._course(searches, metric, read, unit) for metric, read in reads.items() for unit in units]
        return [each for each in found if each is not None]

    def _course(self, searches: Searches, metric: str, read: Read, unit: Unit) -> Course | None:
        """Return the means along budgets, from the first at which every search has chosen something."""
        rows, kept = [], []
        for budget in self._grid(searches, unit):
            values = searches.values(unit, budget, read)
            if values is not None:
                rows.append(list(values.values()))
                kept.append(budget)
        if not kept:
            return None
        table: npt.NDArray[np.float64] = np.asarray(rows).T
        low, high = intervals(table, self.confidence) if len(table) > 1 else (table[0], table[0])
        means = [mean(row) for row in rows]
        return Course(metric, unit, tuple(kept), tuple(means), tuple(low.tolist()), tuple(high.tolist()))

    def _grid(self, searches: Searches, unit: Unit) -> list[float]:
        spent = [each.evaluations if unit == "evaluations" else each.seconds for each in searches.traces.values()]
        reach = min(searches.reach(unit), max(spent))
        places: list[float] = np.linspace(0, reach, POINTS + 1)[1:].tolist()
        if unit == "seconds":
            return places
        return sorted({1.0, *(float(math.ceil(each)) for each in places), *(b for b in self.evaluations if b <= reach)})

    def _pairs(self, contest: Contest, baseline: Searches, searches: Searches) -> list[Versus]:
        lasts: list[tuple[Unit, float]] = [("evaluations", self.evaluations[-1])] if self.evaluations else []
        if self.seconds and contest.suite.knows_seconds:
            lasts.append(("seconds", self.seconds[-1]))
        found = []
        for unit, budget in lasts:
            goal = contest.goals[0]
            reads: list[tuple[str, Read, str]] = [(goal.metric, truth_of, goal.objective.direction)]
            if contest.reference is not None:
                reads.append((VOLUME, volume_of, "maximize"))
            for metric, read, direction in reads:
                before, after = (each.values(unit, budget, read) for each in (baseline, searches))
                if before is not None and after is not None:
                    differences = {seed: after[seed] - before[seed] for seed in after}
                    counts = signs(list(differences.values()), direction)
                    found.append(
                        Versus(searches.contestant.label, metric, unit, budget, self._mean(differences), counts)
                    )
        return found


def _regret(truth: Mean, contest: Contest) -> Mean:
    """Return how far below the optimum a truth is: the same mean and interval, turned round."""
    span = truth.interval
    if span is not None:
        ends = sorted((contest.regret(span.low), contest.regret(span.high)))
        span = Interval(ends[0], ends[1])
    return Mean(contest.regret(truth.mean), span, {seed: contest.regret(each) for seed, each in truth.values.items()})
