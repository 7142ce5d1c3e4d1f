"""`pooling`: where a residual network halves its image (Javan et al. 2023, balanced mixture of supernets).

The stem and the residual blocks are units in a row; a few 2x2 max-poolings go before blocks, never before the stem.
Channels follow the depth and strides are 1, so that no architecture has more parameters than another: what differs is
where the resolution falls, and with it the MACs. No normalisation has scale and shift, as in the article, unless it is
asked for (`scale`): with them fewer short trainings are still on their first plateau. An architecture is called
by its units at each resolution, the stem counted: `4-3-3` is ResNet-20.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import Activation, Add, BatchNorm, Conv2d, GlobalPool, Linear, Pool, divisible
from nasforge.space import Body, Choice, Input, Node, Operator, SearchSpace, choice, select


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part.

    Attributes:
        stem: channels of the first convolution, and its stride from 32 pixels (below it has none).
        blocks: (channels, number) of the blocks in a row.
        pools: how many poolings are placed.
        bottleneck: whether a block is 1x1, 3x3, 1x1 (a quarter of the channels inside) and not two 3x3.
    """

    stem: tuple[int, int]
    blocks: tuple[tuple[int, int], ...]
    pools: int
    bottleneck: bool = False

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels of each block."""
        return tuple(channels for channels, number in self.blocks for _ in range(number))

    @property
    def default(self) -> str:
        """The usual ResNet: a pooling where the channels change."""
        lengths = [number for _, number in self.blocks]
        return "-".join(map(str, [1 + lengths[0], *lengths[1:]]))


PRESETS: Final = {
    "resnet20": Skeleton((16, 1), ((16, 3), (32, 3), (64, 3)), 2),
    "resnet18": Skeleton((64, 1), ((64, 2), (128, 2), (256, 2), (512, 2)), 3),
    "resnet50": Skeleton((64, 1), ((256, 3), (512, 4), (1024, 6), (2048, 3)), 3, bottleneck=True),
    "small": Skeleton((8, 2), ((8, 3), (16, 3), (32, 3)), 2),
}
DEFAULTS: Final = {name: skeleton.default for name, skeleton in PRESETS.items()}
"""The usual ResNet of each preset, by its label: `4-3-3`, `3-2-2-2`, `4-4-6-3` and `4-3-3`."""
SMALL_BELOW: Final = 32
SCALES: Final = ("none", "one", "zero")


@final
@dataclass(frozen=True)
class Unit(Operator):
    """A residual block to `out` channels; where these change, the shortcut is a 1x1 convolution, normalised.

    Attributes:
        out: output channels.
        bottleneck: see `Skeleton`.
        scale: see `pooling`.
    """

    out: int
    bottleneck: bool = False
    scale: str = "none"

    def expand(self, body: Body) -> int:
        """Expand to the convolutions, the shortcut and the sum."""
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        inner = max(1, self.out // 4) if self.bottleneck else self.out
        x = -1
        for number, kernel in enumerate(kernels, start=1):
            last = number == len(kernels)
            x = body.add(f"conv{number}", Conv2d(self.out if last else inner, kernel), x)
            x = body.add(f"bn{number}", _norm(self.scale, last=last), x)
            x = x if last else body.add(f"act{number}", Activation("relu"), x)
        shortcut = -1
        if body.type(-1).channels != self.out:
            shortcut = body.add("shortcut.conv", Conv2d(self.out, 1), -1)
            shortcut = body.add("shortcut.bn", _norm(self.scale), shortcut)
        return body.add("act", Activation("relu"), body.add("add", Add(), x, shortcut))

    def label(self) -> str:
        """Return `bottleneck` or `block`."""
        return "bottleneck" if self.bottleneck else "block"


def _norm(scale: str, *, last: bool = False) -> BatchNorm:
    return BatchNorm(affine=scale != "none", zero_init=last and scale == "zero")


def pooling(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    scale: Literal["none", "one", "zero"] = "none",
) -> SearchSpace:
    """Declare the space: stem, blocks with poolings among them, head.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels.
        preset: `resnet20` (36 architectures), `resnet18` (56), `resnet50` (560) or `small` (36, for minutes on a
            processor); without it `resnet20` from 32 pixels, else `small`.
        skeleton: one of one's own instead of a preset.
        scale: `none`: normalisations have neither scale nor shift (the article); `one` and `zero`: they have both, and
            the last scale of a block starts there.

    Raises:
        SpaceError: an unknown preset or scale, or an image that the down-samplings do not divide.
    """
    name = preset or ("resnet20" if min(input_shape[1:]) >= SMALL_BELOW else "small")
    if name not in PRESETS:
        raise SpaceError(unknown_name_sentence("preset of pooling", name, PRESETS))
    if scale not in SCALES:
        raise SpaceError(unknown_name_sentence("scale of pooling", scale, SCALES))
    base = skeleton or PRESETS[name]
    channels, stride = base.stem[0], base.stem[1] if min(input_shape[1:]) >= SMALL_BELOW else 1
    _check_size(input_shape[1:], stride * 2**base.pools, name)
    x: Node = Conv2d(divisible(channels * width, 4), 3, stride)(Input(*input_shape), name="stem.conv")
    x = Activation("relu")(_norm(scale)(x, name="stem.bn"), name="stem")
    pools = places(len(base.channels), base.pools)
    for number, out in enumerate(base.channels):
        pooled = Pool("max", 2, 2)(x, name=f"pool{number + 1}")
        taken = pools.map(lambda places, number=number: int(number in places))  # type: ignore[misc]  # lambda default
        x = select(taken, [x, pooled], f"place{number + 1}")
        x = Unit(divisible(out * width, 4), base.bottleneck, scale)(x, name=f"block{number + 1}")
    logits = Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="pooling")


def places(blocks: int, pools: int) -> Choice:
    """Declare before which of the blocks the poolings go; labels are the units at each resolution.

    >>> len(places(9, 2).options), places(9, 2).labels[:2]
    (36, ('1-1-8', '1-2-7'))
    """
    taken = tuple(itertools.combinations(range(blocks), pools))
    labels = ["-".join(map(str, _lengths(blocks, chosen))) for chosen in taken]
    return choice(*taken, name="places", labels=labels, kind="subset")


def _lengths(blocks: int, taken: Sequence[int]) -> list[int]:
    """Return the units at each resolution, the stem (unit 0) among the first."""
    cuts = [0, *(place + 1 for place in taken), blocks + 1]
    return [after - before for before, after in itertools.pairwise(cuts)]


def _check_size(size: Sequence[int], shrink: int, name: str) -> None:
    if any(side % shrink for side in size):
        raise SpaceError(
            f"pooling preset '{name}' divides height and width by {shrink}, and was given {size[0]} x {size[1]} "
            f"pixels; resize the images to a multiple of {shrink}."
        )
