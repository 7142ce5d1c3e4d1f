"""`ladder`: a stack of rungs. Each is a convolution, a pooling or nothing; the rungs of a stage share a width."""

from __future__ import annotations

from nasforge import Input, SearchSpace, choice, one_of, repeat
from nasforge.ops import Conv, GlobalPool, Identity, Linear, Pool, SeparableConv
from nasforge.space import Node


def ladder(
    input_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, width: float = 1.0, rungs: int = 3
) -> SearchSpace:
    """Declare the space.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels.
        rungs: most rungs of a stage.
    """
    x = Input(*input_shape)
    for number, channels in enumerate((16, 32)):
        x = _stage(x, f"s{number}", round(channels * width), stride=number + 1, rungs=rungs)
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x))}, name="ladder")


def _stage(x: Node, name: str, most: int, stride: int, rungs: int) -> Node:
    channels = choice(most // 2, most, name=f"{name}.width")  # made outside of `rung`: one decision for all rungs

    def rung(source: Node, place: int) -> Node:
        own = f"{name}.rung{place}"
        kernel = choice(1, 3, name=f"{own}.kernel")  # made inside: each rung decides for itself
        candidates = [
            Conv(channels, kernel)(source, name=f"{own}.conv"),
            SeparableConv(channels, 5)(source, name=f"{own}.separable"),
            Pool("max", 3)(source, name=f"{own}.pool"),
            Identity()(source, name=f"{own}.nothing"),
        ]
        return one_of(candidates, name=own, labels=("conv", "separable", "pool", "nothing"))

    x = Conv(channels, 3, stride)(x, name=f"{name}.enter")
    return repeat(rung, x, depth=choice(*range(1, rungs + 1), name=f"{name}.depth"))
