"""NAS-Bench-201's cells as their latencies were measured: nothing pruned, and `none` is a kernel that writes zeros.

The shipped space `nb201` prunes what reaches no output, as an exported network would be. The published tables were
measured in PyTorch with whole cells, so whoever fits them needs a declaration that keeps all that ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from nasforge.evaluate.published import data_file
from nasforge.ops import Activation, Add, BatchNorm, Conv, Conv2d, GlobalPool, Identity, Linear, Pool
from nasforge.space import Choice, Input, Node, Operator, SearchSpace, TensorType, Types, one_of, operator_choice

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
CARDS = {"gtx1080ti": "1080ti", "rtx2080ti": "2080ti"}
BATCHES = (1, 32, 256)


@final
@dataclass(frozen=True)
class Nulled(Operator):
    """The input times zero, as the benchmark runs it: an elementwise kernel that lowering does not remove."""

    layer: ClassVar[str | None] = "nasforge.layers.combine:Zeros"

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return inputs[0]


def measured_space(cells: int = 5) -> SearchSpace:
    """Declare stem, three stages of `cells` cells with residual reductions between, head (Dong & Yang 2020)."""
    edges = [operator_choice(OPERATIONS, name=f"{to}<-{source}") for to, source in EDGES]
    x, channels = Conv(16, 3, act="none")(Input(3, 32, 32)), 16
    for stage in range(3):
        if stage:
            channels *= 2
            body = Conv(channels, 3, 2, order="act-conv-bn")(x)
            body = Conv(channels, 3, order="act-conv-bn")(body)
            x = Add()(body, Conv2d(channels, 1)(Pool("avg", 2, 2)(x)))
        for _ in range(cells):
            x = _cell(x, channels, edges)
    x = GlobalPool()(Activation("relu")(BatchNorm()(x)))
    return SearchSpace({"logits": Linear(10)(x)}, name="nb201_measured")


def _cell(x: Node, channels: int, edges: list[Choice]) -> Node:
    states = [x]
    for to in (1, 2, 3):
        incoming = [
            _edge(states[source], channels, edges[number])
            for number, (target, source) in enumerate(EDGES)
            if target == to
        ]
        states.append(Add()(*incoming))
    return states[3]


def _edge(x: Node, channels: int, by: Choice) -> Node:
    one, three = (Conv(channels, kernel, order="act-conv-bn")(x) for kernel in (1, 3))
    return one_of([Nulled()(x), Identity()(x), one, three, Pool("avg", 3)(x)], by=by)


def load(space: SearchSpace) -> tuple[npt.NDArray[np.int16], dict[tuple[str, int], npt.NDArray[np.float64]]]:
    """Return the decisions of all cells, (15625, 6), and their milliseconds by card and batch.

    Raises:
        DataError: the tables are not on this machine.
    """
    with np.load(data_file("nb201/nb201.npz"), allow_pickle=False) as file:
        operations, names = file["ops"], [str(name) for name in file["ops_names"]]
    rows = np.asarray([space.choices[0].labels.index(name) for name in names])[operations].astype(np.int16)
    with np.load(data_file("nb201/latency.npz"), allow_pickle=False) as file:
        columns = {
            (card, batch): file[f"{column}_{batch}"].astype(float)
            for card, column in CARDS.items()
            for batch in BATCHES
        }
    return rows, columns
