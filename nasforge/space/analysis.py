"""What can be said of a graph before any architecture is drawn: types, liveness, activity, order.

Each result is a table over the few choices it depends on. Merges are checked here, for every
combination that can occur, so a space that was declared cannot fail on one rare architecture.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nasforge.errors import SpaceError
from nasforge.space.choice import Choice
from nasforge.space.graph import Field, Graph, GraphNode
from nasforge.space.node import Operator
from nasforge.space.occurring import Mask, Occurring
from nasforge.space.shared_tables import SharedTables, template
from nasforge.space.table import (
    MAX_CELLS,
    Table,
    TableTooLargeError,
    both,
    combine_tables,
    either,
    joined_axes,
)
from nasforge.space.tabulated import ranked
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True, slots=True)
class Mismatch:
    """A combination of types that an operator refuses, and why."""

    node: int
    message: str


@final
@dataclass(frozen=True, slots=True)
class Analysis:
    """The tables of a graph; `types` hold indices into `universe`."""

    graph: Graph
    universe: tuple[TensorType | Mismatch, ...]
    types: tuple[Table, ...]
    live: tuple[Table, ...]
    active: tuple[Table, ...]
    occurring: Occurring
    """Which combinations of options can occur at all."""
    order: tuple[int, ...]
    """Choices in an order in which each comes after those that decide its activity."""

    def runs(self, node: int, axes: Sequence[int]) -> Mask | None:
        """Return which option combinations of the choices `axes` (ascending) occur while a node is live; None: all."""
        live, sizes = self.live[node], self.occurring.sizes
        wider = tuple(sorted({*axes, *live.axes}))
        if math.prod(sizes[axis] for axis in wider) > MAX_CELLS:
            return self.occurring.mask(axes)
        mask = self.occurring.mask(wider)
        cells = np.broadcast_to(live.spread(wider, sizes), [sizes[axis] for axis in wider])
        found = cells if mask is None else cells & mask
        extra = tuple(place for place, axis in enumerate(wider) if axis not in axes)
        result = np.asarray(found.any(axis=extra))
        return None if result.all() else result


def analyse(graph: Graph) -> Analysis:
    """Infer types and liveness.

    Raises:
        SpaceError: types that do not fit somewhere, choices that decide each other's activity, a choice that
            nothing reads, or a graph too entangled for tables.
    """
    sizes = [len(read.options) for read in graph.choices]
    try:
        live = _liveness(graph, SharedTables(sizes))
        active = _activity(graph, live, sizes)
    except TableTooLargeError as error:
        names = ", ".join(str(graph.choices[axis].name) for axis in error.args[0])
        raise SpaceError(f"liveness depends on too many choices at once ({names}); split them into stages.") from error
    order = _order(graph, active)
    occurring = Occurring.of(graph.choices, active, sizes)
    graph, types, universe = _Inference(graph, occurring).run()
    _check_types(graph, universe, types, live, occurring)
    return Analysis(graph, universe, types, live, active, occurring, order)


def field_table(spec: Field, sizes: Sequence[int]) -> tuple[Table, list[Any]]:
    """Return a table of indices into the list of a field's distinct values."""
    return spec.numbers, list(spec.table.distinct)


def select_index(node: GraphNode, sizes: Sequence[int]) -> Table:
    """Return the candidate number of a select node as a table."""
    if not node.fields:
        return Table.constant(node.op.index)  # type: ignore[attr-defined]  # SelectOp only
    table, values = field_table(node.fields[0], sizes)
    return Table(table.axes, np.asarray(values, dtype=np.int64)[table.values]).reduced()


@final
class _Inference:
    """Infers types node by node; a class only because four steps share the growing universe."""

    def __init__(self, graph: Graph, occurring: Occurring) -> None:
        self.graph, self.occurring, self.sizes = graph, occurring, occurring.sizes
        self.shared = SharedTables(self.sizes, occurring.mask)
        self.universe: list[TensorType | Mismatch] = []
        self.refused = 0
        self.number: dict[TensorType | Mismatch, int] = {}
        self.types: list[Table] = []

    def run(self) -> tuple[Graph, tuple[Table, ...], tuple[TensorType | Mismatch, ...]]:
        nodes = []
        for node in self.graph.nodes:
            declared = self._declared(node)
            nodes.append(declared)
            try:
                self.types.append(self._table(declared))
            except TableTooLargeError:
                self.types.append(self._open(declared))
        graph = dataclasses.replace(self.graph, nodes=tuple(nodes))
        return graph, tuple(self.types), tuple(self.universe)

    def _id(self, value: TensorType | Mismatch) -> int:
        if value not in self.number:
            self.number[value] = len(self.universe)
            self.universe.append(value)
            self.refused += isinstance(value, Mismatch)
        return self.number[value]

    def _declared(self, node: GraphNode) -> GraphNode:
        if type(node.op).declared is Operator.declared:
            return node
        op = node.op.declared(self._arriving(node))
        return dataclasses.replace(node, op=op)

    def _arriving(self, node: GraphNode) -> list[tuple[TensorType, ...]]:
        """Return the combinations of input types that can occur together."""
        tables = [self.types[source] for source in node.inputs]
        try:
            axes = joined_axes(tables, self.sizes)
        except TableTooLargeError:
            widest = [self._widest(table) for table in tables]
            return [tuple(widest)]
        shape = [self.sizes[axis] for axis in axes]
        columns = [np.broadcast_to(t.spread(axes, self.sizes), shape).reshape(-1) for t in tables]
        joint = np.stack(columns, axis=1) if columns else np.zeros((1, 0), dtype=int)
        mask = self.occurring.mask(axes)
        rows = joint if mask is None else joint[mask.reshape(-1)]
        rows = rows[ranked(list(rows.T))[0]] if rows.size else rows[:1]
        arriving = [tuple(self.universe[int(cell)] for cell in row) for row in rows]
        return [row for row in arriving if all(isinstance(t, TensorType) for t in row)]  # type: ignore[misc]  # filtered

    def _widest(self, table: Table) -> TensorType:
        found = [self.universe[int(cell)] for cell in np.unique(table.values)]
        kinds = [kind for kind in found if isinstance(kind, TensorType)]
        return dataclasses.replace(max(kinds, key=lambda kind: (kind.capacity, kind.size)), open=True)

    def _table(self, node: GraphNode) -> Table:
        sources = [self.types[source] for source in node.inputs]
        if node.is_select:
            index = self.shared.own(select_index(node, self.sizes))
            if not index.axes:
                return sources[int(index.values)]
            return self.shared.apply("select", lambda chosen, *kinds: kinds[chosen], [index, *sources])
        fields = [field_table(spec, self.sizes) for spec in node.fields]
        names = [spec.name for spec in node.fields]

        def infer(*cells: int) -> int:
            values = {n: f[1][c] for n, f, c in zip(names, fields, cells[: len(fields)], strict=True)}
            kinds = [self.universe[cell] for cell in cells[len(fields) :]]
            return self._id(self._shape(node, node.op.at(**values) if values else node.op, kinds))

        tables = [self.shared.own(table) for table, _ in fields] + sources
        refused = self.refused  # a refusal names its node, so it is found again at every node
        return self.shared.apply(template(node), infer, tables, lambda: self.refused == refused)

    def _shape(self, node: GraphNode, op: Operator, kinds: Sequence[TensorType | Mismatch]) -> TensorType | Mismatch:
        for kind in kinds:
            if isinstance(kind, Mismatch):
                return kind
        types = tuple(kind for kind in kinds if isinstance(kind, TensorType))
        try:
            result = op.shape(types)
        except (SpaceError, ValueError) as error:
            return Mismatch(node.index, str(error))
        if min(result.shape) < 1:
            arrived = ", ".join(map(str, types))
            reason = "it needs a channel" if result.channels < 1 else "the input is too small for the strides"
            return Mismatch(node.index, f"{type(op).__name__} makes {result} of {arrived}: {reason}")
        still_open = any(kind.open for kind in types) and not hasattr(op, "out")
        return dataclasses.replace(result, open=still_open)

    def _open(self, node: GraphNode) -> Table:
        """Type a node with too many combinations by its widest inputs and widest fields."""
        kinds = [self._widest(self.types[source]) for source in node.inputs]
        if node.is_select:
            return Table.constant(self._id(max(kinds, key=lambda kind: kind.capacity)))
        values = {spec.name: max(spec.table.distinct, key=_magnitude) for spec in node.fields}
        return Table.constant(self._id(self._shape(node, node.op.at(**values), kinds)))


def _magnitude(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    return float(len(value)) if hasattr(value, "__len__") else 0.0


def _liveness(graph: Graph, shared: SharedTables) -> tuple[Table, ...]:
    """Return for each node the table that says whether the outputs reach it through chosen candidates."""
    asked: list[list[Table]] = [[] for _ in graph.nodes]
    for output in graph.output_nodes:
        asked[output].append(shared.constant(True))
    live: list[Table] = [shared.constant(False)] * len(graph.nodes)
    for node in reversed(graph.nodes):
        own = live[node.index] = shared.either(asked[node.index])
        if not node.is_select:
            for source in node.inputs:
                asked[source].append(own)
            continue
        index = shared.own(select_index(node, shared.sizes))
        for place, source in enumerate(node.inputs):
            asked[source].append(shared.both(own, shared.equals(index, place)))
    return tuple(live)


def _activity(graph: Graph, live: Sequence[Table], sizes: Sequence[int]) -> tuple[Table, ...]:
    readers: list[list[Table]] = [[] for _ in graph.choices]
    for node in graph.nodes:
        for read in node.choices:
            readers[read].append(live[node.index])
    number = {read: index for index, read in enumerate(graph.choices)}
    active: list[Table | None] = [None] * len(graph.choices)

    def resolve(index: int, path: tuple[int, ...]) -> Table:
        done = active[index]
        if done is not None:
            return done
        read = graph.choices[index]
        if index in path:
            raise SpaceError(f"the condition of choice '{read.name}' depends on itself; remove the cycle.")
        if not readers[index]:
            raise SpaceError(f"no operator reads choice '{read.name}'; use it in a field or remove it.")
        table = either(readers[index], sizes)
        if read.condition is not None:
            others = [number[other] for other in read.condition.choices]
            table = both(table, _condition_table(read, others, sizes), sizes)
            for other in others:
                table = both(table, resolve(other, (*path, index)), sizes)
        active[index] = table
        return table

    return tuple(resolve(index, ()) for index in range(len(graph.choices)))


def _condition_table(read: Choice, others: Sequence[int], sizes: Sequence[int]) -> Table:
    assert read.condition is not None
    axes = tuple(sorted(others))
    cells = np.zeros([sizes[axis] for axis in axes], dtype=bool)
    for key in read.condition.holds:
        cells[tuple(key[others.index(axis)] for axis in axes)] = True
    return Table(axes, cells).reduced()


def _check_types(
    graph: Graph,
    universe: Sequence[TensorType | Mismatch],
    types: Sequence[Table],
    live: Sequence[Table],
    occurring: Occurring,
) -> None:
    """Refuse the space where a live node has no type in a combination that can occur."""
    sizes = occurring.sizes
    wrong = [index for index, kind in enumerate(universe) if isinstance(kind, Mismatch)]
    if not wrong:
        return
    for node in graph.nodes:
        bad = Table(types[node.index].axes, np.isin(types[node.index].values, wrong))
        if not bad.values.any():
            continue
        try:
            fault = combine_tables(np.logical_and, (bad, live[node.index]), sizes)
        except TableTooLargeError:
            fault = bad
        mask = occurring.mask(fault.axes)
        found = fault.values if mask is None else fault.values & mask
        if found.any():
            cell = tuple(int(place[0]) for place in np.nonzero(np.atleast_1d(found)))
            where = dict(zip(fault.axes, cell, strict=False))
            kind = universe[int(types[node.index].at([where.get(axis, 0) for axis in range(len(sizes))]))]
            assert isinstance(kind, Mismatch)
            raise SpaceError(_mismatch_sentence(graph, kind, where))


def _mismatch_sentence(graph: Graph, fault: Mismatch, where: dict[int, int]) -> str:
    chosen = [f"{graph.choices[axis].name}={graph.choices[axis].labels[option]}" for axis, option in where.items()]
    text = f"node '{graph.nodes[fault.node].name}': {fault.message}"
    if not chosen:
        return f"{text}."
    if len(graph.nodes[fault.node].inputs) < 2:  # nothing is merged, so there is nothing to couple
        return f"node '{graph.nodes[fault.node].name}' with {', '.join(chosen)}: {fault.message}."
    names = " and ".join(f"'{graph.choices[axis].name}'" for axis in where)
    return (
        f"{text}, when {', '.join(chosen)}; couple the choices {names} (one object at both places) "
        "or project the shortcut."
    )


def _order(graph: Graph, active: Sequence[Table]) -> tuple[int, ...]:
    number = {read: index for index, read in enumerate(graph.choices)}
    needs = [set(table.axes) - {index} for index, table in enumerate(active)]
    for index, read in enumerate(graph.choices):
        if read.relation is not None:
            needs[index].add(number[read.relation.previous])
    waiting = {index: set(need) for index, need in enumerate(needs)}
    ready = [index for index, need in waiting.items() if not need]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for other, need in waiting.items():
            if index in need:
                need.remove(index)
                if not need:
                    heapq.heappush(ready, other)
    if len(order) < len(graph.choices):
        stuck = ", ".join(str(graph.choices[i].name) for i in waiting if i not in order)
        raise SpaceError(
            f"the choices {stuck} decide each other's activity; read one of them outside the others' branches."
        )
    return tuple(order)


def offer(analysis: Analysis) -> list[list[Any]]:
    """Return as plain data the decisions that a space offers: names and labels, activity, relations."""
    choices = analysis.graph.choices
    number = {read: index for index, read in enumerate(choices)}
    offered = [[read.name, list(read.labels)] for read in choices]
    active = [[list(t.axes), np.asarray(t.values, dtype=int).reshape(-1).tolist()] for t in analysis.active]
    links = [
        [number[read.relation.previous], [list(map(int, row)) for row in read.relation.allowed]]
        if read.relation
        else None
        for read in choices
    ]
    return [offered, active, links]
