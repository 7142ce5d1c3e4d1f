"""Which variants each layer of a supernet must be able to run, and the layers that hold weights for all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from torch import nn

from nasforge.errors import SpaceError
from nasforge.layers.base import Layer, Variant, layer_class
from nasforge.space import SearchSpace
from nasforge.space.analysis import Analysis, field_table
from nasforge.space.graph import GraphNode
from nasforge.space.node import Body, InputOp, Operator, Types
from nasforge.space.tabulated import ranked
from nasforge.space.tensor import TensorType

_TAKEN: Final = frozenset(dir(nn.ModuleDict()))


MOST_TRIED: Final = 4096  # combinations of options looked at to name the choices that weights cannot be shared over


def make_layers(space: SearchSpace) -> dict[str, Layer]:
    """Allocate the layers of the space's supernet, by weights key and part.

    Raises:
        SpaceError: as `checked_variants`.
    """
    return {key: layer_class(variants[0][0])(variants) for key, variants in checked_variants(space).items()}


def checked_variants(space: SearchSpace) -> dict[str, list[Variant]]:
    """Return `layer_variants`, after asking every layer whether it can share weights over its variants.

    Raises:
        SpaceError: one cannot; names its node, and the choices that make the variants.
    """
    found = layer_variants(space)
    for key, variants in found.items():
        try:
            layer_class(variants[0][0]).check(variants)
        except SpaceError as error:
            raise SpaceError(_refusal(space, key, str(error))) from error
    return found


def _refusal(space: SearchSpace, key: str, reason: str) -> str:
    weights = key.partition(":")[0].partition("@")[0]
    node = next(
        n for n in space.analysis.graph.nodes if layer_key(n.weights or n.name, "").partition(":")[0] == weights
    )
    deciding = _deciding(space, node)
    own, arriving = (
        [f"'{space.choices[axis].name}'" for axis in deciding if (axis in node.choices) == read]
        for read in (True, False)
    )
    advice = []
    if own:
        advice.append(f"give {', '.join(own)} share='none'")
    if arriving:
        advice.append(f"fix {', '.join(arriving)}, or give share='none' there and let a field of the node read it too")
    return (
        f"node '{node.name}' of space '{space.name}' cannot share weights: {reason.rstrip('.')}; "
        f"{' and '.join(advice) or 'fix its sizes'}."
    )


def _deciding(space: SearchSpace, node: GraphNode) -> list[int]:
    """Return the choices that a node's layers cannot be shared over, those of what arrives too."""
    axes = {axis for source in node.inputs for axis in space.analysis.types[source].axes} | set(node.choices)
    owned = _owned(space, node)
    candidates = sorted(axes - set(owned))
    if math.prod(space.sizes[axis] for axis in axes) > MOST_TRIED:
        return candidates
    return [axis for axis in candidates if _is_refused(space, node, sorted({*owned, *candidates} - {axis}))]


def _is_refused(space: SearchSpace, node: GraphNode, owned: Sequence[int]) -> bool:
    try:
        for variants in _variants_of(space, node, owned).values():
            layer_class(variants[0][0]).check(variants)
    except SpaceError:
        return True
    return False


def _owned(space: SearchSpace, node: GraphNode) -> list[int]:
    return [read for read in node.choices if space.choices[read].share == "none"]


def _variants_of(space: SearchSpace, node: GraphNode, owned: Sequence[int]) -> dict[str, list[Variant]]:
    """Return the leaf variants of one node by layer, where options of the choices `owned` have their own weights."""
    found: dict[str, dict[Variant, None]] = {}
    if not (node.op.aliases or node.op.is_zero or isinstance(node.op, InputOp)):
        for suffix, op, types in _node_variants(space, node, owned):
            for part, leaf, leaf_types in _leaves(op, types):
                key = layer_key((node.weights or node.name) + suffix, part)
                found.setdefault(key, {})[leaf, leaf_types] = None
    return {key: list(variants) for key, variants in found.items()}


def layer_variants(space: SearchSpace) -> dict[str, list[Variant]]:
    """Return for every layer of the space's supernet, by weights key and part, the leaf variants it runs."""
    found: dict[str, dict[Variant, None]] = {}
    for node in space.analysis.graph.nodes:
        for key, variants in _variants_of(space, node, _owned(space, node)).items():
            found.setdefault(key, {}).update(dict.fromkeys(variants))
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


def _node_variants(space: SearchSpace, node: GraphNode, owned: Sequence[int]) -> Iterator[tuple[str, Operator, Types]]:
    """Yield (suffix of own weights, operator, input types) for every combination, widest types where too many."""
    sizes, analysis = space.sizes, space.analysis
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
    if len(joint):
        first, _ = ranked(list(joint.T))
        yield from map(tuple, joint[first].tolist())


def _pin(table: Any, fixed: dict[int, int]) -> tuple[tuple[int, ...], Any]:
    place = tuple(fixed.get(axis, slice(None)) for axis in table.axes)
    return tuple(axis for axis in table.axes if axis not in fixed), table.values[place]
