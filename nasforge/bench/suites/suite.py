"""What a suite is: a table to search in, what a search is told of it, and the truth that it is judged by.

Truth never reaches a strategy: a search hears the feedback of an evaluation, and only the page shows what the
architecture that it would have chosen is worth.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, final

import numpy as np

from nasforge.errors import DataError, UsageError, unknown_name_sentence
from nasforge.evaluate.tabular import Decisions, TabularEvaluator
from nasforge.goals import Objective
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Problem, Score, ScoreFilter

Direction = Literal["maximize", "minimize"]
ACCURACY: Final = "accuracy"
LATENCY: Final = "latency_ms"
SHORT: Final = {"latency": LATENCY}
COUNTED: Final = ("params", "macs")
TABULATED: Final = "tabulated"


@final
@dataclass(frozen=True, slots=True)
class Goal:
    """One objective of a search on a suite.

    Attributes:
        objective: on the metric that a search is told.
        metric: of the truth.
        truth: of that metric, by decisions; an architecture that it lacks cannot be evaluated.
    """

    objective: Objective
    metric: str
    truth: Mapping[Decisions, float]

    def loss(self, decisions: Decisions) -> float:
        """Return the truth of an architecture as a number of which less is better; NaN where it is unknown."""
        value = self.truth.get(decisions, math.nan)
        return -value if self.objective.direction == "maximize" else value


@final
@dataclass(frozen=True, slots=True)
class TabulatedScore:
    """A zero-cost score looked up; NaN where there is none."""

    values: Mapping[Decisions, float]

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Return the scores of n architectures, shape (n,)."""
        return np.asarray([self.values.get(each.decisions, math.nan) for each in architectures], dtype=float)


@final
@dataclass(frozen=True, slots=True)
class Tabulated:
    """A score of 1 for what a table of a sample holds, and 0 for what it does not."""

    held: frozenset[Decisions]

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Return the scores of n architectures, shape (n,)."""
        return np.asarray([each.decisions in self.held for each in architectures], dtype=float)


@final
@dataclass(frozen=True)
class Suite:
    """A table, and how searches in it are judged.

    Attributes:
        name: what it is called, with the options that matter.
        table: the space and its metrics.
        feedback: the metric that a search is told; where it was measured with several seeds, the evaluation's picks.
        truth: the metric that searches are judged by, hidden from them; the mean over seeds.
        direction: which way both are better.
        measured: further metrics of architectures, such as `latency_ms` on a device, that an evaluation measures.
        device: where those were measured.
        scores: zero-cost scores by name.
        seconds: the metric that says what an evaluation took to train.
        files: the data, for their checksum.
        sampled: whether the table is of a sample of the space; searches are confined to it.
    """

    name: str
    table: TabularEvaluator
    feedback: str = "accuracy_valid"
    truth: str = ACCURACY
    direction: Direction = "maximize"
    measured: Mapping[str, Mapping[Decisions, float]] = field(default_factory=dict)
    device: str | None = None
    scores: Mapping[str, Score] = field(default_factory=dict)
    seconds: str = "train_seconds"
    files: tuple[Path, ...] = ()
    sampled: bool = False

    def __post_init__(self) -> None:
        """Check that the table has what the suite is about.

        Raises:
            DataError: it lacks a metric, or no architecture has a truth.
        """
        for metric in (self.feedback, self.truth):
            if metric not in self.table.metrics:
                raise DataError(unknown_name_sentence(f"metric of suite '{self.name}'", metric, self.table.metrics))
            if not self.table.values(metric):
                raise DataError(f"no architecture of suite '{self.name}' has a {metric}; fill the table in.")

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return self.table.space

    @property
    def knows_seconds(self) -> bool:
        """Whether the table says how long training took."""
        return self.seconds in self.table.metrics

    @cached_property
    def hidden(self) -> frozenset[str]:
        """What no search hears: the truth, and every other metric of test data."""
        return (self.table.of_test | {self.truth}) - {self.feedback}

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names that an objective may have."""
        others = set(self.table.metrics) - self.hidden - {self.feedback, self.seconds}
        return (ACCURACY, *sorted(others | set(self.measured) | set(COUNTED)))

    def goal(self, name: str) -> Goal:
        """Return the goal of a name: `accuracy` for the suite's own, `latency` for that of the device, or a metric.

        Raises:
            UsageError: the table does not know it.
        """
        metric = SHORT.get(name, name)
        if metric in (ACCURACY, self.feedback, self.truth):
            return Goal(Objective(self.feedback, self.direction), self.truth, self.table.values(self.truth))
        if metric not in self.objectives:
            advice = " Name a device, such as device=1080ti_1, for the latency." if metric == LATENCY else ""
            known = unknown_name_sentence(f"objective of suite '{self.name}'", name, self.objectives)
            raise UsageError(f"{known}{advice}")
        objective = Objective(metric, "maximize" if metric.startswith(ACCURACY) else "minimize")
        if metric in self.measured:
            found = {each: value for each, value in self.measured[metric].items() if math.isfinite(value)}
            return Goal(objective, metric, found)
        if metric in self.table.metrics:
            return Goal(objective, metric, self.table.values(metric))
        decisions = list(self.table.values(self.truth))
        costs = self.space.cost(metric).batch(np.asarray(decisions)).tolist()
        return Goal(objective, metric, dict(zip(decisions, costs, strict=True)))

    def problem(self, goals: Sequence[Goal], budget: int | None) -> Problem:
        """Return what a strategy may know: the space, the goals, what needs no training, and the budget.

        Of a sample, only what the table holds passes the problem's filter.
        """
        confined = {TABULATED: Tabulated(frozenset(self.table.values(self.truth)))} if self.sampled else {}
        fidelities = self.table.fidelities or (1.0,)
        return Problem(
            self.space,
            tuple(each.objective for each in goals),
            costs={metric: self.space.cost(metric) for metric in COUNTED},
            scores={**self.scores, **confined},
            filter=ScoreFilter(TABULATED, 1.0) if self.sampled else None,
            budget=budget,
            fidelities=fidelities,
            full_fidelity=fidelities[-1],
            evaluated_by=f"suite {self.name}",
        )

    @cached_property
    def checksum(self) -> str:
        """A hash of the data: of the files they come from, or of the table itself where it was made in Python."""
        digest = hashlib.sha256(repr((self.feedback, self.truth, self.space.fingerprint)).encode())
        for path in self.files:
            digest.update(path.read_bytes())
        if not self.files:
            for row in self.table.rows():
                digest.update(repr(row).encode())
        for name, values in sorted(self.measured.items()):
            digest.update(repr((name, sorted(values.items()))).encode())
        return digest.hexdigest()[:16]
