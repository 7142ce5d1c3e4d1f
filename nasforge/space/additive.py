"""Costs as sums of small tables: exact for one architecture, fast for many, an expectation for a mixture.

The cost of a node depends on few choices: those its fields read, those that decide the types it gets and
whether it is live. Nodes of equal dependence share one table, so the cost of an architecture is a
handful of look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space.analysis import Analysis, field_table, select_index
from nasforge.space.architecture import Architecture
from nasforge.space.graph import GraphNode
from nasforge.space.node import Operator, Types
from nasforge.space.shared_tables import SharedTables, template
from nasforge.space.table import Table, TableTooLargeError, combine_tables
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
        for (pairs, _), table in zip(self._flat, self.tables, strict=True):
            place = np.zeros(len(decisions), dtype=np.intp)
            for axis, stride in pairs:
                place += positive[axis] * stride
            total += table.values.reshape(-1).take(place)
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
    priced: dict[int, Table] = {}  # nodes of repeated cells share theirs
    for table in variants.tables:
        if id(table) not in priced:
            priced[id(table)] = Table(table.axes, lookup[table.values]).reduced()
    return AdditiveCost(metric, *_grouped((priced[id(table)] for table in variants.tables), sizes))


def _grouped(tables: Iterable[Table], sizes: Sequence[int]) -> tuple[float, tuple[Table, ...]]:
    """Add up reduced tables of equal axes, then absorb tables into ones whose axes contain theirs."""
    constant = 0.0
    groups: dict[tuple[int, ...], Table] = {}
    for reduced in tables:
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
        self.shared = SharedTables(self.sizes, analysis.occurring.mask)
        self.variants: list[tuple[Operator, Types]] = []
        self.number: dict[tuple[Operator, Types], int] = {}
        self.zero: list[Table] = []

    def run(self) -> NodeVariants:
        for node in self.graph.nodes:
            self.zero.append(self._zero(node))
        needed = self._needed()
        tables = [self._variants(node, needed[node.index]) for node in self.graph.nodes]
        return NodeVariants(tuple(tables), tuple(self.variants))

    def _zero(self, node: GraphNode) -> Table:
        shared = self.shared
        sources = [self.zero[source] for source in node.inputs]
        if node.op.is_zero:
            return shared.constant(True)
        if not sources or not any(table.axes or table.values for table in sources):
            return shared.constant(False)
        if node.is_select:
            chosen = shared.own(select_index(node, self.sizes))
            tables = [chosen, *(shared.integers(t) for t in sources)]
            return shared.apply("zero", lambda i, *cut: bool(cut[i]), tables)
        if node.op.aliases:
            return sources[0]
        fields, tables = self._arguments(node)

        def cut_off(*cells: int) -> bool:
            op, kinds, flags = self._cell(node, fields, cells)
            return any(flags) and op.prune(flags, kinds) is None

        return shared.apply(_key("zero", node), cut_off, tables)

    def _cell(
        self, node: GraphNode, fields: Sequence[tuple[Table, list[Any]]], cells: Sequence[int]
    ) -> tuple[Operator, Types, tuple[bool, ...]]:
        names = [spec.name for spec in node.fields]
        values = {n: f[1][c] for n, f, c in zip(names, fields, cells[: len(fields)], strict=True)}
        rest = cells[len(fields) :]
        count = len(node.inputs)
        kinds = tuple(self.analysis.universe[cell] for cell in rest[:count])
        if any(not isinstance(kind, TensorType) or kind.open for kind in kinds):
            raise TableTooLargeError(())
        return node.op.at(**values) if values else node.op, kinds, tuple(map(bool, rest[count:]))  # type: ignore[return-value]  # checked

    def _needed(self) -> list[Table]:
        shared = self.shared
        asked: list[list[Table]] = [[] for _ in self.graph.nodes]
        for output in self.graph.output_nodes:
            asked[output].append(shared.constant(True))
        needed = [shared.constant(False)] * len(self.graph.nodes)
        for node in reversed(self.graph.nodes):
            zero = self.zero[node.index]
            own = shared.both(shared.either(asked[node.index]), shared.equals(zero, 0))
            needed[node.index] = own
            index = shared.own(select_index(node, self.sizes)) if node.is_select else self._kept(node, own)
            part = shared.equals if node.is_select else shared.bit
            for place, source in enumerate(node.inputs):
                asked[source].append(shared.both(own, part(index, place)))
        return needed

    def _kept(self, node: GraphNode, needed: Table) -> Table:
        """Return, as bits, the inputs that a node reads after pruning where it is needed."""
        everything = (1 << len(node.inputs)) - 1
        if type(node.op).prune is Operator.prune or node.op.aliases:
            return self.shared.constant(everything)
        fields, tables = self._arguments(node)

        def bits(*cells: int) -> int:
            if not cells[0]:
                return everything
            op, kinds, flags = self._cell(node, fields, cells[1:])
            kept = op.prune(flags, kinds)
            return sum(1 << place for place in kept[1]) if kept is not None else everything

        return self.shared.apply(_key("kept", node), bits, [self.shared.integers(needed), *tables])

    def _arguments(self, node: GraphNode) -> tuple[list[tuple[Table, list[Any]]], list[Table]]:
        """Return the fields of a node with their values, and the tables of what `_cell` takes."""
        fields = [field_table(spec, self.sizes) for spec in node.fields]
        types = [self.shared.own(self.analysis.types[source]) for source in node.inputs]
        zeros = [self.shared.integers(self.zero[source]) for source in node.inputs]
        return fields, [*(self.shared.own(table) for table, _ in fields), *types, *zeros]

    def _variants(self, node: GraphNode, needed: Table) -> Table:
        if node.op.aliases or (not needed.axes and not bool(needed.values)):
            return self.shared.constant(-1)
        fields, arguments = self._arguments(node)

        def variant(*cells: int) -> int:
            if not cells[0]:
                return -1
            op, kinds, flags = self._cell(node, fields, cells[1:])
            kept = op.prune(flags, kinds)
            if kept is None or kept[0].aliases:
                return -1
            return self._id(kept[0], tuple(kinds[place] for place in kept[1]))

        tables = [self.shared.integers(needed), *arguments]
        try:
            return self.shared.apply(_key("variant", node), variant, tables)
        except TypeError as error:  # a Mismatch in a cell that cannot occur
            raise TableTooLargeError(()) from error

    def _id(self, op: Operator, types: Types) -> int:
        if (op, types) not in self.number:
            self.number[op, types] = len(self.variants)
            self.variants.append((op, types))
        return self.number[op, types]


def _key(what: str, node: GraphNode) -> Hashable:
    kind = template(node)
    return None if kind is None else (what, kind)


__all__ = ["AdditiveCost", "NodeVariants", "WalkCost", "additive_cost", "combine_tables", "node_variants"]
