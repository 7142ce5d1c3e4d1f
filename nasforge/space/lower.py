"""Lowering: from an architecture to the graph of what is really computed.

Chosen candidates replace their choice, identities vanish, and what is cut off by zeros or reaches no
output is removed. Networks, supernets, costs, latency keys, `network_id` and drawings all read this
one graph, so they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, final

import networkx as nx

from nasforge.identity import fingerprint
from nasforge.space.graph import Graph, GraphNode
from nasforge.space.network_id import canonical_rows
from nasforge.space.node import Body, InputOp, Operator, Types
from nasforge.space.tensor import TensorType


@final
@dataclass(frozen=True)
class Zeros(Operator):
    """All zeros of a given shape, for readers that need a tensor where everything was cut off."""

    zero_shape: tuple[int, ...] = ()
    layer: ClassVar[str | None] = "nasforge.layers.combine:Zeros"

    def shape(self, inputs: Types) -> TensorType:
        """Return the declared shape."""
        return TensorType(self.zero_shape)

    def activation_bytes(self, inputs: Types) -> int:
        """Return 0: nothing is computed."""
        return 0


@final
@dataclass(frozen=True)
class MixOp(Operator):
    """The weighted sum of the candidates of a choice that is mixed; `support` are their option indices."""

    choice: int = 0
    support: tuple[int, ...] = ()
    layer: ClassVar[str | None] = "nasforge.layers.mixture:Mix"
    keeps_zero: ClassVar[bool] = False

    def shape(self, inputs: Types) -> TensorType:
        """Return the candidates' common type."""
        return inputs[0]


@final
@dataclass(frozen=True, slots=True)
class LoweredNode:
    """One operator with concrete fields; `inputs` are positions among the lowered nodes."""

    name: str
    op: Operator
    inputs: tuple[int, ...]
    input_types: Types
    output_type: TensorType
    weights: str
    """Key of the weights in a supernet: the node's name or its `weights`, and the options with own weights."""
    pretrained: Any = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> str:
        """The latency key."""
        return self.op.key(self.input_types)


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One primitive layer to run: `values[output] = layer(values[inputs])`."""

    weights: str
    part: str
    op: Operator
    inputs: tuple[int, ...]
    output: int
    input_types: Types
    output_type: TensorType
    node: int


@final
@dataclass(frozen=True)
class Lowered:
    """The pruned graph of one architecture, in topological order; inputs come first."""

    nodes: tuple[LoweredNode, ...]
    outputs: Mapping[str, tuple[int, ...]]
    cuts: Mapping[str, int] = field(default_factory=dict)
    """Position of the node behind each named boundary that is live."""
    drops: Mapping[int, float] = field(default_factory=dict)
    """Nodes whose output training may drop, with their depth (see `nasforge.ops.drop_path`)."""

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The primitive layers in order; value numbers of the nodes are in `values`."""
        return self._expanded[0]

    @cached_property
    def values(self) -> tuple[int, ...]:
        """For each node the number of the value that holds its output."""
        return self._expanded[1]

    @cached_property
    def _expanded(self) -> tuple[tuple[Step, ...], tuple[int, ...]]:
        steps: list[Step] = []
        values: list[int] = []
        for index, node in enumerate(self.nodes):
            body = Body(node.input_types)
            result = body.add("", node.op, *(-1 - i for i in range(len(node.inputs))))
            base = len(steps)
            outer = [values[source] for source in node.inputs]
            for place, part in enumerate(body.parts):
                inputs = tuple(base + i if i >= 0 else outer[-1 - i] for i in part.inputs)
                types = tuple(body.type(i) for i in part.inputs)
                name = part.name.lstrip(".")
                steps.append(Step(node.weights, name, part.op, inputs, base + place, types, body.type(place), index))
            values.append(base + result if result >= 0 else outer[-1 - result])
        return tuple(steps), tuple(values)

    @property
    def primitives(self) -> tuple[Step, ...]:
        """The primitive layers in order."""
        return self.steps

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each input by name."""
        return {node.op.input_name: node.op.input_shape for node in self.nodes if isinstance(node.op, InputOp)}

    def total(self, metric: str) -> int:
        """Sum an operator method (`params`, `macs`, `activation_bytes`, `bitops`) over the nodes."""
        return sum(getattr(node.op, metric)(node.input_types) for node in self.nodes)

    def graph(self) -> nx.DiGraph:
        """Return a networkx DAG; nodes carry `op`, `label`, `shape` and `key`."""
        dag = nx.DiGraph()
        for index, node in enumerate(self.nodes):
            dag.add_node(
                index, name=node.name, op=node.op, label=node.op.label(), shape=node.output_type.shape, key=node.key
            )
            for place, source in enumerate(node.inputs):
                dag.add_edge(source, index, place=place)
        return dag

    def single(self, index: int) -> Lowered:
        """Return the graph of one node alone, fed by inputs of its input types (for measuring it)."""
        node = self.nodes[index]
        names = ["image"] if len(node.inputs) == 1 else [f"input{place}" for place in range(len(node.inputs))]
        sources = [
            LoweredNode(name, InputOp(kind.shape, name), (), (), TensorType(kind.shape), name)
            for name, kind in zip(names, node.input_types, strict=True)
        ]
        plain = tuple(TensorType(kind.shape, bits=kind.bits) for kind in node.input_types)
        alone = dataclasses.replace(node, inputs=tuple(range(len(sources))), input_types=plain)
        return Lowered((*sources, alone), {"output": (len(sources),)})

    @cached_property
    def network_id(self) -> str:
        """Hash of the computed network, see `nasforge.space.network_id`."""
        return fingerprint(canonical_rows(self.nodes, self.outputs))


@final
@dataclass(frozen=True, slots=True)
class _Zero:
    """A value that is zero throughout, standing for nothing computed."""

    kind: TensorType


def lower(graph: Graph, decisions: Sequence[int], mixed: Mapping[int, tuple[int, ...]] | None = None) -> Lowered:
    """Lower one row of decisions.

    Args:
        graph: the compiled graph, its operators declared (see `analysis`).
        decisions: option index per choice, -1 where inactive.
        mixed: for choices that are mixed, the option indices to run.
    """
    return _Lowering(graph, decisions, mixed or {}).run()


@final
class _Lowering:
    """One lowering in progress: `refs` maps graph positions to lowered ones or to zero."""

    def __init__(self, graph: Graph, decisions: Sequence[int], mixed: Mapping[int, tuple[int, ...]]) -> None:
        self.graph, self.decisions, self.mixed = graph, decisions, mixed
        self.nodes: list[LoweredNode] = []
        self.refs: dict[int, int | _Zero] = {}
        self.cuts: dict[str, int] = {}
        self.drops: dict[int, float] = {}

    def run(self) -> Lowered:
        for index in sorted(self._reached()):
            node = self.graph.nodes[index]
            self.refs[index] = self._lower(node)
        outputs = {
            name: tuple(self._materialised(self.refs[node], f"{name}.zeros") for node in nodes)
            for name, nodes in self.graph.outputs.items()
        }
        return _swept(self.nodes, outputs, self.cuts, self.drops)

    def _reached(self) -> set[int]:
        """Return the positions that the outputs reach through chosen candidates; inputs always."""
        found = {node.index for node in self.graph.nodes if isinstance(node.op, InputOp)}
        stack = list(self.graph.output_nodes)
        while stack:
            index = stack.pop()
            if index in found:
                continue
            found.add(index)
            node = self.graph.nodes[index]
            stack.extend(self._sources(node))
        return found

    def _support(self, node: GraphNode) -> tuple[int, ...]:
        """Return the option indices under which a select node is mixed, empty where it is not."""
        if not node.is_select or len(node.choices) != 1:
            return ()
        return self.mixed.get(node.choices[0], ())

    def _sources(self, node: GraphNode) -> Iterable[int]:
        if not node.is_select:
            return node.inputs
        support = self._support(node)
        if not support:
            return (node.selected(self.decisions),)
        table = node.fields[0].table
        return tuple(dict.fromkeys(node.inputs[table[(option,)]] for option in support))

    def _lower(self, node: GraphNode) -> int | _Zero:
        support = self._support(node)
        if support:
            return self._mix(node, support)
        if node.is_select:
            return self.refs[node.selected(self.decisions)]
        op = node.concrete(self.decisions)
        if op.aliases:
            if hasattr(op, "boundary"):
                self.cuts[op.boundary] = self._materialised(self.refs[node.inputs[0]], f"{node.name}.zeros")
            ref = self.refs[node.inputs[0]]
            if isinstance(ref, int) and (depth := getattr(op, "drop_depth", 0.0)):
                self.drops[ref] = depth
            return self.refs[node.inputs[0]]
        refs = [self.refs[source] for source in node.inputs]
        types = tuple(self._type(ref) for ref in refs)
        if op.is_zero:
            return _Zero(op.shape(types))
        kept = op.prune(tuple(isinstance(ref, _Zero) for ref in refs), types)
        if kept is None:
            return _Zero(op.shape(types))
        op, places = kept
        if op.aliases:
            return refs[places[0]]
        return self._append(node, op, [refs[place] for place in places])

    def _mix(self, node: GraphNode, support: tuple[int, ...]) -> int:
        table = node.fields[0].table
        refs = [self.refs[node.inputs[table[(option,)]]] for option in support]
        return self._append(node, MixOp(node.choices[0], support), refs)

    def _type(self, ref: int | _Zero) -> TensorType:
        return ref.kind if isinstance(ref, _Zero) else self.nodes[ref].output_type

    def _materialised(self, ref: int | _Zero, name: str) -> int:
        if isinstance(ref, int):
            return ref
        source = 0
        node = LoweredNode(name, Zeros(ref.kind.shape), (source,), (self.nodes[source].output_type,), ref.kind, name)
        self.nodes.append(node)
        return len(self.nodes) - 1

    def _append(self, node: GraphNode, op: Operator, refs: Sequence[int | _Zero]) -> int:
        inputs = tuple(self._materialised(ref, f"{node.name}.zeros{i}") for i, ref in enumerate(refs))
        types = tuple(self.nodes[source].output_type for source in inputs)
        key = node.weights or node.name
        for spec in node.fields:
            for read in spec.choices:
                made = self.graph.choices[read]
                if made.share == "none":
                    suffix = f"@{made.name}={made.labels[max(self.decisions[read], 0)]}"
                    key += suffix if suffix not in key else ""
        self.nodes.append(LoweredNode(node.name, op, inputs, types, op.shape(types), key, node.pretrained))
        return len(self.nodes) - 1


def _swept(
    nodes: Sequence[LoweredNode],
    outputs: Mapping[str, tuple[int, ...]],
    cuts: Mapping[str, int],
    drops: Mapping[int, float],
) -> Lowered:
    """Remove what no output reads (inputs stay), and renumber."""
    found = {index for index, node in enumerate(nodes) if isinstance(node.op, InputOp)}
    stack = [index for indices in outputs.values() for index in indices]
    while stack:
        index = stack.pop()
        if index not in found:
            found.add(index)
            stack.extend(nodes[index].inputs)
    place = {old: new for new, old in enumerate(sorted(found))}
    kept = tuple(
        dataclasses.replace(nodes[old], inputs=tuple(place[source] for source in nodes[old].inputs)) for old in place
    )
    heads = {name: tuple(place[index] for index in indices) for name, indices in outputs.items()}
    live_cuts = {name: place[index] for name, index in cuts.items() if index in place}
    return Lowered(kept, heads, live_cuts, {place[index]: depth for index, depth in drops.items() if index in place})


def alone(op: Operator, types: Types) -> Lowered:
    """Return the graph of one operator alone, fed by inputs of its input types."""
    node = LoweredNode("block", op, tuple(range(len(types))), types, op.shape(types), "block")
    return Lowered((node,), {}).single(0)
