"""What a cost model is to a search: one number for an architecture, many for many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

import numpy as np
import numpy.typing as npt

from nasforge.space import AdditiveCost, Architecture, SearchSpace, WalkCost
from nasforge.space.additive import MAX_GROUP_CELLS, NodeCost
from nasforge.space.repeats import Repeats, spared
from nasforge.space.table import Table

MOST_CELLS: Final = MAX_GROUP_CELLS


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


@final
@dataclass(frozen=True, eq=False)
class SparedCost:
    """A sum over nodes without those that a runtime spares; not additive, so it has no tables."""

    whole: AdditiveCost
    repeats: Repeats
    node_cost: NodeCost
    tables: tuple[Table, ...] = ()
    constant: float = 0.0

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.whole.metric

    def __call__(self, architecture: Architecture, /) -> float:
        """Return the cost of one architecture."""
        return float(self.batch(np.asarray([architecture.decisions]))[0])

    def batch(self, decisions: npt.NDArray[Any], /) -> npt.NDArray[np.float64]:
        """Return the costs of rows of decisions."""
        return self.whole.batch(decisions) - self.repeats.batch(decisions, self.node_cost)


def cost_as_run(metric: str, space: SearchSpace, node_cost: NodeCost, offset: float = 0.0) -> Cost:
    """Return `offset` and the sum of `node_cost` over the nodes that a runtime runs: repeats and constants are spared.

    A small space keeps what is spared in a table, and stays additive.
    """
    whole = space.additive(metric, node_cost)
    if isinstance(whole, WalkCost):
        return WalkCost(metric, lambda each: offset + _sum_as_run(space, each, node_cost), space.fingerprint)
    whole = whole.scaled(1.0, offset)
    if space.repeats is None:
        return whole
    sizes = space.sizes
    if math.prod(sizes) > MOST_CELLS:
        return SparedCost(whole, space.repeats, node_cost)
    rows = np.indices(sizes).reshape(len(sizes), -1).T
    table = Table(tuple(range(len(sizes))), -space.repeats.batch(rows, node_cost).reshape(sizes)).reduced()
    return whole + AdditiveCost(metric, 0.0, (table,))


def _sum_as_run(space: SearchSpace, architecture: Architecture, node_cost: NodeCost) -> float:
    lowered = space.lower(architecture)
    left = spared(lowered)
    return sum(node_cost(node.op, node.input_types) for i, node in enumerate(lowered.nodes) if i not in left)


__all__ = ["AdditiveCost", "Cost", "SparedCost", "WalkCost", "cost_as_run"]
