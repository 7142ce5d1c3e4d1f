"""The base of strategies that train shared weights and then evolve architectures over them (Guo et al. 2020).

What the population may hold can depend on the training (`neas` shrinks its space), so the evolution is not made before
it is first needed; from then on `ask`, `tell` and `derive` are the population's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from nasforge.space import Architecture
from nasforge.strategy.base import Evaluation, Problem, Proposal
from nasforge.strategy.evolution.population import Population
from nasforge.strategy.weight_sharing import WeightSharing


class EvolutionOverWeights(WeightSharing):
    """A strategy whose search is a `Population`, which it says how to begin; what is rated with weights is its own."""

    _evolution: Population | None = None

    @abstractmethod
    def begin_evolution(self) -> Population:
        """Return a population before its first generation; asked for once after `setup`, when the weights are there."""

    @property
    def evolution(self) -> Population:
        """The evolution; it begins when it is first needed."""
        if self._evolution is None:
            self._evolution = self.begin_evolution()
        return self._evolution

    def setup(self, problem: Problem) -> None:
        """Take the problem; no evolution has begun."""
        super().setup(problem)
        self._evolution = None

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose up to `n` of the generation at hand; nothing while its last ones are being rated, or at the end."""
        return self.evolution.ask(n, rng)

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Take ratings; failures are never parents."""
        self.evolution.tell(results)

    def derive(self) -> list[Architecture]:
        """Return what was rated, best first."""
        return self.evolution.ranked
