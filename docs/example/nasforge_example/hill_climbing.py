"""`hill_climbing`: look at the neighbours of the best architecture; where none is better, start again elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from nasforge import Architecture, Evaluation, Problem, Proposal, Strategy


@final
@dataclass
class HillClimbing(Strategy):
    """First improvement, random restarts.

    Attributes:
        patience: neighbours without improvement before a restart.
    """

    patience: int = 10
    _here: tuple[float, Architecture] | None = field(default=None, init=False, repr=False)
    _failed: int = field(default=0, init=False, repr=False)

    def setup(self, problem: Problem) -> None:
        """Start a new search: nothing of an earlier one is left."""
        super().setup(problem)
        self._here, self._failed = None, 0

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose neighbours of where we are, or a start within the limits."""
        return [Proposal(self._next(rng)) for _ in range(n)]

    def _next(self, rng: np.random.Generator) -> Architecture:
        if self._here is not None and self._failed < self.patience:
            for _ in range(100):
                neighbour = self.problem.space.mutate(self._here[1], rng)
                if self.problem.feasible(neighbour):
                    return neighbour
        return self.problem.sample(rng)

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Move where it is better, or where a restart has led."""
        for result in results:
            loss = self.problem.loss(result)
            restarted = self._here is None or self._failed >= self.patience
            if restarted or loss < self._here[0]:
                self._here, self._failed = (loss, result.architecture), 0
            else:
                self._failed += 1
