"""Placing a directed acyclic graph in layers that flow downward, folded into columns where it is long.

Sugiyama's method with longest-path layers, barycentre ordering and exact one-dimensional placement; one
longest path, the spine, stands on a straight line, so a chain with shortcuts looks like one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

SWEEPS: Final = 8
LANE: Final = 14.0
GAP: Final = 18.0
_SPINE_WEIGHT: Final = 1e6


@final
@dataclass(slots=True)
class Item:
    """A node, or the place where an edge passes a layer (`node` is None); `x` is its centre."""

    node: int | None
    layer: int
    width: float
    before: list[int]
    after: list[int]
    x: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Layers:
    """Items by layer, from left to right, and each edge as the items that it runs through."""

    items: tuple[Item, ...]
    rows: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, ...], ...]

    def sources_below(self, layer: int) -> int:
        """Return how many items of a layer have an edge to the next."""
        return sum(bool(self.items[index].after) for index in self.rows[layer])

    def passes(self, layer: int) -> bool:
        """Say whether an edge passes a layer without stopping."""
        return any(self.items[index].node is None for index in self.rows[layer])


def arrange(inputs: Sequence[Sequence[int]], widths: Sequence[float]) -> Layers:
    """Arrange nodes given in topological order.

    Args:
        inputs: for each node the numbers of the nodes it reads.
        widths: of the nodes' boxes.
    """
    depth: list[int] = []
    for sources in inputs:
        depth.append(1 + max((depth[source] for source in sources), default=-1))
    items = [Item(node, depth[node], widths[node], [], []) for node in range(len(inputs))]
    edges = [_edge(items, source, node) for node, sources in enumerate(inputs) for source in sources]
    rows: list[list[int]] = [[] for _ in range(1 + max(depth, default=-1))]
    for index, item in enumerate(items):
        rows[item.layer].append(index)
    rows = _ordered(items, rows)
    _place(items, rows, _spine(inputs, depth))
    _straighten(items, rows, edges)
    return Layers(tuple(items), tuple(map(tuple, rows)), tuple(edges))


def _edge(items: list[Item], source: int, target: int) -> tuple[int, ...]:
    """Add the passing places of one edge and return all its items."""
    path = [source]
    for layer in range(items[source].layer + 1, items[target].layer):
        items.append(Item(None, layer, LANE, [], []))
        path.append(len(items) - 1)
    path.append(target)
    for first, second in itertools.pairwise(path):
        items[first].after.append(second)
        items[second].before.append(first)
    return tuple(path)


def _spine(inputs: Sequence[Sequence[int]], depth: Sequence[int]) -> set[int]:
    """Return a longest path to the deepest node."""
    if not depth:
        return set()
    node = max(range(len(depth)), key=lambda each: depth[each])
    found = {node}
    while inputs[node]:
        node = max(inputs[node], key=lambda each: (depth[each], -each))
        found.add(node)
    return found


def _ordered(items: Sequence[Item], rows: list[list[int]]) -> list[list[int]]:
    """Sort each layer by the mean place of its neighbours, down and up; the order of fewest crossings wins."""
    best, fewest = [list(row) for row in rows], _crossings(items, rows)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            place = {index: at for each in rows for at, index in enumerate(each)}

            def mean(index: int, place: Mapping[int, int] = place, down: bool = down) -> float:
                near = items[index].before if down else items[index].after
                return sum(place[each] for each in near) / len(near) if near else float(place[index])

            row.sort(key=mean)
        found = _crossings(items, rows)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    return best


def _crossings(items: Sequence[Item], rows: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(rows):
        place = {index: at for at, index in enumerate(lower)}
        ends = [place[target] for index in upper for target in sorted(items[index].after, key=place.__getitem__)]
        total += sum(a > b for at, a in enumerate(ends) for b in ends[at + 1 :])
    return total


def _place(items: Sequence[Item], rows: Sequence[Sequence[int]], spine: set[int]) -> None:
    """Give each item its x: as near to the mean of its neighbours as its layer allows; the spine is at 0."""
    for row in rows:
        _settle(items, row, [0.0] * len(row), spine)
    for sweep in range(2 * SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for index in row:
                near = [*items[index].before, *items[index].after]
                weights = [4.0 if items[index].node is None and items[each].node is None else 1.0 for each in near]
                total = sum(weight * items[each].x for weight, each in zip(weights, near, strict=True))
                wanted.append(0.0 if index in spine or not near else total / sum(weights))
            _settle(items, row, wanted, spine)


def _settle(items: Sequence[Item], row: Sequence[int], wanted: Sequence[float], spine: set[int]) -> None:
    """Minimise the squared distance to the wanted places, order and gaps kept (pool adjacent violators)."""
    offsets = [0.0]
    for left, right in itertools.pairwise(row):
        offsets.append(offsets[-1] + (items[left].width + items[right].width) / 2 + GAP)
    pools: list[tuple[float, float, int]] = []
    for index, want, offset in zip(row, wanted, offsets, strict=True):
        value, weight, count = want - offset, _SPINE_WEIGHT if index in spine else 1.0, 1
        while pools and pools[-1][0] > value:
            earlier, mass, several = pools.pop()
            value = (value * weight + earlier * mass) / (weight + mass)
            weight, count = weight + mass, count + several
        pools.append((value, weight, count))
    settled = [value for value, _, count in pools for _ in range(count)]
    for index, value, offset in zip(row, settled, offsets, strict=True):
        items[index].x = value + offset


def _straighten(items: Sequence[Item], rows: Sequence[Sequence[int]], edges: Sequence[tuple[int, ...]]) -> None:
    """Move the passing places of each long edge to the outermost of them where there is room, outer edges first."""
    lanes = [path[1:-1] for path in edges if len(path) > 3]
    for lane in sorted(lanes, key=lambda each: -max(abs(items[index].x) for index in each)):
        outer = max((items[index].x for index in lane), key=abs)
        if all(_has_room(items, rows[items[index].layer], index, outer) for index in lane):
            for index in lane:
                items[index].x = outer


def _has_room(items: Sequence[Item], row: Sequence[int], index: int, x: float) -> bool:
    at = row.index(index)
    half = items[index].width / 2 + GAP
    left = items[row[at - 1]] if at else None
    right = items[row[at + 1]] if at + 1 < len(row) else None
    return (left is None or left.x + left.width / 2 <= x - half + 0.01) and (
        right is None or right.x - right.width / 2 >= x + half - 0.01
    )


def fold(layers: Layers, most_rows: int, most_width: float, gutter: float) -> list[range]:
    """Divide the layers into columns, broken only where a single node feeds what follows.

    Args:
        layers: the arrangement.
        most_rows: columns are not longer, where breaks and the width allow.
        most_width: of all columns side by side.
        gutter: between columns.
    """
    count = len(layers.rows)
    breaks = [at + 1 for at in range(count - 1) if layers.sources_below(at) == 1 and not layers.passes(at)]
    best = [range(count)]
    for columns in range(2, count + 1):
        if max(map(len, best)) <= most_rows:
            break
        parts = _split(count, columns, breaks)
        left, right = zip(*(extent(layers, part) for part in parts), strict=True)
        if sum(right) - sum(left) + gutter * (len(parts) - 1) > most_width:
            break
        best = min(best, parts, key=lambda each: max(map(len, each)))
    return best


def _split(count: int, columns: int, breaks: Sequence[int]) -> list[range]:
    edges = [0]
    for number in range(1, columns):
        wanted = count * number / columns
        later = [at for at in breaks if at > edges[-1]]
        if later:
            edges.append(min(later, key=lambda at: (abs(at - wanted), at)))
    edges.append(count)
    return [range(begin, end) for begin, end in itertools.pairwise(edges)]


def extent(layers: Layers, part: range) -> tuple[float, float]:
    """Return the leftmost and rightmost x of some layers."""
    found = [layers.items[index] for layer in part for index in layers.rows[layer]]
    return min(each.x - each.width / 2 for each in found), max(each.x + each.width / 2 for each in found)
