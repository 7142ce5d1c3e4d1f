"""Which variants each layer of a supernet must be able to run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from torch import nn

from nasforge.layers.base import Variant
from nasforge.space import SearchSpace
from nasforge.space.analysis import Analysis, field_table
from nasforge.space.graph import GraphNode
from nasforge.space.node import Body, InputOp, Operator, Types
from nasforge.space.tensor import TensorType

_TAKEN: Final = frozenset(dir(nn.ModuleDict()))


def layer_variants(space: SearchSpace) -> dict[str, list[Variant]]:
    """Return for every layer of the space's supernet, by weights key and part, the leaf variants it runs."""
    found: dict[str, dict[Variant, None]] = {}
    for node in space.analysis.graph.nodes:
        if node.op.aliases or node.op.is_zero or isinstance(node.op, InputOp):
            continue
        for suffix, op, types in _node_variants(space, node):
            for part, leaf, leaf_types in _leaves(op, types):
                key = layer_key((node.weights or node.name) + suffix, part)
                found.setdefault(key, {})[leaf, leaf_types] = None
    return {key: list(variants) for key, variants in found.items()}


def layer_key(weights: str, part: str) -> str:
    """Return the module name of a layer: node and part, without dots, never a name that modules use themselves."""
    key = f"{weights}:{part}".strip(":").replace(".", "/")
    return f"{key}:" if key in _TAKEN else key


def _leaves(op: Operator, types: Types) -> Iterator[tuple[str, Operator, Types]]:
    body = Body(types)
    body.add("", op, *(-1 - i for i in range(len(types))))
    for part in body.parts:
        yield part.name.lstrip("."), part.op, tuple(body.type(i) for i in part.inputs)


def _node_variants(space: SearchSpace, node: GraphNode) -> Iterator[tuple[str, Operator, Types]]:
    """Yield (suffix of own weights, operator, input types) for every combination, widest types where too many."""
    sizes, analysis = space.sizes, space.analysis
    owned = [read for read in node.choices if space.choices[read].share == "none"]
    fields = {spec.name: field_table(spec, sizes) for spec in node.fields}
    tables = [table for table, _ in fields.values()] + [analysis.types[source] for source in node.inputs]
    axes = sorted({axis for table in tables for axis in table.axes})
    for options in itertools.product(*(range(sizes[read]) for read in owned)):
        suffix = "".join(
            f"@{space.choices[read].name}={space.choices[read].labels[option]}"
            for read, option in zip(owned, options, strict=True)
        )
        fixed = dict(zip(owned, options, strict=True))
        for cells in _cells(tables, axes, analysis, node.index, fixed):
            values = {name: fields[name][1][cell] for name, cell in zip(fields, cells, strict=False)}
            kinds = tuple(analysis.universe[cell] for cell in cells[len(fields) :])
            if all(isinstance(kind, TensorType) for kind in kinds):
                yield suffix, node.op.at(**values) if values else node.op, kinds  # type: ignore[misc]  # filtered


def _cells(
    tables: Sequence[Any], axes: Sequence[int], analysis: Analysis, node: int, fixed: dict[int, int]
) -> Iterator[tuple[int, ...]]:
    """Yield the joint cells of the tables while the node runs; per table, not jointly, where there are too many."""
    sizes = analysis.occurring.sizes
    pinned = [_pin(table, fixed) for table in tables]
    free = [axis for axis in axes if axis not in fixed]
    shape = [sizes[axis] for axis in free]
    if np.prod(shape, dtype=float) > 1 << 20:
        yield from itertools.product(*(map(int, np.unique(values)) for _, values in pinned))
        return
    own = [values.reshape([sizes[a] if a in kept else 1 for a in free]) for kept, values in pinned]
    columns = [np.broadcast_to(values, shape).reshape(-1) for values in own]
    if not columns:
        yield ()
        return
    joint, mask = np.stack(columns, axis=1), analysis.runs(node, axes)
    if mask is not None:
        joint = joint[mask[tuple(fixed.get(axis, slice(None)) for axis in axes)].reshape(-1)]
    yield from (tuple(map(int, row)) for row in np.unique(joint, axis=0))


def _pin(table: Any, fixed: dict[int, int]) -> tuple[tuple[int, ...], Any]:
    place = tuple(fixed.get(axis, slice(None)) for axis in table.axes)
    return tuple(axis for axis in table.axes if axis not in fixed), table.values[place]
