"""What a predictor sees of architectures: the decisions as points, and known figures beside them.

Costs and zero-cost scores need no training, and rank architectures well on their own; a predictor that sees them
needs fewer evaluations. They may be slow to compute, so each is computed once for what was evaluated.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt

from nasforge.strategy.base import Problem
from nasforge.strategy.prediction.embedding import Embedding
from nasforge.strategy.prediction.gaussian import Points

Rows = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]


@final
class Features:
    """Reads rows of decisions, (n, choices), of one problem.

    Args:
        problem: whose costs (in logarithms) and zero-cost scores are the known figures.
    """

    def __init__(self, problem: Problem) -> None:
        """Start with nothing computed."""
        self.problem = problem
        self._kept: dict[tuple[int, ...], Floats] = {}

    @cached_property
    def _embedding(self) -> Embedding:
        return Embedding(self.problem.space)

    def points(self, rows: Rows, reference: Floats) -> Points:
        """Return rows as points; known figures are standardised by those of the reference, constant ones are 0.

        A score that is NaN counts as the lowest of the reference.

        Args:
            rows: (n, choices).
            reference: figures of what was evaluated, (m, figures).
        """
        figures = self.figures(rows)
        lowest = np.min(np.where(np.isnan(reference), np.inf, reference), axis=0, initial=np.inf)
        lowest = np.where(np.isfinite(lowest), lowest, 0.0)
        figures, known = (np.where(np.isnan(each), lowest, each) for each in (figures, reference))
        spread = known.std(axis=0)
        scaled = np.where(spread > 0, (figures - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0), 0.0)
        return Points(self._embedding(rows), np.clip(scaled, -10.0, 10.0))

    def figures(self, rows: Rows) -> Floats:
        """Return the logarithm of 1 + each cost, then the scores, (n, figures)."""
        found = [self._kept.get(row) for row in map(tuple, rows.tolist())]
        missing = np.asarray([figures is None for figures in found], dtype=bool)
        whole = np.zeros((len(rows), len(self.problem.costs) + len(self.problem.scores)))
        if missing.any():
            whole[missing] = self._computed(rows[missing])
        if not missing.all():
            whole[~missing] = [figures for figures in found if figures is not None]
        return whole

    def kept(self, rows: Rows) -> Floats:
        """Return the figures, and remember them for the next time."""
        figures = self.figures(rows)
        self._kept.update(zip(map(tuple, rows.tolist()), figures, strict=True))
        return figures

    def scores(self, rows: Rows) -> Floats:
        """Return the zero-cost scores, (n, scores), of which more is better; infinite ones are NaN."""
        if not self.problem.scores:
            return np.zeros((len(rows), 0))
        architectures = [self.problem.space.from_decisions(row) for row in rows]
        columns = [np.asarray(score(architectures), dtype=float) for score in self.problem.scores.values()]
        whole = np.stack(columns, axis=1)
        return np.where(np.isfinite(whole), whole, np.nan)

    def _computed(self, rows: Rows) -> Floats:
        costs: list[Any] = [np.log1p(np.maximum(cost.batch(rows), 0.0)) for cost in self.problem.costs.values()]
        return np.concatenate([*(cost[:, None] for cost in costs), self.scores(rows)], axis=1)
