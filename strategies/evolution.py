"""`evolution`: regularised evolution (Real et al. 2019, algorithm 1).

population <- P random architectures
repeat: parent <- best of S drawn from the population, with replacement
        child  <- mutate(parent), evaluated and added
        the oldest of the population dies
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from nasforge.errors import UsageError
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.strategy.evolution.selection import tournament


@final
@dataclass
class RegularisedEvolution(Strategy):
    """Evolution in which age, not failure, kills.

    The article's search has `population=100 sample=25`; the defaults are for budgets of some ten evaluations.

    Attributes:
        population: P, architectures alive.
        sample: S, contestants of a tournament.
        tries: mutations of a parent before one within the limits is given up for a random architecture.
    """

    population: int = 20
    sample: int = 5
    tries: int = 50
    _alive: deque[tuple[Architecture, float]] = field(default_factory=deque, init=False, repr=False)
    _begun: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if not 1 <= self.sample <= self.population:
            raise UsageError(
                f"evolution was given sample={self.sample} and population={self.population}; "
                "expected 1 <= sample <= population."
            )

    def setup(self, problem: Problem) -> None:
        """Start with nobody alive."""
        super().setup(problem)
        self._alive = deque(maxlen=self.population)
        self._begun = 0

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose random architectures until there is a population, then children."""
        proposals = []
        for _ in range(n):
            if self._begun < self.population or not self._alive:
                self._begun += 1
                proposals.append(Proposal(self.problem.sample(rng)))
            else:
                proposals.append(Proposal(self._child(rng)))
        return proposals

    def _child(self, rng: np.random.Generator) -> Architecture:
        losses = [loss for _, loss in self._alive]
        parent = self._alive[tournament(losses, self.sample, rng)][0]
        for _ in range(self.tries):
            child = self.problem.space.mutate(parent, rng)
            if self.problem.feasible(child):
                return child
        return self.problem.sample(rng)

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Add the newborn; the oldest fall out of the deque."""
        for result in results:
            self._alive.append((result.architecture, self.problem.loss(result)))
