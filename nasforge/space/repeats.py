"""Work that a runtime does once though the graph holds it several times, or not at all.

Runtimes merge equal subexpressions: an operator without weights, run on the same tensor twice, is run once. They
also fold what does not depend on an input. In spaces with branches both are common (two edges that pool one state),
and a sum over nodes counts them in full. Values are numbered (Cocke & Schwartz 1970) for one lowered graph, or for a
batch of architectures at once by hashes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.space.additive import NodeCost, NodeVariants
from nasforge.space.analysis import select_index
from nasforge.space.graph import Graph
from nasforge.space.lower import Lowered, Zeros
from nasforge.space.node import InputOp, Operator, Types
from nasforge.space.table import Table

Hashes = npt.NDArray[np.uint64]
_ZERO: Final = 0
"""Hash of a value that no input decides: zeros, and what is computed from zeros alone."""
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_FOLD: Final = np.uint64(0xBF58476D1CE4E5B9)
_SHIFT: Final = np.uint64(29)


def is_weightless(op: Operator, types: Types) -> bool:
    """Say whether an operator gives the same output for the same inputs wherever it stands."""
    return bool(types) and op.params(types) == 0


def spared(lowered: Lowered) -> frozenset[int]:
    """Return the positions of nodes that a runtime does not run: repeats of earlier ones, and constants."""
    numbers: list[int] = []
    seen: dict[tuple[Operator, Types, tuple[int, ...]], int] = {}
    found, constant = set[int](), set[int]()
    for index, node in enumerate(lowered.nodes):
        number = index
        if isinstance(node.op, Zeros) or (node.inputs and constant.issuperset(node.inputs)):
            constant.add(index)
            found.add(index)
        elif is_weightless(node.op, node.input_types):
            key = (node.op, node.input_types, tuple(numbers[source] for source in node.inputs))
            number = seen.setdefault(key, index)
            if number != index:
                found.add(index)
        numbers.append(number)
    return frozenset(found)


@final
@dataclass(frozen=True, eq=False)
class Repeats:
    """What architectures of one space spare, for many at once.

    Args:
        graph: the compiled graph.
        variants: what each node computes.
        sizes: number of options of each choice.
    """

    graph: Graph
    variants: NodeVariants
    sizes: tuple[int, ...]

    @cached_property
    def possible(self) -> bool:
        """Whether anything can be spared: two nodes may run one weightless operator, or zeros cut something off."""
        count: Counter[int] = Counter()
        for table in self.variants.tables:
            count.update({int(value) for value in np.unique(table.values) if value >= 0})
        repeated = any(count[i] > 1 and is_weightless(*each) for i, each in enumerate(self.variants.variants))
        return repeated or any(node.op.is_zero for node in self.graph.nodes)

    def batch(self, decisions: npt.NDArray[Any], cost: NodeCost) -> npt.NDArray[np.float64]:
        """Return for rows of decisions, (n, choices), what the spared nodes would cost, (n,).

        Equal to the sum of `cost` over `spared` nodes but for collisions of 64-bit hashes.
        """
        rows = np.maximum(np.asarray(decisions), 0)
        prices = np.asarray([*(float(cost(op, types)) for op, types in self.variants.variants), 0.0])
        weightless = np.asarray([*(is_weightless(op, types) for op, types in self.variants.variants), False])
        hashes: list[Hashes] = []
        total = np.zeros(len(rows))
        keys, saved = list[Hashes](), list[npt.NDArray[np.float64]]()
        for node in self.graph.nodes:
            variant = _looked_up(self.variants.tables[node.index], rows)
            inputs = [hashes[source] for source in node.inputs]
            if node.is_select:
                chosen = _looked_up(select_index(node, self.sizes), rows)
                hashes.append(np.choose(chosen, inputs) if len(inputs) <= 31 else _picked(inputs, chosen))
                continue
            own, constant = _own_hashes(node.index, node.op, variant, inputs, weightless)
            hashes.append(own)
            runs = variant >= 0
            if (constant & runs).any():
                total += np.where(constant & runs, prices[variant], 0.0)
            repeatable = runs & ~constant & weightless[variant]
            if repeatable.any():
                keys.append(np.where(repeatable, own, np.uint64(_ZERO)))
                saved.append(np.where(repeatable, prices[variant], 0.0))
        return total + _duplicates(keys, saved) if keys else total


def _looked_up(table: Table, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not table.axes:
        return np.full(len(rows), table.values)
    return np.asarray(table.values[tuple(rows[:, axis] for axis in table.axes)])


def _picked(inputs: Sequence[Hashes], chosen: npt.NDArray[Any]) -> Hashes:
    return np.asarray(np.stack(inputs)[chosen, np.arange(len(chosen))])


def _own_hashes(
    index: int, op: Operator, variant: npt.NDArray[Any], inputs: Sequence[Hashes], weightless: npt.NDArray[np.bool_]
) -> tuple[Hashes, npt.NDArray[np.bool_]]:
    """Return the hashes of a node's values, and where these are constant.

    A node that is not run stands for its one input that is left.
    """
    count = len(variant)
    if isinstance(op, InputOp):
        return np.full(count, _mixed(np.uint64(1), np.uint64(index + 1))), np.zeros(count, dtype=bool)
    if op.is_zero or not inputs:
        return np.zeros(count, dtype=np.uint64), np.ones(count, dtype=bool)
    own = np.where(weightless[variant], variant + 1, -1 - index).astype(np.int64).view(np.uint64)
    passed = np.zeros(count, dtype=np.uint64)
    constant = np.ones(count, dtype=bool)
    for each in inputs:
        live = each != _ZERO
        own = np.where(live, _mixed(own, each), own)
        passed = np.where(live & (passed == _ZERO), each, passed)
        constant &= ~live
    return np.where(constant, np.uint64(_ZERO), np.where(variant >= 0, own, passed)), constant


def _mixed(state: Any, value: Any) -> Any:
    with np.errstate(over="ignore"):
        state = (state ^ value) * _MIX
        return (state ^ (state >> _SHIFT)) * _FOLD + np.uint64(1)


def _duplicates(keys: Sequence[Hashes], saved: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the sum over all but the first of equal keys in each row; keys of equal value cost the same."""
    table, prices = np.stack(keys, axis=1), np.stack(saved, axis=1)
    order = np.argsort(table, axis=1)
    ordered = np.take_along_axis(table, order, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != _ZERO)
    return np.asarray((np.take_along_axis(prices, order, axis=1)[:, 1:] * again).sum(axis=1))
