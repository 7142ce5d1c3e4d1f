"""`mbconv`: ProxylessNAS's space of mobile inverted bottlenecks (Cai et al. 2019, section 4 and released code).

Every searchable layer chooses between {3, 5, 7} x {expansion 3, 6} with weights of their own, and Zero where
stride 1 and equal channels give the layer a shortcut, so depth is searched too. The presets of BossNAS (Li et al. 2021)
search {3, 5} x {6, 3} with squeeze-excite, without Zero, and give every layer a shortcut. A boundary behind each stage
makes it a block that can be trained by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import SpaceError
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, Zero, divisible, residual
from nasforge.ranges import Share
from nasforge.space import Architecture, Input, Node, SearchSpace, boundary, one_of

SMALL_BELOW: Final = 96
SHORTCUTS: Final = {"equal": "none", "all": "pool+conv"}
"""What projects the shortcut of a layer that changes the shape."""


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part, and what layers choose from.

    Attributes:
        stem: channels of the stem.
        stem_stride: of the stem.
        first: channels of the first block, which has no expansion.
        stages: (channels, layers, stride).
        mix: channels of the last convolution.
        kernels: options of every layer.
        expansions: options of every layer; each pair with a kernel is a candidate.
        act: activation.
        se: ratio of the squeeze-excite of every block, 0 for none.
        shortcut: `equal` (where stride 1 keeps the channels; Zero is a candidate there) or `all` (elsewhere an average
            pool and a 1x1 convolution that the candidates share; there is no Zero).
        last: channels of a fixed block behind the stages, 0 for none.
    """

    stem: int
    stem_stride: int
    first: int
    stages: tuple[tuple[int, int, int], ...]
    mix: int
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (3, 6)
    act: str = "relu6"
    se: float = 0.0
    shortcut: str = "equal"
    last: int = 0


FULL: Final = Skeleton(32, 2, 16, ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)), 1280)
SMALL: Final = Skeleton(16, 2, 16, ((16, 3, 1), (24, 3, 2), (40, 3, 2)), 160)
TINY: Final = Skeleton(8, 1, 8, ((8, 3, 1), (16, 3, 2), (24, 3, 2)), 96)
BOSSNAS: Final = Skeleton(
    *(32, 2, 16, ((24, 2, 2), (40, 4, 2), (80, 4, 2), (112, 4, 1), (192, 4, 2)), 1280),
    kernels=(3, 5),
    expansions=(6, 3),
    act="swish",
    se=0.25,
    shortcut="all",
    last=320,
)
"""Candidates in the order of the released codes, 0 to 3."""
BOSSNAS_SMALL: Final = Skeleton(
    *(16, 1, 16, ((16, 2, 2), (24, 2, 2), (32, 2, 2)), 96),
    kernels=(3, 5),
    expansions=(4, 2),
    act="swish",
    se=0.25,
    shortcut="all",
)
PRESETS: Final = {
    "full": FULL,
    "small": SMALL,
    "tiny": TINY,
    "bossnas": BOSSNAS,
    "bossnas_small": BOSSNAS_SMALL,
}


def preset_for(size: int) -> str:
    """Return the preset for an input of size x size pixels: `full` from 96, `small` from 24, else `tiny`."""
    if size >= SMALL_BELOW:
        return "full"
    return "small" if size >= 24 else "tiny"


def mbconv(
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    dropout: Share = 0.0,
    zero_init: bool | None = None,
) -> SearchSpace:
    """Declare the space. Boundaries are `block1` to the number of stages, one behind each.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels (rounded to multiples of 8; the feature mix only when above 1).
        preset: `full`, `small` or `tiny`, without it by the input's size; or `bossnas` or `bossnas_small`.
        skeleton: channels of one's own instead of a preset.
        dropout: before the classifier.
        zero_init: start the last normalisation of blocks with a shortcut at 0, so that they start as the shortcut. The
            supernet then learns within hundreds of steps instead of thousands; without it, the small presets do so and
            the large ones do not, as released.

    Raises:
        SpaceError: an unknown preset, or an input too small for the strides.
    """
    name = preset or preset_for(min(input_shape[1:]))
    if name not in PRESETS:
        raise SpaceError(f"mbconv was given preset '{name}'; expected one of {sorted(PRESETS)}.")
    base = skeleton or PRESETS[name]
    if zero_init is None:
        zero_init = name not in ("full", "bossnas")
    shrink = base.stem_stride * math.prod(stride for _, _, stride in base.stages)
    if min(input_shape[1:]) < shrink:
        raise SpaceError(
            f"mbconv preset '{name}' halves the image to 1/{shrink}, and was given {input_shape[1]}x{input_shape[2]} "
            "pixels; use a larger image or another preset."
        )
    scaled = (lambda c: divisible(c * width)) if width != 1.0 else (lambda c: c)
    channels = scaled(base.first)
    x = Conv(scaled(base.stem), 3, base.stem_stride, act=base.act, eps=1e-3)(Input(*input_shape), name="stem")
    x = MBConv(channels, 3, 1, act=base.act, se=base.se)(x, name="first")
    for number, (wide, layers, stride) in enumerate(base.stages, start=1):
        for layer in range(layers):
            block = Block(base, scaled(wide), stride if layer == 0 else 1, zero_init)
            x = block.mixed(x, channels, f"s{number}b{layer + 1}")
            channels = scaled(wide)
        x = boundary(f"block{number}", x)
    if base.last:
        x = MBConv(scaled(base.last), 3, 6, act=base.act, se=base.se)(x, name="last")
    mix = divisible(base.mix * width) if width > 1.0 else base.mix
    x = Conv(mix, 1, act=base.act, eps=1e-3)(x, name="mix")
    logits = Linear(classes, dropout=dropout)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="mbconv")


@final
@dataclass(frozen=True, slots=True)
class Block:
    """The candidates of a searchable layer of `out` channels."""

    skeleton: Skeleton
    out: int
    stride: int
    zero_init: bool

    def mixed(self, x: Node, channels: int, name: str) -> Node:
        """Return the searchable layer with its fixed shortcut; `channels` arrive."""
        base, equal = self.skeleton, self.stride == 1 and channels == self.out
        start = self.zero_init and (equal or base.shortcut == "all")
        candidates, labels = [], []
        for expansion, kernel in itertools.product(base.expansions, base.kernels):
            labels.append(f"k{kernel}e{expansion}")
            op = MBConv(self.out, kernel, expansion, self.stride, act=base.act, se=base.se, zero_init=start)
            candidates.append(op(x, name=f"{name}.{labels[-1]}"))
        if equal and base.shortcut == "equal":
            candidates.append(Zero()(x, name=f"{name}.zero"))
            labels.append("zero")
        chosen = one_of(candidates, name=name, labels=labels)
        return residual(chosen, x, project=SHORTCUTS[base.shortcut], name=f"{name}.sum")


def _released(skeleton: Skeleton, layers: Sequence[str]) -> Callable[[], tuple[SearchSpace, Architecture]]:
    """Return a maker of a released network: kernel/expansion per layer, stages separated by `-`."""

    def make() -> tuple[SearchSpace, Architecture]:
        space = mbconv(skeleton=skeleton)
        options = {}
        for number, (row, (_, count, _)) in enumerate(zip(layers, skeleton.stages, strict=True), start=1):
            given = ["k{}e{}".format(*entry.split("/")) for entry in row.split()]
            for layer, label in enumerate(given + ["zero"] * (count - len(given)), start=1):
                options[f"s{number}b{layer}"] = label
        return space, space.architecture(options)

    return make


def _stages(widths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    return tuple((wide, n, s) for wide, (_, n, s) in zip(widths, FULL.stages, strict=True))


ARCHITECTURES: Final[dict[str, Callable[[], tuple[SearchSpace, Architecture]]]] = {
    "proxyless-mobile": _released(
        Skeleton(32, 2, 16, _stages((32, 40, 80, 96, 192, 320)), 1280),
        ("5/3 3/3", "7/3 3/3 5/3 5/3", "7/6 5/3 5/3 5/3", "5/6 5/3 5/3 5/3", "7/6 7/6 7/3 7/3", "7/6"),
    ),
    "proxyless-cpu": _released(
        Skeleton(40, 2, 24, _stages((32, 48, 88, 104, 216, 360)), 1432),
        ("3/6 3/3 3/3 3/3", "3/6 3/3 3/3 5/3", "3/6 3/3", "5/6 3/3 3/3 3/3", "5/6 5/3 5/3 3/3", "5/6"),
    ),
    "proxyless-gpu": _released(
        Skeleton(40, 2, 24, _stages((32, 56, 112, 128, 256, 432)), 1728),
        ("5/3", "7/3 3/3", "7/6 5/3", "5/6 3/3 5/3", "7/6 7/6 7/6 5/6", "7/6"),
    ),
}
"""The released ProxylessNAS networks, as architectures of the full space at 224 pixels."""
