"""Scores of architectures: a score of networks, the weights it is asked with, and what was found before.

All architectures of a run are scored on one batch and with weights drawn from one seed, so a score is a function of
(architecture, run): a resumed run finds the same, whatever was asked for before. For that reason scores are remembered
by decisions, not by network: two architectures that compute one network draw its weights in different orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from torch import nn

from nasforge import registry
from nasforge.build import build_network
from nasforge.errors import EvaluationError
from nasforge.evaluate.zero_cost.batch import Batch
from nasforge.rng import integer_seed
from nasforge.space import Architecture, SearchSpace

NetworkScore = Callable[[nn.Module, Batch], float]


@final
@dataclass(frozen=True)
class Scorer:
    """A zero-cost score of architectures, as `Problem.scores` holds it.

    Attributes:
        name: of the score.
        score: of a network.
        space: of the architectures.
        batch: what networks are scored on.
        seed: of their weights.
    """

    name: str
    score: NetworkScore
    space: SearchSpace
    batch: Batch
    seed: int = 0
    _known: dict[tuple[int, ...], float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """Return the scores, shape (n,); NaN where a network has none."""
        return np.asarray([self.of(each) for each in architectures], dtype=float)

    def of(self, architecture: Architecture) -> float:
        """Return the score of one architecture; NaN where its network has none, or an infinite one."""
        key = architecture.decisions
        if key not in self._known:
            try:
                found = self.found(architecture)
            except EvaluationError:
                found = math.nan
            self._known[key] = found if math.isfinite(found) else math.nan
        return self._known[key]

    def found(self, architecture: Architecture) -> float:
        """Return the score as it comes out.

        Raises:
            EvaluationError: the network has none.
        """
        network = build_network(self.space.lower(architecture), seed=integer_seed(self.seed, "scored weights"))
        return float(self.score(network, self.batch))

    def __reduce__(self) -> tuple[Any, ...]:
        return Scorer, (self.name, self.score, self.space, self.batch, self.seed)  # what is known stays here


@final
@dataclass(frozen=True, slots=True)
class ZeroCostEvaluator:
    """Evaluates architectures by a score; nothing is trained."""

    scorer: Scorer

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return the score by its name; fidelity and seed change nothing.

        Raises:
            EvaluationError: the network has no finite score.
        """
        found = self.scorer.found(architecture)
        if not math.isfinite(found):
            described = self.scorer.space.describe(architecture)
            raise EvaluationError(f"{self.scorer.name} of {described} is {found}; this network has no such score.")
        return {self.scorer.name: found}


def make_scorer(name: str, space: SearchSpace, batch: Batch, seed: int = 0) -> Scorer:
    """Return the scorer of an installed score.

    Raises:
        NotInstalledError: no such score; the nearest is named.
    """
    return Scorer(name, registry.load("scores", name), space, batch, seed)
