"""`nats_sss`: the size space of NATS-Bench (Dong et al. 2021): five widths of eight sizes each, 32,768 networks.

The cell is fixed, the best of the benchmark's topology space on CIFAR-100; searched are the channels of the stem with
the first cell, and of each reduction and each further cell. As a table see `nasforge.evaluate.published.nats_sss`. In a
supernet the convolutions are sliced; with `norm_share="none"` it is slimmable, each width with normalisations of its
own, as BossNAS trains it (Li et al. 2021). Boundaries cut it into blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import Activation, Add, BatchNorm, Conv, Conv2d, GlobalPool, Identity, Linear, Pool, divisible
from nasforge.space import Body, Choice, Input, Node, Operator, SearchSpace, boundary, choice
from nasforge.space.node import Types

CHANNELS: Final = (8, 16, 24, 32, 40, 48, 56, 64)
"""What each width is chosen from; the labels of the options, whatever the preset makes of them."""
WIDTHS: Final = ("stem", "reduction1", "cell2", "reduction2", "cell3")
"""The five choices, in the order of the benchmark's own strings such as `8:8:16:40:40`."""
PRESETS: Final = {"full": 1.0, "small": 0.25}
"""What multiplies the channels."""
SMALL_BELOW: Final = 32
BLOCKS: Final = (2, 2, 1)
"""How many of the five places each block holds, as BossNAS cuts for CIFAR-10; for CIFAR-100 (2, 1, 2)."""


@final
@dataclass(frozen=True)
class Skip(Operator):
    """The identity where the input has `out` channels already, else 1x1 convolution and normalisation, no activation.

    So does the benchmark's cell: this shortcut does depend on which widths are equal.
    """

    out: Any
    norm_share: str = field(default="slice", metadata={"latency": False, "network": False})

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return the identity where channels are equal."""
        if all(cut):
            return None
        return (Identity() if inputs[0].channels == self.out else self), (0,)

    def expand(self, body: Body) -> int:
        """Expand to nothing, or to a convolution with its normalisation."""
        if body.type(-1).channels == self.out:
            return -1
        return body.add("fit", Conv(self.out, 1, act="none", norm_share=self.norm_share), -1)

    def label(self) -> str:
        """Return `skip`."""
        return "skip"


def nats_sss(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    preset: str | None = None,
    norm_share: Literal["slice", "none"] = "slice",
    blocks: Sequence[int] = BLOCKS,
) -> SearchSpace:
    """Declare the space: stem, cell, reduction, cell, reduction, cell, head.

    Boundaries are `block1` to the number of blocks, the last one behind the last cell.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels, whose labels stay 8 to 64.
        preset: `full` (the benchmark's channels) or `small` (a quarter); `full` from 32 pixels without it.
        norm_share: `none` gives each width normalisations of its own, `slice` slices them.
        blocks: how many of the five places (cell, reduction, cell, reduction, cell) each block holds.

    Raises:
        SpaceError: an unknown preset, an input whose sides are no multiples of 4, or blocks that do not cover the
            five places.
    """
    size = min(input_shape[1:])
    name = preset or ("full" if size >= SMALL_BELOW else "small")
    if name not in PRESETS:
        raise SpaceError(unknown_name_sentence("preset of nats_sss", name, PRESETS))
    if size < 4:
        raise SpaceError(f"nats_sss halves the image twice, and was given {size} pixels; use at least 4.")
    if any(side % 4 for side in input_shape[1:]):
        raise SpaceError(
            f"nats_sss halves the image twice, and was given {input_shape[1]} x {input_shape[2]} pixels; resize the "
            "images to a multiple of 4."
        )
    if sum(blocks) != len(WIDTHS) or min(blocks) < 1:
        raise SpaceError(
            f"nats_sss has {len(WIDTHS)} places and was given blocks of {list(blocks)}; cover all of them."
        )
    widths = [_width(each, PRESETS[name] * width) for each in WIDTHS]
    ends = {sum(blocks[: number + 1]): number + 1 for number in range(len(blocks))}
    x = Conv(widths[0], 3, act="none", norm_share=norm_share)(Input(*input_shape), name="stem")
    for place, (channels, label) in enumerate(zip(widths, ("cell1", *WIDTHS[1:]), strict=True)):
        x = (_reduction if place % 2 else _cell)(x, channels, label, norm_share)
        if place + 1 in ends:
            x = boundary(f"block{ends[place + 1]}", x)
    x = Activation("relu")(BatchNorm(share=norm_share)(x, name="last_bn"), name="last_act")
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")}, name="nats_sss")


def _width(name: str, factor: float) -> Choice:
    channels: Sequence[int] = [divisible(each * factor, 2 if factor < 1 else 8) for each in CHANNELS]
    if len(set(channels)) < len(channels):
        raise SpaceError(f"nats_sss was given a width that leaves two sizes equal ({channels}); give a larger one.")
    return choice(*channels, name=name, labels=[str(each) for each in CHANNELS])


def _cell(x: Node, channels: Choice, name: str, norm_share: str) -> Node:
    """Return the fixed cell: states 1 and 2 are 3x3 convolutions of all before, 3 those of 1 and 2 and a shortcut."""

    def convolved(source: Node, to: int, number: int) -> Node:
        return Conv(channels, 3, order="act-conv-bn", norm_share=norm_share)(source, name=f"{name}.{to}<-{number}")

    first = convolved(x, 1, 0)
    second = Add()(convolved(x, 2, 0), convolved(first, 2, 1), name=f"{name}.2")
    shortcut = Skip(channels, norm_share)(x, name=f"{name}.3<-0")
    return Add()(shortcut, convolved(first, 3, 1), convolved(second, 3, 2), name=f"{name}.3")


def _reduction(x: Node, channels: Choice, name: str, norm_share: str) -> Node:
    body = Conv(channels, 3, 2, order="act-conv-bn", norm_share=norm_share)(x, name=f"{name}.a")
    body = Conv(channels, 3, order="act-conv-bn", norm_share=norm_share)(body, name=f"{name}.b")
    shortcut = Conv2d(channels, 1)(Pool("avg", 2, 2)(x, name=f"{name}.pool"), name=f"{name}.shortcut")
    return Add()(body, shortcut, name=f"{name}.sum")
