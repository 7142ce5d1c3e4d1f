"""One search on a suite, in memory: the loop of a run, with a table in the place of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, final

from nasforge.bench.statistics import Point, common_reference
from nasforge.bench.suites import Goal, Suite
from nasforge.bench.trace import Step, Trace
from nasforge.errors import DataError, EvaluationError
from nasforge.evaluate.tabular import Decisions
from nasforge.goals import hypervolume, pareto_front
from nasforge.run.asking import Asking, drive
from nasforge.run.local import Job, Outcome, run_job
from nasforge.strategy import Evaluation, Strategy

MOST_EVALUATIONS: Final = 20_000
"""Where seconds limit a search, for one that only repeats itself spends none; it then counts as exhausted."""


@final
@dataclass(frozen=True, slots=True)
class Allowance:
    """What every search may spend; at least one of the two is given."""

    evaluations: int | None = None
    seconds: float | None = None


@final
@dataclass(frozen=True)
class Contest:
    """What searches on a suite are judged by.

    Attributes:
        suite: with the table.
        goals: one or two.
        reference: with two goals, losses up to which hypervolumes reach: the worst of the table's own front, and a
            tenth of its range beyond.
        whole: the hypervolume of that front.
    """

    suite: Suite
    goals: tuple[Goal, ...]
    reference: Point | None = None
    whole: float = 1.0

    @classmethod
    def of(cls, suite: Suite, objectives: Sequence[str]) -> Contest:
        """Return the contest for objectives by name.

        Raises:
            UsageError: the suite does not know an objective.
            DataError: no architecture has both.
        """
        goals = tuple(suite.goal(name) for name in objectives)
        if len(goals) == 1:
            return cls(suite, goals)
        points = [losses_of(goals, each) for each in goals[0].truth if each in goals[1].truth]
        if not points:
            raise DataError(f"no architecture of suite '{suite.name}' has both {' and '.join(objectives)}.")
        front = [points[place] for place in pareto_front(points)]
        reference = common_reference([[(first, second) for first, second in front]])
        assert reference is not None, "there is a point"
        return cls(suite, goals, reference, hypervolume(front, reference))

    @cached_property
    def optimum(self) -> float:
        """The best truth of the first goal, among architectures that have all."""
        goal, *others = self.goals
        losses = (goal.loss(each) for each in goal.truth if all(each in other.truth for other in others))
        return -min(losses) if goal.objective.direction == "maximize" else min(losses)

    def regret(self, truth: float) -> float:
        """Return how far a truth of the first goal is from the optimum."""
        return self.optimum - truth if self.goals[0].objective.direction == "maximize" else truth - self.optimum


def losses_of(goals: Sequence[Goal], decisions: Decisions) -> tuple[float, ...]:
    """Return the truth of an architecture in all goals; less is better."""
    return tuple(goal.loss(decisions) for goal in goals)


def search_suite(contest: Contest, strategy: Strategy, seed: int, allowance: Allowance) -> Trace:
    """Let a strategy search a suite, and look at what it would have chosen.

    Args:
        contest: the suite and its goals.
        strategy: a new one; it is set up here.
        seed: of the search; the same gives the same.
        allowance: what it may spend.

    Raises:
        IncompatibleError: the strategy cannot search the space.
    """
    suite = contest.suite
    strategy.setup(suite.problem(contest.goals, allowance.evaluations))
    most = MOST_EVALUATIONS if allowance.evaluations is None else allowance.evaluations
    asking = Asking(strategy, suite.space, seed, limit=most)
    store, judge = Store(contest, timed=allowance.seconds is not None), Judge(contest)
    seconds = math.inf if allowance.seconds is None else allowance.seconds
    drive(asking, store, judge.hear, lambda: judge.seconds < seconds)
    spent = judge.seconds >= seconds or judge.told == allowance.evaluations
    return judge.trace(store.distinct, exhausted=not spent)


@final
class Store:
    """An executor that looks up, and answers from memory what was asked before.

    Args:
        contest: the suite and its goals.
        timed: whether seconds are spent, so that an evaluation without them is a failure, not a gift.
    """

    slots = 1

    def __init__(self, contest: Contest, timed: bool) -> None:
        """Start with nothing known."""
        self._suite, self._goals, self._timed = contest.suite, contest.goals, timed
        self._measured = [name for name in contest.suite.measured if any(g.metric == name for g in contest.goals)]
        self._counted = _uncounted(contest)
        self._whole = next(reversed(contest.suite.table.fidelities), None)
        self._known: dict[tuple[Decisions, float | None], Outcome] = {}
        self._job: Job | None = None

    @property
    def distinct(self) -> int:
        """How many different evaluations were asked for."""
        return len(self._known)

    def submit(self, job: Job) -> None:
        """Take the job."""
        self._job = job

    def wait(self) -> Outcome:
        """Look the job up; its seconds are those of the training, none where it was asked for before."""
        job = self._job
        assert job is not None, "a job was submitted"
        key = (job.architecture.decisions, None if job.fidelity == self._whole else job.fidelity)
        known = self._known.get(key)
        if known is not None:
            return replace(known, number=job.number, seconds=0.0)
        outcome = run_job(self._look_up, job)
        outcome = replace(outcome, seconds=outcome.metrics.get(self._suite.seconds, 0.0))
        self._known[key] = outcome
        return outcome

    def close(self) -> None:
        """Forget the job."""
        self._job = None

    def _look_up(self, job: Job) -> Mapping[str, float]:
        """Return what a strategy may hear of an architecture.

        Raises:
            EvaluationError: the table or the device has it not.
        """
        suite, decisions = self._suite, job.architecture.decisions
        metrics = suite.table.evaluate(job.architecture, job.fidelity, job.seed)
        if self._timed and suite.seconds not in metrics:
            raise EvaluationError(f"suite '{suite.name}' has no {suite.seconds} for this evaluation.")
        for goal in self._goals:
            if decisions not in goal.truth:
                where = f" of device '{suite.device}'" if goal.metric in suite.measured and suite.device else ""
                described = suite.space.describe(job.architecture)
                raise EvaluationError(f"suite '{suite.name}' has no {goal.metric}{where} for {described}.")
            if goal.metric in self._measured or goal.metric in self._counted:
                metrics[goal.metric] = goal.truth[decisions]
        return {name: value for name, value in metrics.items() if name not in suite.hidden}


def _uncounted(contest: Contest) -> set[str]:
    """Return the goals that only the space's formulas give."""
    known = {*contest.suite.table.metrics, *contest.suite.measured}
    return {goal.metric for goal in contest.goals if goal.metric not in known}


@final
@dataclass
class Judge:
    """Follows what a search would choose: of the most trained architectures the one with the best feedback.

    Of several goals the first decides on the choice, and the front of the feedback is what its hypervolume, in truth,
    is taken of.
    """

    contest: Contest
    told: int = 0
    seconds: float = 0.0
    partial: int = 0
    failures: int = 0
    first_failure: str | None = None
    _best: tuple[float, float] = (math.inf, math.inf)
    _chosen: Decisions | None = None
    _front: dict[Decisions, tuple[float, ...]] = field(default_factory=dict)
    _steps: list[Step] = field(default_factory=lambda: [Step(0, 0.0, None)])

    def hear(self, evaluation: Evaluation) -> None:
        """Take one evaluation into account."""
        self.told += 1
        self.seconds += evaluation.seconds
        self.partial += not self._full(evaluation)
        if evaluation.error is not None:
            self.failures += 1
            self.first_failure = self.first_failure or evaluation.error
            return
        losses = tuple(goal.objective.loss(evaluation.metrics) for goal in self.contest.goals)
        changed = self._choose(evaluation, losses)
        if len(losses) > 1 and self._full(evaluation):
            changed |= self._extend(evaluation.architecture.decisions, losses)
        if changed:
            self._steps.append(self._step())

    def trace(self, distinct: int, exhausted: bool) -> Trace:
        """Return what the search came to."""
        return Trace(
            steps=tuple(self._steps),
            evaluations=self.told,
            seconds=self.seconds,
            distinct=distinct,
            partial=self.partial,
            failures=self.failures,
            first_failure=self.first_failure,
            exhausted=exhausted,
            chosen=self._chosen,
        )

    def _full(self, evaluation: Evaluation) -> bool:
        fidelities = self.contest.suite.table.fidelities
        return evaluation.fidelity is None or not fidelities or evaluation.fidelity == fidelities[-1]

    def _choose(self, evaluation: Evaluation, losses: tuple[float, ...]) -> bool:
        """Take a better architecture; more training is better than better feedback after less."""
        rank = -math.inf if self._full(evaluation) else -(evaluation.fidelity or 0.0)
        key = (rank, losses[0])
        if key >= self._best or evaluation.architecture.decisions == self._chosen:
            self._best = min(key, self._best)
            return False
        self._best, self._chosen = key, evaluation.architecture.decisions
        return True

    def _extend(self, decisions: Decisions, losses: tuple[float, ...]) -> bool:
        """Take an architecture into the front of the feedback, if no other there is as good in everything."""
        if any(all(a <= b for a, b in zip(each, losses, strict=True)) for each in self._front.values()):
            return False
        beaten = [key for key, each in self._front.items() if all(a <= b for a, b in zip(losses, each, strict=True))]
        for key in beaten:
            del self._front[key]
        self._front[decisions] = losses
        return True

    def _step(self) -> Step:
        goals, reference = self.contest.goals, self.contest.reference
        assert self._chosen is not None, "something was chosen"
        truth = goals[0].truth[self._chosen]
        if reference is None:
            return Step(self.told, self.seconds, truth)
        volume = hypervolume([losses_of(goals, each) for each in self._front], reference) / self.contest.whole
        return Step(self.told, self.seconds, truth, volume)
