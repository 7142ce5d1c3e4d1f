"""Tables worked out once for all nodes that need the same: cells repeat, and so do their types, liveness and costs.

Equal tables are one object, so what was computed from some tables is found again by who they are. Results do not depend
on it: every operation is a pure function of its tables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import final

import numpy as np

from nasforge.space.graph import GraphNode
from nasforge.space.node import Operator
from nasforge.space.occurring import Mask
from nasforge.space.table import Table, TableTooLargeError, apply_rows, both, either, joined_axes


@final
class SharedTables:
    """The tables of one graph; all that it gives are kept and shared, so their identity serves as a key.

    Args:
        sizes: number of options of each choice.
        occurs: gives, for axes, the mask of cells that can occur.
    """

    def __init__(
        self, sizes: Sequence[int], occurs: Callable[[Sequence[int]], Mask | None] = lambda axes: None
    ) -> None:
        """Start without tables."""
        self.sizes, self._occurs = sizes, occurs
        self._equal: dict[Hashable, list[Table]] = {}
        self._made: dict[Hashable, Table] = {}

    def own(self, table: Table) -> Table:
        """Return the table itself, or the equal one that was met before."""
        values = table.values
        bucket = self._equal.setdefault((table.axes, values.dtype.str, values.shape, hash(values.tobytes())), [])
        for known in bucket:
            if known is table or np.array_equal(known.values, values):
                return known
        bucket.append(table)
        return table

    def once(self, key: Hashable, make: Callable[[], Table]) -> Table:
        """Return the table made under this key, or make it."""
        if key not in self._made:
            self._made[key] = self.own(make())
        return self._made[key]

    def constant(self, value: bool | int) -> Table:
        """Return the table that depends on no choice."""
        return self.once((type(value), value), lambda: Table.constant(value))

    def both(self, first: Table, second: Table) -> Table:
        """Return the logical and."""
        return self.once(("both", *sorted((id(first), id(second)))), lambda: both(first, second, self.sizes))

    def either(self, tables: Iterable[Table]) -> Table:
        """Return the logical or."""
        by_identity = {id(table): table for table in tables}
        return self.once(("either", frozenset(by_identity)), lambda: self._either(list(by_identity.values())))

    def _either(self, tables: Sequence[Table]) -> Table:
        if any(not table.axes and bool(table.values) for table in tables):
            return Table.constant(True)
        try:
            axes = joined_axes(tables, self.sizes)
        except TableTooLargeError:  # it may still come out smaller, step by step
            return either(tables, self.sizes)
        found = np.zeros([self.sizes[axis] for axis in axes], dtype=bool)
        for table in tables:
            found |= table.spread(axes, self.sizes)
        return Table(axes, found).reduced()

    def equals(self, table: Table, value: int) -> Table:
        """Return where the table has this value."""
        return self.once(
            ("equals", id(table), value), lambda: Table(table.axes, np.asarray(table.values == value)).reduced()
        )

    def bit(self, table: Table, place: int) -> Table:
        """Return where the table's numbers have this bit."""
        return self.once(
            ("bit", id(table), place),
            lambda: Table(table.axes, np.asarray(table.values >> place & 1, dtype=bool)).reduced(),
        )

    def integers(self, table: Table) -> Table:
        """Return the table as integers."""
        return self.once(("integers", id(table)), lambda: Table(table.axes, table.values.astype(np.int64)))

    def apply(
        self,
        key: Hashable,
        function: Callable[..., int],
        tables: Sequence[Table],
        keep: Callable[[], bool] = lambda: True,
    ) -> Table:
        """Apply a function of integers cell by cell.

        Args:
            key: tells functions apart; None for one that is not to be found again.
            function: of one value per table.
            tables: its arguments, given by this object.
            keep: asked afterwards whether the result may be found again.
        """
        whole = (key, *(id(table) for table in tables))
        if key is None or whole not in self._made:
            found = self.own(apply_rows(function, tables, self.sizes, self._occurs))
            if key is None or not keep():
                return found
            self._made[whole] = found
        return self._made[whole]


def template(node: GraphNode) -> Hashable:
    """Return what a node's operator is but for the fields that choices decide, and what these can be.

    None for an operator that cannot be compared.
    """
    blank: Operator = node.op.at(**{spec.name: None for spec in node.fields}) if node.fields else node.op
    key = (blank, tuple((spec.name, id(spec.table)) for spec in node.fields))
    try:
        hash(key)
    except TypeError:
        return None
    return key
