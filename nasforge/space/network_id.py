"""The identity of a computed network: lowered graphs that differ only in names are one network.

Two architectures of one `network_id` are the same network when trained alone. The rows that are hashed describe the
whole graph, so different networks never agree; their order comes from colours that grow forward and backward through
the graph, so equal networks do, however their inner states were named.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from nasforge.space.node import Operator, Types
from nasforge.space.tensor import TensorType

Reader = tuple[int, int]
"""A node that reads, and the place at which it does (-1 where the order does not matter)."""


class ComputedNode(Protocol):
    """What identity needs of a lowered node."""

    @property
    def name(self) -> str:
        """Its name, which counts only where it starts from weights of its own."""

    @property
    def op(self) -> Operator:
        """Its operator with concrete fields."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """The nodes it reads."""

    @property
    def input_types(self) -> Types:
        """Their types."""

    @property
    def output_type(self) -> TensorType:
        """Its own type."""

    @property
    def pretrained(self) -> Any:
        """Weights it starts from."""


def canonical_rows(nodes: Sequence[ComputedNode], outputs: Mapping[str, tuple[int, ...]]) -> list[Any]:
    """Return rows (identity, inputs) in an order that depends on no name; sums of sums are flattened.

    Args:
        nodes: a lowered graph in topological order.
        outputs: positions of the output nodes.
    """
    below = _reached(nodes, outputs)
    readers: dict[int, list[Reader]] = defaultdict(list)
    for index, sources in below.items():
        for place, source in enumerate(sources):
            readers[source].append((index, -1 if nodes[index].op.commutative else place))
    roles = {i: f"{name}{n}" for name, indices in sorted(outputs.items()) for n, i in enumerate(indices)}
    colours = {
        index: f"{_identity_of(nodes[index], len(sources))}|{roles.get(index, '')}".encode()
        for index, sources in below.items()
    }
    colours = _colours(nodes, below, readers, colours)
    while (mixed := _ambiguous(colours, below, readers)) is not None:
        finer = _colours(nodes, below, readers, colours)
        if len(set(finer.values())) == len(set(colours.values())):  # stable: nodes of one colour are interchangeable
            finer = _colours(nodes, below, readers, {**finer, mixed: finer[mixed] + b"first"})
        colours = finer
    number = {index: place for place, index in enumerate(sorted(below, key=lambda i: (colours[i], i)))}
    rows = []
    for index in number:
        inner = [number[source] for source in below[index]]
        rows.append([_identity_of(nodes[index], len(inner)), sorted(inner) if nodes[index].op.commutative else inner])
    return [rows, {name: [number[index] for index in indices] for name, indices in sorted(outputs.items())}]


def _reached(nodes: Sequence[ComputedNode], outputs: Mapping[str, tuple[int, ...]]) -> dict[int, list[int]]:
    """Return the inputs of every node that matters, in topological order, inner sums replaced by their terms."""
    needed = {index for indices in outputs.values() for index in indices}
    below = {}
    for index in reversed(range(len(nodes))):
        if index in needed:
            below[index] = _terms(nodes, index)
            needed.update(below[index])
    return dict(sorted(below.items()))


def _terms(nodes: Sequence[ComputedNode], index: int) -> list[int]:
    node = nodes[index]
    if not node.op.commutative:
        return list(node.inputs)
    terms: list[int] = []
    stack = list(reversed(node.inputs))
    while stack:
        source = stack.pop()
        if nodes[source].op == node.op:
            stack.extend(reversed(nodes[source].inputs))
        else:
            terms.append(source)
    return terms


def _colours(
    nodes: Sequence[ComputedNode],
    below: Mapping[int, Sequence[int]],
    readers: Mapping[int, Sequence[Reader]],
    marks: Mapping[int, bytes],
) -> dict[int, bytes]:
    """Return for each node a hash of what it computes and of how it is read."""
    forward: dict[int, bytes] = {}
    for index, sources in below.items():
        parts = [forward[source] for source in sources]
        forward[index] = _hash(marks[index], sorted(parts) if nodes[index].op.commutative else parts)
    whole: dict[int, bytes] = {}
    for index in reversed(list(below)):
        whole[index] = _hash(
            forward[index], sorted(whole[r] + place.to_bytes(4, signed=True) for r, place in readers[index])
        )
    return whole


def _ambiguous(
    colours: Mapping[int, bytes], below: Mapping[int, Sequence[int]], readers: Mapping[int, Sequence[Reader]]
) -> int | None:
    """Return a node that shares its colour with one that is read or reads elsewhere; None where order is settled."""
    classes: dict[bytes, list[int]] = defaultdict(list)
    for index, colour in colours.items():
        classes[colour].append(index)
    for _, members in sorted(pair for pair in classes.items() if len(pair[1]) > 1):
        first = members[0]
        twins = all(below[m] == below[first] and readers[m] == readers[first] for m in members[1:])
        if not twins:
            return first
    return None


def _hash(own: bytes, parts: Sequence[bytes]) -> bytes:
    return hashlib.blake2b(b"|".join([own, *parts]), digest_size=12).digest()


def _identity_of(node: ComputedNode, count: int) -> str:
    """Return a node's identity; of sums the number of flattened terms, for how they were split does not matter."""
    if node.op.commutative:
        return f"{type(node.op).__qualname__}{count}-{node.output_type}"
    text = _identity(node.op, node.input_types)
    return text if node.pretrained is None else f"{text}-from-{node.name}"


@lru_cache(maxsize=1 << 14)
def _identity(op: Operator, types: Types) -> str:
    return op.identity(types)
