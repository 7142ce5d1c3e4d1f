"""Encodings of architectures for predictors: integers, one-hot, adjacency with operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nasforge.space.lower import Lowered


def one_hot(decisions: npt.NDArray[np.int16], sizes: Sequence[int]) -> npt.NDArray[np.float32]:
    """Encode rows of decisions; an inactive choice is all zeros in its block.

    Args:
        decisions: (n, choices).
        sizes: number of options of each choice.

    Returns:
        (n, sum of sizes).
    """
    rows = np.zeros((len(decisions), sum(sizes)), dtype=np.float32)
    offset = 0
    for index, size in enumerate(sizes):
        column = decisions[:, index]
        active = np.flatnonzero(column >= 0)
        rows[active, offset + column[active]] = 1.0
        offset += size
    return rows


def from_one_hot(rows: npt.NDArray[np.float32], sizes: Sequence[int]) -> npt.NDArray[np.int16]:
    """Decode what `one_hot` gave."""
    decisions = np.full((len(rows), len(sizes)), -1, dtype=np.int16)
    offset = 0
    for index, size in enumerate(sizes):
        block = rows[:, offset : offset + size]
        decisions[:, index] = np.where(block.any(axis=1), block.argmax(axis=1), -1)
        offset += size
    return decisions


def adjacency(lowered: Lowered, labels: Sequence[str] | None = None) -> tuple[npt.NDArray[np.int8], list[str]]:
    """Return (adjacency, operator keys): `adjacency[i, j]` counts the edges from node i to node j.

    Args:
        lowered: the pruned graph.
        labels: not given, the latency keys of the nodes label them.
    """
    count = len(lowered.nodes)
    matrix = np.zeros((count, count), dtype=np.int8)
    for index, node in enumerate(lowered.nodes):
        for source in node.inputs:
            matrix[source, index] += 1
    return matrix, list(labels) if labels is not None else [node.key for node in lowered.nodes]
