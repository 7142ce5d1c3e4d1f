"""Tables over choices: arrays whose axes are choice indices, kept small by dropping constant axes.

Everything that a space knows about its nodes (type, liveness, cost) is a function of few choices;
as a table it is computed once and then looked up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space.tabulated import ranked

MAX_CELLS: Final = 1 << 20


class TableTooLargeError(Exception):
    """A table would have more than MAX_CELLS cells; callers fall back or refuse the space."""


@final
@dataclass(frozen=True, slots=True)
class Table:
    """`values[i, j, ...]` for options i, j, ... of the choices `axes` (ascending)."""

    axes: tuple[int, ...]
    values: npt.NDArray[Any]

    @classmethod
    def constant(cls, value: Any, dtype: Any = None) -> Table:
        """Return a table that depends on no choice."""
        return cls((), np.asarray(value, dtype=dtype))

    def reduced(self, occurs: npt.NDArray[np.bool_] | None = None) -> Table:
        """Drop the axes along which nothing changes, looking only at cells that occur (all without a mask).

        Cells that do not occur take the value of one that does.
        """
        if occurs is not None and not occurs.all() and occurs.any():
            return self._reduced_where(occurs)
        axes, values = list(self.axes), self.values
        for place in range(len(axes) - 1, -1, -1):
            along = np.moveaxis(values, place, 0)
            if (along[-1:] == along[0]).all() and (along == along[0]).all():  # most differ at the ends already
                values = along[0]
                del axes[place]
        return Table(tuple(axes), values)

    def _reduced_where(self, occurs: npt.NDArray[np.bool_]) -> Table:
        axes, values = list(self.axes), self.values
        for place in range(len(axes) - 1, -1, -1):
            first = np.take_along_axis(values, occurs.argmax(axis=place, keepdims=True), axis=place)
            if ((values == first) | ~occurs).all():
                values, occurs = first.squeeze(place), np.asarray(occurs.any(axis=place))
                del axes[place]
        return Table(tuple(axes), np.where(occurs, values, values[occurs].flat[0]))

    def at(self, decisions: Sequence[int]) -> Any:
        """Return the value for one row of decisions; inactive ones (-1) count as their first option."""
        return self.values[tuple(max(decisions[axis], 0) for axis in self.axes)]

    def spread(self, axes: Sequence[int], sizes: Sequence[int]) -> npt.NDArray[Any]:
        """Return the values broadcastable over `axes` (a superset of this table's axes)."""
        own = set(self.axes)
        return self.values.reshape([sizes[axis] if axis in own else 1 for axis in axes])

    def __invert__(self) -> Table:
        return Table(self.axes, ~self.values)


def joined_axes(tables: Sequence[Table], sizes: Sequence[int], limit: int = MAX_CELLS) -> tuple[int, ...]:
    """Return the sorted union of axes.

    Raises:
        TableTooLargeError: the joint table would have more than `limit` cells.
    """
    axes = tuple(sorted({axis for table in tables for axis in table.axes}))
    if math.prod(sizes[axis] for axis in axes) > limit:
        raise TableTooLargeError(axes)
    return axes


def combine_tables(function: Callable[..., npt.NDArray[Any]], tables: Sequence[Table], sizes: Sequence[int]) -> Table:
    """Apply a broadcasting numpy function to tables."""
    axes = joined_axes(tables, sizes)
    values = function(*(table.spread(axes, sizes) for table in tables))
    shape = tuple(sizes[axis] for axis in axes)
    return Table(axes, np.broadcast_to(values, shape)).reduced()


def either(tables: Sequence[Table], sizes: Sequence[int]) -> Table:
    """Return the logical or of boolean tables; stops early where one is true throughout."""
    if any(not table.axes and bool(table.values) for table in tables):
        return Table.constant(True)
    result = Table.constant(False)
    for table in tables:
        result = combine_tables(np.logical_or, (result, table), sizes)
    return result


def both(first: Table, second: Table, sizes: Sequence[int]) -> Table:
    """Return the logical and of two boolean tables; a constant false ends it early."""
    for one, other in ((first, second), (second, first)):
        if not one.axes:
            return other if bool(one.values) else Table.constant(False)
    return combine_tables(np.logical_and, (first, second), sizes)


def apply_rows(
    function: Callable[..., int],
    tables: Sequence[Table],
    sizes: Sequence[int],
    occurs: Callable[[Sequence[int]], npt.NDArray[np.bool_] | None] = lambda axes: None,
) -> Table:
    """Apply a Python function of integers cell by cell, calling it once for each distinct combination.

    Args:
        function: of one value per table.
        tables: its arguments.
        sizes: number of options of each choice.
        occurs: gives, for axes, the mask of cells that can occur; the function is called for no others.
    """
    axes = joined_axes(tables, sizes)
    shape = tuple(sizes[axis] for axis in axes)
    if not tables:
        return Table.constant(function())
    mask = occurs(axes)
    places = slice(None) if mask is None else np.flatnonzero(mask)
    wide = [np.broadcast_to(table.spread(axes, sizes), shape).reshape(-1) for table in tables if table.axes]
    columns = [column[places] for column in wide] or [np.zeros(1, dtype=np.int64)]
    first, rank = ranked(columns)
    varying = iter([column[first].tolist() for column in columns])
    arguments = [next(varying) if table.axes else [table.values.item()] * len(first) for table in tables]
    results = np.asarray([function(*row) for row in zip(*arguments, strict=True)])
    values = np.full(math.prod(shape), results[0])
    values[places] = results[rank]
    return Table(axes, values.reshape(shape)).reduced(mask)
