"""Early exit: architectures that are too large leave before anything is spent on them (Termritthikun et al., 2021).

Size is counted in the network that will be built in the end, which may have more layers and channels than the one that
is searched. What is too large is drawn again, never cut down: that would be another distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import numpy.typing as npt

from nasforge.errors import InfeasibleError
from nasforge.hardware.cost import Cost
from nasforge.space import Architecture
from nasforge.strategy.base import Problem

BATCHES: Final = (4, 64, 1024)
"""Rows drawn at a time, the last again and again: most thresholds are met at once."""
FALLBACKS: Final = 8


@final
@dataclass
class EarlyExit:
    """Random architectures below a threshold and within the problem's limits.

    Attributes:
        problem: whose space is drawn from.
        cost: what is compared.
        bound: the threshold; what costs as much is refused.
        draws: for one architecture, at most.
        drawn: architectures looked at so far.
        accepted: those of them that met threshold and limits.
        least: the least cost seen.
    """

    problem: Problem
    cost: Cost
    bound: float
    draws: int
    drawn: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    least: float = field(default=np.inf, init=False)

    def accepts(self, architecture: Architecture) -> bool:
        """Say whether the architecture costs less than the bound."""
        return bool(self.bound == np.inf or self.cost(architecture) < self.bound)

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw by the space's law until an architecture is accepted.

        Raises:
            InfeasibleError: none was; the message gives the rate of acceptance.
        """
        if self.bound == np.inf:
            return self.problem.sample(rng)
        for rows in self._batches(rng):
            found = self._first(rows)
            if found is not None:
                return self.problem.space.from_decisions(rows[found])
        for _ in range(FALLBACKS if self.problem.constraints else 0):  # limits that random draws do not find
            architecture = self.problem.sample(rng)
            if self.accepts(architecture):
                return architecture
        raise InfeasibleError(self._sentence())

    def _batches(self, rng: np.random.Generator) -> Iterator[npt.NDArray[np.int16]]:
        left, turn = self.draws, 0
        while left > 0:
            size = min(left, BATCHES[min(turn, len(BATCHES) - 1)])
            yield self.problem.space.sample_batch(size, rng)
            left, turn = left - size, turn + 1

    def _first(self, rows: npt.NDArray[np.int16]) -> int | None:
        costs = self.cost.batch(rows)
        inside = np.flatnonzero((costs < self.bound) & (self.problem.violation(rows) <= 0))
        looked = int(inside[0]) + 1 if len(inside) else len(rows)
        self.drawn += looked
        self.accepted += len(inside) > 0
        self.least = min(self.least, float(costs[:looked].min()))
        return int(inside[0]) if len(inside) else None

    def _sentence(self) -> str:
        limits = "".join(f" and {limit}" for limit in self.problem.constraints if limit.metric in self.problem.costs)
        return (
            f"{self.accepted} of {self.drawn:,} random architectures of space '{self.problem.space.name}' have "
            f"{self.cost.metric} below {self.bound:,.0f}{limits}: a rate of acceptance of "
            f"{100 * self.accepted / max(1, self.drawn):.3g} %, and the least seen is {self.least:,.0f}; raise the "
            "threshold."
        )
