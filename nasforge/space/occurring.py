"""Which combinations of options can occur: relations and conditions rule some out.

Liveness alone rules nothing out, for what an unreachable node would compute is never asked. So most spaces need no
mask at all; where a decision constrains its neighbour, types and costs are asked only for what can happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from nasforge.space.choice import Choice
from nasforge.space.count import project
from nasforge.space.table import Table, TableTooLargeError, combine_tables

Mask = npt.NDArray[np.bool_]


def canonical_factor(index: int, active: Table, options: npt.NDArray[np.bool_], sizes: Sequence[int]) -> Table:
    """Return the table that says: an active choice takes one of `options`, an inactive one its first option."""
    own = Table((index,), options)
    first = Table((index,), np.arange(sizes[index]) == 0)
    return combine_tables(lambda a, o, f: (a & o) | (~a & f), (active, own, first), sizes)


def relation_factors(choices: Sequence[Choice], active: Sequence[Table], sizes: Sequence[int]) -> list[Table]:
    """Return for each relation the table that says: where both choices are active, the pair is allowed."""
    number = {read: index for index, read in enumerate(choices)}
    factors = []
    for index, read in enumerate(choices):
        if read.relation is None:
            continue
        before = number[read.relation.previous]
        allowed = np.asarray(read.relation.allowed)
        pair = Table((before, index), allowed) if before < index else Table((index, before), allowed.T)
        factors.append(combine_tables(lambda a, b, p: ~a | ~b | p, (active[index], active[before], pair), sizes))
    return factors


def canonical_factors(
    choices: Sequence[Choice], active: Sequence[Table], allowed: Sequence[Sequence[int]], sizes: Sequence[int]
) -> list[Table]:
    """Return 0/1 tables whose product marks one assignment for every architecture within `allowed` options."""
    factors = relation_factors(choices, active, sizes)
    for index, kept in enumerate(allowed):
        options = np.zeros(sizes[index], dtype=bool)
        options[list(kept)] = True
        factors.append(canonical_factor(index, active[index], options, sizes))
    return factors


@final
@dataclass(frozen=True, slots=True)
class Occurring:
    """What relations and conditions allow, as 0/1 tables whose product marks the combinations that occur."""

    factors: tuple[Table, ...]
    sizes: tuple[int, ...]
    _masks: dict[tuple[int, ...], Mask | None] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, choices: Sequence[Choice], active: Sequence[Table], sizes: Sequence[int]) -> Occurring:
        """Collect the factors of a graph's choices."""
        factors = relation_factors(choices, active, sizes)
        for index, read in enumerate(choices):
            if read.condition is not None:
                factors.append(canonical_factor(index, active[index], np.ones(sizes[index], dtype=bool), sizes))
        return cls(tuple(factor for factor in factors if factor.axes), tuple(sizes))

    def mask(self, axes: Sequence[int]) -> Mask | None:
        """Return which option combinations of the choices `axes` (ascending) occur; None where all do."""
        key = tuple(axes)
        if not self.factors or not any(set(key) & set(factor.axes) for factor in self.factors):
            return None
        if key not in self._masks:
            found = self._projected(key)
            self._masks[key] = None if found.all() or not found.any() else found
        return self._masks[key]

    def _projected(self, axes: tuple[int, ...]) -> Mask:
        try:
            return project(self.factors, self.sizes, axes)
        except TableTooLargeError:  # what the choices say among themselves is still known
            within = [factor for factor in self.factors if set(factor.axes) <= set(axes)]
            result: Any = np.ones([self.sizes[axis] for axis in axes], dtype=bool)
            for factor in within:
                result = result & factor.spread(axes, self.sizes)
            return np.asarray(result)
