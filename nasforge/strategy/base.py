"""The contract between a strategy and the loop: propose with `ask`, learn with `tell`, nothing else.

A strategy never evaluates, stores, logs, sleeps or reads a clock. `ask` is pure in the strategy's
state and the generator it is handed, so a run resumes by replaying what was told.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, final

import numpy as np

from nasforge.errors import InfeasibleError
from nasforge.goals import Constraint, Objective
from nasforge.hardware.cost import Cost
from nasforge.ranges import check_range, declared
from nasforge.space import Architecture, SearchSpace

FILTERED_DRAWS: Final = 1000
Score = Callable[[Sequence[Architecture]], np.ndarray]
"""A zero-cost score: for n architectures an array of shape (n,), of which more is better; NaN where there is none."""


@final
@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture to look at, and how much to spend on it (None: the evaluator's default)."""

    architecture: Architecture
    fidelity: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found out about a proposal.

    `number` counts evaluations in the order proposed, `ask` and `tell` the calls it went through.
    A failed evaluation has an `error` and no metrics. `cost` counts passes, images and multiply-accumulates by part of
    the evaluation; it is empty where nothing was run, as for what is looked up.
    """

    number: int
    architecture: Architecture
    metrics: Mapping[str, float]
    fidelity: float | None = None
    error: str | None = None
    ask: int = 0
    tell: int = 0
    seconds: float = 0.0
    cost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@final
@dataclass(frozen=True, slots=True)
class ScoreFilter:
    """Only architectures whose zero-cost `score` is at least `threshold` are looked at; those without one are not."""

    score: str
    threshold: float

    def __str__(self) -> str:
        return f"{self.score} >= {self.threshold:.6g}"


@final
@dataclass(frozen=True)
class Problem:
    """What a strategy may know: the space, the goals, and the costs that need no evaluation.

    `costs` maps a metric (`params`, `macs`, `latency_ms_predicted`) to its model; `budget` is the
    number of evaluations the run allows, where it is known; `reference_cost` the cost metric that
    stands for the target's latency; `scores` maps a zero-cost score to what computes it, which trains nothing.
    `fidelities` are the amounts, in order, that an evaluation can spend (None: any up to the full one), in units of
    `evaluated_by`, such as epochs; `full_fidelity` is what it spends where a proposal names none.
    `filter` bounds one of them; `feasible` and `sample` go by it, so whoever proposes only what they allow does too.
    """

    space: SearchSpace
    objectives: tuple[Objective, ...] = (Objective("accuracy_valid"),)
    constraints: tuple[Constraint, ...] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)
    filter: ScoreFilter | None = None
    budget: int | None = None
    reference_cost: str = "macs"
    fidelities: tuple[float, ...] | None = None
    full_fidelity: float = 1.0
    evaluated_by: str = "evaluation"

    def spent(self, evaluation: Evaluation) -> float:
        """Return the fidelity of an evaluation."""
        return self.full_fidelity if evaluation.fidelity is None else evaluation.fidelity

    def cost_metrics(self, architecture: Architecture) -> dict[str, float]:
        """Return every known cost of an architecture."""
        return {metric: float(cost(architecture)) for metric, cost in self.costs.items()}

    def feasible(self, architecture: Architecture) -> bool:
        """Say whether all constraints on known costs hold, and the architecture passes the filter."""
        return self._within_limits(architecture) and self.passes(architecture)

    def _within_limits(self, architecture: Architecture) -> bool:
        return all(
            self.costs[limit.metric](architecture) <= limit.bound
            for limit in self.constraints
            if limit.metric in self.costs
        )

    def passes(self, architecture: Architecture) -> bool:
        """Say whether the filter lets the architecture through; everything passes without one."""
        if self.filter is None:
            return True
        return bool(self.scores[self.filter.score]([architecture])[0] >= self.filter.threshold)

    def feasible_rows(self, decisions: np.ndarray) -> np.ndarray:
        """Return `feasible` for each row of `decisions`, shape (n,); only rows within the limits are scored."""
        found = np.asarray(self.violation(decisions) <= 0)
        if self.filter is not None:
            inside = [self.space.from_decisions(row) for row in decisions[found]]
            found[found] = self.scores[self.filter.score](inside) >= self.filter.threshold
        return found

    def loss(self, evaluation: Evaluation) -> float:
        """Return the first objective as a number of which less is better (infinity for a failure)."""
        if evaluation.error is not None:
            return float("inf")
        return self.objectives[0].loss(evaluation.metrics)

    def violation(self, decisions: np.ndarray) -> np.ndarray:
        """Return for each row of `decisions` the summed relative excess over all cost limits."""
        total = np.zeros(len(decisions))
        for limit in self.constraints:
            if limit.metric in self.costs:
                total += np.maximum(0.0, self.costs[limit.metric].batch(decisions) / max(limit.bound, 1e-12) - 1.0)
        return total

    def sample(self, rng: np.random.Generator, batch: int = 256) -> Architecture:
        """Draw an architecture that meets all cost limits and passes the filter.

        Of limits: rejection first, which keeps the space's own distribution; for limits that few architectures meet, a
        descent on the violation from the least offending sample and from the cheapest architectures, then a random walk
        within the limits. Of the filter: rejection.

        Raises:
            InfeasibleError: nothing within the limits was found; the message gives the best cost seen. Or nothing that
                passes the filter was.
        """
        if self.filter is None:
            return self._sample_within_limits(rng, batch)
        for _ in range(FILTERED_DRAWS):
            drawn = self._sample_within_limits(rng, batch)
            if self.passes(drawn):
                return drawn
        raise InfeasibleError(
            f"none of {FILTERED_DRAWS} random architectures of space '{self.space.name}' has {self.filter}, as the "
            "filter asks; let it pass more."
        )

    def _sample_within_limits(self, rng: np.random.Generator, batch: int) -> Architecture:
        limited = [limit for limit in self.constraints if limit.metric in self.costs]
        if not limited:
            return self.space.sample(rng)
        for size in (4, batch):
            decisions = self.space.sample_batch(size, rng)
            violation = self.violation(decisions)
            inside = np.flatnonzero(violation <= 0)
            if len(inside):
                return self.space.from_decisions(decisions[inside[0]])
        closest = self.space.from_decisions(decisions[int(violation.argmin())])
        for start in (closest, *self._cheapest(limited)):
            found = self._descend(start)
            if self._within_limits(found):
                return self._wander(found, rng)
            closest = min(closest, found, key=lambda a: float(self.violation(np.asarray([a.decisions]))[0]))
        raise InfeasibleError(self._infeasible_sentence(limited, closest))

    def _cheapest(self, limited: Sequence[Constraint]) -> Iterator[Architecture]:
        """Yield, for each limited cost, the cheapest architecture that changing one decision at a time leads to."""
        for limit in limited:
            cost, start = self.costs[limit.metric], self.space.smallest()
            while (near := min(self.space.neighbours(start), key=cost, default=start)) is not start:
                if cost(near) >= cost(start):
                    break
                start = near
            yield start

    def _descend(self, current: Architecture) -> Architecture:
        """Follow the least violation among the neighbours until the limits are met or nothing is gained."""
        least = float(self.violation(np.asarray([current.decisions]))[0])
        while least > 0:
            near = list(self.space.neighbours(current))
            if not near:
                break
            violation = self.violation(np.asarray([each.decisions for each in near]))
            if violation.min() >= least:
                break
            current, least = near[int(violation.argmin())], float(violation.min())
        return current

    def _wander(self, current: Architecture, rng: np.random.Generator) -> Architecture:
        """Walk at random within the limits, twice as many steps as there are choices."""
        for _ in range(2 * len(self.space.choices)):
            moved = self.space.mutate(current, rng)
            if self._within_limits(moved):
                current = moved
        return current

    def _infeasible_sentence(self, limited: Sequence[Constraint], architecture: Architecture) -> str:
        parts = [
            f"{limit} (the nearest found has {limit.told(self.costs[limit.metric](architecture))})" for limit in limited
        ]
        return f"no architecture of space '{self.space.name}' meets {' and '.join(parts)}; raise the limit."


class Strategy(ABC):
    """Base of all strategies. Options are dataclass fields of the subclass.

    `handles` names the kinds of choice the strategy can search (see `nasforge.space.KINDS`); the default is
    all. `evaluator` is the kind of evaluation it wants: `trained` (from scratch) or `shared`.
    """

    handles: ClassVar[frozenset[str] | None] = None
    evaluator: ClassVar[str] = "trained"
    problem: Problem

    def setup(self, problem: Problem) -> None:
        """Take the problem before the first `ask`; raise IncompatibleError where it cannot be searched.

        Raises:
            UsageError: an option is out of the range that its field declares.
            IncompatibleError: as `check_space`.
        """
        self._check_options()
        self.check_space(problem.space)
        self.problem = problem

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space by itself; a search asks before it spends time, as on measuring the space's latency.

        The default takes every space. `setup` asks too, so it need not.

        Raises:
            IncompatibleError: the strategy cannot search the space, whatever limits and costs are.
            UsageError: an option names something that the space does not have.
        """

    def _check_options(self) -> None:
        kinds = declared(type(self))
        for part in getattr(type(self), "__dataclass_fields__", {}).values():
            if part.init:
                check_range(getattr(self, part.name), kinds[part.name], f"option '{part.name}' of the strategy")

    @abstractmethod
    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose up to `n` architectures; an empty list means that the strategy is done."""

    @abstractmethod
    def tell(self, results: Sequence[Evaluation]) -> None:
        """Learn from evaluations, failed ones among them."""

    def snapshot(self) -> dict[str, Any]:
        """Return the state as JSON values and arrays; the default, for strategies that replay, is none."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `snapshot` gave."""
