"""What a cost model is to a search: one number for an architecture, many for many."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from nasforge.space import AdditiveCost, Architecture, WalkCost
from nasforge.space.table import Table


class Cost(Protocol):
    """A cost that needs no evaluation. `tables` and `constant` add up to it, where it is additive."""

    @property
    def metric(self) -> str:
        """The metric's name, with its unit."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Tables over choices; empty where the cost is not additive."""

    @property
    def constant(self) -> float:
        """What every architecture costs."""

    def __call__(self, architecture: Architecture, /) -> float:
        """Return the cost of one architecture."""

    def batch(self, decisions: npt.NDArray[Any], /) -> npt.NDArray[np.float64]:
        """Return the costs of rows of decisions, (n, choices) -> (n,)."""


__all__ = ["AdditiveCost", "Cost", "WalkCost"]
