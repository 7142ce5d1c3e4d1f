"""Costs as sums of small tables: exact for one architecture, fast for many, an expectation for a mixture.

The cost of a node depends on few choices: those its fields read, those that decide the types it gets and
whether it is live. Nodes of equal dependence share one table, so the cost of an architecture is a
handful of look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space.analysis import Analysis, field_table, select_index
from nasforge.space.architecture import Architecture
from nasforge.space.graph import GraphNode
from nasforge.space.node import Operator, Types
from nasforge.space.table import Table, TableTooLargeError, apply_rows, both, combine_tables, either
from nasforge.space.tensor import TensorType

MAX_GROUP_CELLS: Final = 1 << 16
NodeCost = Callable[[Operator, Types], float]


@final
@dataclass(frozen=True)
class AdditiveCost:
    """A metric that is a constant plus a sum of tables over choices."""

    metric: str
    constant: float
    tables: tuple[Table, ...]
    _flat: tuple[tuple[tuple[tuple[int, int], ...], list[float]], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay the tables out for look-ups by one number."""
        flat = []
        for table in self.tables:
            strides = np.cumprod([1, *table.values.shape[:0:-1]])[::-1]
            pairs = tuple((axis, int(stride)) for axis, stride in zip(table.axes, strides, strict=True))
            flat.append((pairs, table.values.reshape(-1).tolist()))
        object.__setattr__(self, "_flat", tuple(flat))

    def __call__(self, architecture: Architecture) -> float:
        """Return the cost of one architecture."""
        decisions = architecture.decisions
        total = self.constant
        for pairs, values in self._flat:
            place = 0
            for axis, stride in pairs:
                option = decisions[axis]
                if option > 0:
                    place += option * stride
            total += values[place]
        return total

    def batch(self, decisions: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the costs of rows of decisions, shape (n, choices) -> (n,)."""
        total = np.full(len(decisions), self.constant, dtype=np.float64)
        positive = np.maximum(np.asarray(decisions).T, 0).astype(np.intp)
        for pairs, values in self._flat:
            place = np.zeros(len(decisions), dtype=np.intp)
            for axis, stride in pairs:
                place += positive[axis] * stride
            total += np.asarray(values).take(place)
        return total

    def scaled(self, factor: float, offset: float = 0.0, metric: str | None = None) -> AdditiveCost:
        """Return `offset + factor * cost`."""
        tables = tuple(Table(table.axes, table.values * factor) for table in self.tables)
        return AdditiveCost(metric or self.metric, self.constant * factor + offset, tables)

    def __add__(self, other: AdditiveCost) -> AdditiveCost:
        """Return the sum of two costs, named as the first."""
        return AdditiveCost(self.metric, self.constant + other.constant, self.tables + other.tables)


@final
@dataclass(frozen=True)
class WalkCost:
    """The same interface for spaces too entangled for tables: every architecture is lowered."""

    metric: str
    function: Callable[[Architecture], float]
    fingerprint: str
    tables: tuple[Table, ...] = ()
    constant: float = 0.0

    def __call__(self, architecture: Architecture) -> float:
        """Return the cost of one architecture."""
        return self.function(architecture)

    def batch(self, decisions: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the costs of rows of decisions."""
        rows = np.asarray(decisions).tolist()
        return np.asarray([self.function(Architecture(tuple(row), self.fingerprint)) for row in rows])


@final
@dataclass(frozen=True, slots=True)
class NodeVariants:
    """For every node the table of variants, and the variants: (operator, input types), None where it is not run."""

    tables: tuple[Table, ...]
    variants: tuple[tuple[Operator, Types], ...]


def node_variants(analysis: Analysis) -> NodeVariants:
    """Tabulate what each node computes after pruning; index -1 stands for nothing.

    Raises:
        TableTooLargeError: a node depends on too many choices.
    """
    return _Pruning(analysis).run()


def additive_cost(metric: str, variants: NodeVariants, cost: NodeCost, sizes: Sequence[int]) -> AdditiveCost:
    """Sum `cost(operator, input types)` over the nodes that an architecture runs."""
    prices = [float(cost(op, types)) for op, types in variants.variants]
    lookup = np.asarray([*prices, 0.0])  # index -1 reads the last cell
    return AdditiveCost(metric, *_grouped((Table(t.axes, lookup[t.values]) for t in variants.tables), sizes))


def _grouped(tables: Iterable[Table], sizes: Sequence[int]) -> tuple[float, tuple[Table, ...]]:
    """Add up tables of equal axes, then absorb tables into ones whose axes contain theirs."""
    constant = 0.0
    groups: dict[tuple[int, ...], Table] = {}
    for table in tables:
        reduced = table.reduced()
        if not reduced.axes:
            constant += float(reduced.values)
        elif reduced.axes in groups:
            groups[reduced.axes] = Table(reduced.axes, groups[reduced.axes].values + reduced.values)
        else:
            groups[reduced.axes] = reduced
    merged: list[Table] = []
    for table in sorted(groups.values(), key=lambda t: (-len(t.axes), t.axes)):
        for place, larger in enumerate(merged):
            axes = tuple(sorted({*larger.axes, *table.axes}))
            if set(table.axes) <= set(larger.axes) or math.prod(sizes[a] for a in axes) <= 64:
                shape = [sizes[axis] for axis in axes]
                total = larger.spread(axes, sizes) + table.spread(axes, sizes)
                merged[place] = Table(axes, np.broadcast_to(total, shape).copy())
                break
        else:
            merged.append(table)
    return constant, tuple(merged)


@final
class _Pruning:
    """Forward: which nodes are zero, and the variant each computes; backward: which are still needed."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.graph = analysis.graph
        self.sizes = [len(read.options) for read in self.graph.choices]
        self.variants: list[tuple[Operator, Types]] = []
        self.number: dict[tuple[Operator, Types], int] = {}
        self.zero: list[Table] = []

    def run(self) -> NodeVariants:
        for node in self.graph.nodes:
            self.zero.append(self._zero(node.index))
        needed = self._needed()
        tables = [self._variants(node.index, needed[node.index]) for node in self.graph.nodes]
        return NodeVariants(tuple(tables), tuple(self.variants))

    def _apply(self, function: Callable[..., int], tables: Sequence[Table]) -> Table:
        return apply_rows(function, tables, self.sizes, self.analysis.occurring.mask)

    def _zero(self, index: int) -> Table:
        node = self.graph.nodes[index]
        sources = [self.zero[source] for source in node.inputs]
        if node.op.is_zero:
            return Table.constant(True)
        if not sources or not any(table.values.any() for table in sources):
            return Table.constant(False)
        if node.is_select:
            chosen = select_index(node, self.sizes)
            return self._apply(lambda i, *cut: bool(cut[i]), [chosen, *(_as_int(t) for t in sources)])
        if node.op.aliases:
            return sources[0]
        fields, tables = self._arguments(node)

        def cut_off(*cells: int) -> bool:
            op, kinds, flags = self._cell(index, fields, cells)
            return any(flags) and op.prune(flags, kinds) is None

        return self._apply(cut_off, tables)

    def _cell(
        self, index: int, fields: Sequence[tuple[Table, list[Any]]], cells: Sequence[int]
    ) -> tuple[Operator, Types, tuple[bool, ...]]:
        node = self.graph.nodes[index]
        names = [spec.name for spec in node.fields]
        values = {n: f[1][c] for n, f, c in zip(names, fields, cells[: len(fields)], strict=True)}
        rest = cells[len(fields) :]
        count = len(node.inputs)
        kinds = tuple(self.analysis.universe[cell] for cell in rest[:count])
        if any(not isinstance(kind, TensorType) or kind.open for kind in kinds):
            raise TableTooLargeError(())
        return node.op.at(**values) if values else node.op, kinds, tuple(map(bool, rest[count:]))  # type: ignore[return-value]  # checked

    def _needed(self) -> list[Table]:
        asked: list[list[Table]] = [[] for _ in self.graph.nodes]
        for output in self.graph.output_nodes:
            asked[output].append(Table.constant(True))
        needed = [Table.constant(False)] * len(self.graph.nodes)
        for node in reversed(self.graph.nodes):
            own = both(either(asked[node.index], self.sizes), ~self.zero[node.index], self.sizes)
            needed[node.index] = own
            if node.is_select:
                index = select_index(node, self.sizes)
                for place, source in enumerate(node.inputs):
                    asked[source].append(both(own, Table(index.axes, index.values == place).reduced(), self.sizes))
                continue
            kept = self._kept(node, own)
            for place, source in enumerate(node.inputs):
                reads = Table(kept.axes, (kept.values >> place & 1).astype(bool)).reduced()
                asked[source].append(both(own, reads, self.sizes))
        return needed

    def _kept(self, node: GraphNode, needed: Table) -> Table:
        """Return, as bits, the inputs that a node reads after pruning where it is needed."""
        everything = (1 << len(node.inputs)) - 1
        if type(node.op).prune is Operator.prune or node.op.aliases:
            return Table.constant(everything)
        fields, tables = self._arguments(node)

        def bits(*cells: int) -> int:
            if not cells[0]:
                return everything
            op, kinds, flags = self._cell(node.index, fields, cells[1:])
            kept = op.prune(flags, kinds)
            return sum(1 << place for place in kept[1]) if kept is not None else everything

        return self._apply(bits, [_as_int(needed), *tables])

    def _arguments(self, node: GraphNode) -> tuple[list[tuple[Table, list[Any]]], list[Table]]:
        """Return the fields of a node with their values, and the tables of what `_cell` takes."""
        fields = [field_table(spec, self.sizes) for spec in node.fields]
        types = [self.analysis.types[source] for source in node.inputs]
        zeros = [_as_int(self.zero[source]) for source in node.inputs]
        return fields, [*(table for table, _ in fields), *types, *zeros]

    def _variants(self, index: int, needed: Table) -> Table:
        node = self.graph.nodes[index]
        if node.op.aliases or (not needed.axes and not bool(needed.values)):
            return Table.constant(-1)
        fields, arguments = self._arguments(node)

        def variant(*cells: int) -> int:
            if not cells[0]:
                return -1
            op, kinds, flags = self._cell(index, fields, cells[1:])
            kept = op.prune(flags, kinds)
            if kept is None or kept[0].aliases:
                return -1
            return self._id(kept[0], tuple(kinds[place] for place in kept[1]))

        tables = [_as_int(needed), *arguments]
        try:
            return self._apply(variant, tables)
        except TypeError as error:  # a Mismatch in a cell that cannot occur
            raise TableTooLargeError(()) from error

    def _id(self, op: Operator, types: Types) -> int:
        if (op, types) not in self.number:
            self.number[op, types] = len(self.variants)
            self.variants.append((op, types))
        return self.number[op, types]


def _as_int(table: Table) -> Table:
    return Table(table.axes, table.values.astype(np.int64))


__all__ = ["AdditiveCost", "NodeVariants", "WalkCost", "additive_cost", "combine_tables", "node_variants"]
