"""`nb201`: the cell of NAS-Bench-201 (Dong & Yang 2020): six edges, five operations, 15,625 cells.

The choices are shared by all cells of the network. As a table (accuracies trained once and for all) see
`nasforge.evaluate.published.nb201`; edges are named `to<-from` and options as in the benchmark's own strings.
"""

from __future__ import annotations

from typing import Final

from nasforge.errors import SpaceError
from nasforge.ops import Activation, Add, BatchNorm, Conv, Conv2d, GlobalPool, Identity, Linear, Pool, Zero, divisible
from nasforge.space import Choice, Input, Node, SearchSpace, one_of, operator_choice

OPERATIONS: Final = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES: Final = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""(to, from) of the six edges, in the benchmark's order."""


def nb201(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    channels: int = 16,
    repeats: int | None = None,
) -> SearchSpace:
    """Declare the space: stem, three stages of `repeats` cells with residual reductions between, head.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies the channels.
        channels: of the first stage; doubled at each reduction.
        repeats: cells per stage; 5 as in the benchmark, or 1 for inputs below 16 pixels.

    Raises:
        SpaceError: an input below 4 pixels.
    """
    size = min(input_shape[1:])
    if size < 4:
        raise SpaceError(f"nb201 halves the image twice, and was given {size} pixels; use at least 4.")
    cells = repeats if repeats is not None else (5 if size >= 16 else 1)
    wide = divisible(channels * width, 4)
    edges = [operator_choice(OPERATIONS, name=f"{to}<-{source}") for to, source in EDGES]
    x = Conv(wide, 3, act="none")(Input(*input_shape), name="stem")
    for stage in range(3):
        if stage:
            wide *= 2
            x = _reduction(x, wide, f"reduction{stage}")
        for number in range(cells):
            x = _cell(x, wide, edges, f"s{stage + 1}c{number + 1}")
    x = Activation("relu")(BatchNorm()(x, name="last_bn"), name="last_act")
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")}, name="nb201")


def _cell(x: Node, channels: int, edges: list[Choice], name: str) -> Node:
    states = [x]
    for to in (1, 2, 3):
        incoming = [
            _edge(states[source], channels, edges[number], f"{name}.{to}<-{source}")
            for number, (target, source) in enumerate(EDGES)
            if target == to
        ]
        states.append(Add()(*incoming, name=f"{name}.{to}"))
    return states[3]


def _edge(x: Node, channels: int, by: Choice, name: str) -> Node:
    candidates = [
        Zero()(x, name=f"{name}.none"),
        Identity()(x, name=f"{name}.skip"),
        Conv(channels, 1, order="act-conv-bn")(x, name=f"{name}.1x1"),
        Conv(channels, 3, order="act-conv-bn")(x, name=f"{name}.3x3"),
        Pool("avg", 3)(x, name=f"{name}.pool"),
    ]
    return one_of(candidates, by=by)


def _reduction(x: Node, channels: int, name: str) -> Node:
    body = Conv(channels, 3, 2, order="act-conv-bn")(x, name=f"{name}.a")
    body = Conv(channels, 3, order="act-conv-bn")(body, name=f"{name}.b")
    shortcut = Conv2d(channels, 1)(Pool("avg", 2, 2)(x, name=f"{name}.pool"), name=f"{name}.shortcut")
    return Add()(body, shortcut, name=f"{name}.sum")
