"""`random`: different architectures within the limits, by the space's own law; the baseline of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy


@final
@dataclass
class RandomSearch(Strategy):
    """Random search without repetition.

    Attributes:
        tries: draws for one new architecture before the space counts as exhausted.
    """

    tries: int = 200
    _seen: set[Architecture] = field(default_factory=set, init=False, repr=False)

    def setup(self, problem: Problem) -> None:
        """Start with nothing proposed."""
        super().setup(problem)
        self._seen = set()

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose up to `n` architectures that were not proposed before."""
        proposals = []
        for _ in range(n):
            for _ in range(self.tries):
                drawn = self.problem.sample(rng)
                if drawn not in self._seen:
                    self._seen.add(drawn)
                    proposals.append(Proposal(drawn))
                    break
        return proposals

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Learn nothing."""
