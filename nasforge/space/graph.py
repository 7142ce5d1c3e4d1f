"""From declared nodes to a compiled graph: positions instead of objects, names for everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np

from nasforge.errors import SpaceError
from nasforge.space.choice import Choice, Expression, Mapped, choices_of, tabulated, value_of
from nasforge.space.node import InputOp, Node, Operator, SelectOp, fields_of, reads
from nasforge.space.table import Table
from nasforge.space.tabulated import Tabulated


@final
@dataclass(frozen=True)
class Field:
    """A field that depends on choices: `table[option indices of choices]`."""

    name: str
    choices: tuple[int, ...]
    table: Tabulated

    @cached_property
    def numbers(self) -> Table:
        """The numbers of the values in `table.distinct`, by ascending choices."""
        order = np.argsort(self.choices)
        return Table(tuple(self.choices[place] for place in order), self.table.numbers.transpose(order)).reduced()


@final
@dataclass(frozen=True, slots=True)
class GraphNode:
    """One node by position; `op` still holds expressions, `fields` says how to make it concrete."""

    index: int
    name: str
    op: Operator
    inputs: tuple[int, ...]
    choices: tuple[int, ...]
    fields: tuple[Field, ...]
    weights: str | None = None
    pretrained: Any = field(default=None, repr=False)

    @property
    def is_select(self) -> bool:
        """Whether the node chooses among its inputs."""
        return isinstance(self.op, SelectOp)

    def concrete(self, decisions: Sequence[int]) -> Operator:
        """Return the operator under one row of decisions; inactive ones count as their first option."""
        if not self.fields:
            return self.op
        values = {
            spec.name: spec.table[tuple(max(decisions[read], 0) for read in spec.choices)] for spec in self.fields
        }
        return self.op.at(**values)

    def selected(self, decisions: Sequence[int]) -> int:
        """Return the position of the candidate that a select node passes on."""
        return self.inputs[self.concrete(decisions).index]  # type: ignore[attr-defined]  # SelectOp only


@final
@dataclass(frozen=True, slots=True)
class Graph:
    """All nodes in topological order, all choices, and the positions of the outputs."""

    nodes: tuple[GraphNode, ...]
    choices: tuple[Choice, ...]
    outputs: Mapping[str, tuple[int, ...]]
    """Node positions of each output; several for the heads of an ensemble."""

    @property
    def output_nodes(self) -> tuple[int, ...]:
        """Positions of all output nodes, each once."""
        return tuple(dict.fromkeys(node for nodes in self.outputs.values() for node in nodes))

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each input by name."""
        return {node.op.input_name: node.op.input_shape for node in self.nodes if isinstance(node.op, InputOp)}


def compile_graph(outputs: Mapping[str, Node | Sequence[Node]]) -> Graph:
    """Number and name what is reachable from the outputs.

    Raises:
        SpaceError: no outputs, a name given twice, or two choices of one name.
    """
    heads = {name: (node,) if isinstance(node, Node) else tuple(node) for name, node in outputs.items()}
    if not heads or not all(heads.values()):
        raise SpaceError("a search space was given no output; pass the node that gives the logits.")
    ordered = _topological(node for nodes in heads.values() for node in nodes)
    position = {node: index for index, node in enumerate(ordered)}
    names = _node_names(ordered)
    choices = _named_choices(ordered, names)
    number = {read: index for index, read in enumerate(choices)}
    made: dict[tuple[str, Expression], Field] = {}
    compiled = tuple(
        GraphNode(
            index,
            names[index],
            node.op,
            tuple(position[source] for source in node.inputs),
            tuple(number[read] for read in reads(node.op)),
            tuple(_fields(node.op, number, made)),
            node.weights,
            node.pretrained,
        )
        for index, node in enumerate(ordered)
    )
    renamed = tuple(_renamed(read, name) for read, name in choices.items())
    return Graph(compiled, renamed, {name: tuple(position[n] for n in nodes) for name, nodes in heads.items()})


def _topological(roots: Iterable[Node]) -> list[Node]:
    """Return the reachable nodes, inputs before readers (depth first without recursion)."""
    order: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [(root, False) for root in reversed(list(roots))]
    while stack:
        node, done = stack.pop()
        if node in order:
            continue
        if done:
            order[node] = None
            continue
        stack.append((node, True))
        stack.extend((source, False) for source in reversed(node.inputs) if source not in order)
    return list(order)


def _node_names(nodes: Sequence[Node]) -> list[str]:
    given = Counter(node.name for node in nodes if node.name is not None)
    twice = sorted(name for name, count in given.items() if count > 1)
    if twice:
        raise SpaceError(f"the node name '{twice[0]}' was given {given[twice[0]]} times; give every node its own.")
    numbers: Counter[str] = Counter()
    names = []
    for node in nodes:
        if node.name is not None:
            names.append(node.name)
            continue
        kind = type(node.op).__name__.removesuffix("Op").lower()
        while (name := f"{kind}{numbers[kind]}") in given:
            numbers[kind] += 1
        numbers[kind] += 1
        names.append(name)
    return names


def _named_choices(nodes: Sequence[Node], names: Sequence[str]) -> dict[Choice, str]:
    """Name the choices in the order in which they are first read; conditions and relations come along."""
    found: dict[Choice, str] = {}
    for node, node_name in zip(nodes, names, strict=True):
        for field_name, value in fields_of(node.op).items():
            for read in choices_of(value):
                _collect(read, f"{node_name}.{field_name}", found)
    counts = Counter(found.values())
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise SpaceError(
            f"two choices are named '{twice[0]}'; give each its own name, or use one choice object at both places."
        )
    return dict(sorted(found.items(), key=lambda pair: pair[0].serial))


def _collect(read: Choice, fallback: str, found: dict[Choice, str]) -> None:
    if read in found:
        return
    if read.relation is not None:
        _collect(read.relation.previous, f"{fallback}.previous", found)
    if read.condition is not None:
        for other in read.condition.choices:
            _collect(other, f"{fallback}.condition", found)
    name = read.name or fallback
    taken = set(found.values())
    if read.name is None and name in taken:
        name = next(f"{fallback}#{n}" for n in range(2, len(taken) + 3) if f"{fallback}#{n}" not in taken)
    found[read] = name


def _fields(op: Operator, number: Mapping[Choice, int], made: dict[tuple[str, Expression], Field]) -> Iterable[Field]:
    """Yield the fields that read choices; nodes that read one expression share one field."""
    for name, value in fields_of(op).items():
        if isinstance(value, Choice | Mapped):
            if (name, value) not in made:
                places = tuple(number[read] for read in choices_of(value))
                made[name, value] = Field(name, places, tabulated(value))
            yield made[name, value]


def _renamed(read: Choice, name: str) -> Choice:
    """Give an unnamed choice the name of its first reader, on the object itself: identity is sharing."""
    if read.name is None:
        object.__setattr__(read, "name", name)
    return read


__all__ = ["Field", "Graph", "GraphNode", "compile_graph", "value_of"]
