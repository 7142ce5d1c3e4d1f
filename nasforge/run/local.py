"""Where evaluations run: the executor protocol, and the executor that runs them in this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, final, runtime_checkable

from nasforge.errors import NasforgeError
from nasforge.space import Architecture


@final
@dataclass(frozen=True, slots=True)
class Job:
    """An evaluation to carry out; `seed` is its own, so it gives the same wherever and whenever it runs."""

    number: int
    architecture: Architecture
    fidelity: float | None
    seed: int


Counted = Mapping[str, Mapping[str, float]]
"""Counts of `nasforge.training.Counts` by part of a search, without seconds."""


@final
@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job: metrics, or the sentence that says why there are none; and what it cost."""

    number: int
    metrics: Mapping[str, float]
    error: str | None
    seconds: float
    cost: Counted = field(default_factory=dict)


Evaluate = Callable[[Job], Mapping[str, float]]


@runtime_checkable
class Metering(Protocol):
    """A function that evaluates jobs and counts their passes."""

    def spent(self) -> Counted:
        """Return what the last call cost, whether it failed or not."""


class Executor(Protocol):
    """Runs jobs, `slots` at a time; outcomes come in the order in which jobs end."""

    slots: int

    def submit(self, job: Job) -> None:
        """Take a job; called only while fewer than `slots` are under way."""

    def wait(self) -> Outcome:
        """Return the next outcome; called only while jobs are under way."""

    def close(self) -> None:
        """Give back what the executor holds."""


@final
class LocalExecutor:
    """Runs one job at a time, here and when its outcome is asked for."""

    slots = 1

    def __init__(self, evaluate: Evaluate) -> None:
        """Take the function that evaluates a job."""
        self._evaluate = evaluate
        self._jobs: deque[Job] = deque()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.append(job)

    def wait(self) -> Outcome:
        """Run the oldest job. An error of nasforge's own is its outcome; any other is a defect and passes."""
        return run_job(self._evaluate, self._jobs.popleft())

    def close(self) -> None:
        """Drop what is queued."""
        self._jobs.clear()


@runtime_checkable
class MeasuresMany(Protocol):
    """Measures a job, and several in less time than one after the other."""

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Return the metrics of one."""

    def many(self, jobs: Sequence[Job]) -> Sequence[Mapping[str, float]]:
        """Return the metrics of each."""


@final
class TogetherExecutor:
    """Runs all jobs that wait in one go, here and when an outcome is asked for.

    The first outcome of several carries what all of them cost.

    Args:
        measure: measures them.
        slots: how many are taken at a time.
    """

    def __init__(self, measure: MeasuresMany, slots: int) -> None:
        """Start with nothing to do."""
        self.slots = slots
        self._measure = measure
        self._jobs: list[Job] = []
        self._outcomes: deque[Outcome] = deque()

    def submit(self, job: Job) -> None:
        """Queue a job."""
        self._jobs.append(job)

    def wait(self) -> Outcome:
        """Return an outcome, of those that are there, or of the jobs that wait."""
        if not self._outcomes:
            jobs, self._jobs = self._jobs, []
            self._outcomes.extend(self._run(jobs))
        return self._outcomes.popleft()

    def _run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Measure all; where that fails, one by one, so that the error is told of whoever made it."""
        start = time.perf_counter()
        try:
            found = self._measure.many(jobs)
        except NasforgeError:
            return [run_job(self._measure, job) for job in jobs]
        seconds = (time.perf_counter() - start) / len(jobs)
        outcomes = [_outcome(job, metrics, seconds) for job, metrics in zip(jobs, found, strict=True)]
        if isinstance(self._measure, Metering):
            outcomes[0] = replace(outcomes[0], cost=self._measure.spent())
        return outcomes

    def close(self) -> None:
        """Drop what is queued."""
        self._jobs.clear()


def run_job(evaluate: Evaluate, job: Job) -> Outcome:
    """Evaluate a job and time it. A metric that is not finite is an error of the evaluation."""
    outcome = _evaluated(evaluate, job)
    return replace(outcome, cost=evaluate.spent()) if isinstance(evaluate, Metering) else outcome


def _evaluated(evaluate: Evaluate, job: Job) -> Outcome:
    start = time.perf_counter()
    try:
        metrics = {key: float(value) for key, value in evaluate(job).items()}
    except NasforgeError as error:
        return Outcome(job.number, {}, str(error), time.perf_counter() - start)
    return _outcome(job, metrics, time.perf_counter() - start)


def _outcome(job: Job, metrics: Mapping[str, float], seconds: float) -> Outcome:
    bad = [key for key, value in metrics.items() if value != value or value in (float("inf"), float("-inf"))]
    if bad:
        sentence = f"evaluation {job.number} gave {', '.join(bad)} that is not finite; lower the learning rate."
        return Outcome(job.number, {}, sentence, seconds)
    return Outcome(job.number, metrics, None, seconds)
