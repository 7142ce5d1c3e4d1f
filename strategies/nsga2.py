"""`nsga2`: non-dominated sorting, crowding and survival of the best of parents and children (Deb et al., 2002).

population <- P random architectures
repeat: P times: two parents by binary tournament on (front, crowding); child <- mutate(crossover), evaluated
        population <- the best P of population and children: whole fronts, the last cut by crowding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np

from nasforge.errors import UsageError
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.strategy.evolution.member import Member, member_of
from nasforge.strategy.evolution.selection import constrained_fronts, crowding_distance, select
from nasforge.strategy.preset import resolve


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """Size of the population and chance of crossover."""

    population: int
    crossover: float


PRESETS: Final = {"small": Constants(20, 0.9), "paper": Constants(100, 0.9)}


@final
@dataclass
class NSGA2(Strategy):
    """NSGA-II over the problem's objectives, with constrained domination for limits on evaluated metrics.

    Operators of the article work on numbers; here crossover is uniform, and a mutation gives one decision another
    option. With several evaluations at a time, a late child counts in the generation in which it is told.

    Attributes:
        preset: `small`, for budgets of some hundred evaluations, or `paper` (section IV: population 100).
        population: P, parents, and children of a generation.
        crossover: chance that a child has two parents.
        mutation: chance of a mutation for each choice of the space; 0 stands for 1 / choices, as in the article.
        tries: children that are known or beyond the limits before a random architecture is taken.
    """

    preset: str = "small"
    population: int | None = None
    crossover: float | None = None
    mutation: float = 0.0
    tries: int = 50
    _parents: list[Member] = field(default_factory=list, init=False, repr=False)
    _children: list[Member] = field(default_factory=list, init=False, repr=False)
    _places: list[tuple[int, float]] = field(default_factory=list, init=False, repr=False)
    _seen: set[Architecture] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        constants = resolve(PRESETS, self)
        if constants.population < 2 or not 0 <= constants.crossover <= 1 or not 0 <= self.mutation <= 1:
            raise UsageError(
                f"nsga2 was given population={constants.population}, crossover={constants.crossover:g} and "
                f"mutation={self.mutation:g}; expected a population of at least 2, and chances from 0 to 1."
            )

    def setup(self, problem: Problem) -> None:
        """Start without a population."""
        super().setup(problem)
        self._constants = resolve(PRESETS, self)
        self._rate = self.mutation or 1 / max(1, len(problem.space.choices))
        self._parents, self._children, self._places, self._seen = [], [], [], set()

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose random architectures until there are parents, then children."""
        return [Proposal(self._new(rng)) for _ in range(n)]

    def _new(self, rng: np.random.Generator) -> Architecture:
        for _ in range(self.tries):
            found = self._child(rng) if self._parents else self.problem.sample(rng)
            if found not in self._seen and self.problem.feasible(found):
                break
        else:
            found = self.problem.sample(rng)
        self._seen.add(found)
        return found

    def _child(self, rng: np.random.Generator) -> Architecture:
        space, child = self.problem.space, self._parent(rng)
        if rng.random() < self._constants.crossover:
            child = space.crossover(child, self._parent(rng), rng)
        for _ in range(int(rng.binomial(len(space.choices), self._rate))):
            child = space.mutate(child, rng)
        return child

    def _parent(self, rng: np.random.Generator) -> Architecture:
        """Return the winner of a binary tournament: the better front, then the less crowded (crowded comparison)."""
        first, second = map(int, rng.integers(len(self._parents), size=2))
        return self._parents[min(first, second, key=lambda place: self._places[place])].architecture

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Take children in; a full generation of them competes with its parents."""
        for result in results:
            self._children.append(member_of(self.problem, result))
            if len(self._children) >= self._constants.population:
                self._survive([*self._parents, *self._children])

    def _survive(self, union: Sequence[Member]) -> None:
        losses, violations = [each.losses for each in union], [each.violation for each in union]
        self._parents = [union[place] for place in select(losses, self._constants.population, violations)]
        self._children = []
        self._places = [(0, 0.0)] * len(self._parents)
        kept = np.asarray([each.losses for each in self._parents], dtype=float)
        for rank, front in enumerate(constrained_fronts(kept, [each.violation for each in self._parents])):
            for place, distance in zip(front, crowding_distance(kept[front]), strict=True):
                self._places[place] = (rank, -float(distance))
