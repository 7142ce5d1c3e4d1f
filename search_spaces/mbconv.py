"""`mbconv`: ProxylessNAS's space of mobile inverted bottlenecks (Cai et al. 2019, section 4 and released code).

Every searchable layer chooses between {3, 5, 7} x {expansion 3, 6} with weights of their own, and Zero where
stride 1 and equal channels give the layer a shortcut, so depth is searched too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import SpaceError
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, Zero, divisible, residual
from nasforge.space import Architecture, Input, Node, SearchSpace, boundary, one_of

KERNELS: Final = (3, 5, 7)
EXPANSIONS: Final = (3, 6)
SMALL_BELOW: Final = 96


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part: channels of stem, first block, stages (channels, layers, stride) and feature mix."""

    stem: int
    stem_stride: int
    first: int
    stages: tuple[tuple[int, int, int], ...]
    mix: int


FULL: Final = Skeleton(32, 2, 16, ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1)), 1280)
SMALL: Final = Skeleton(16, 2, 16, ((16, 3, 1), (24, 3, 2), (40, 3, 2)), 160)
TINY: Final = Skeleton(8, 1, 8, ((8, 3, 1), (16, 3, 2), (24, 3, 2)), 96)
PRESETS: Final = {"full": FULL, "small": SMALL, "tiny": TINY}


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
    dropout: float = 0.0,
    zero_init: bool | None = None,
) -> SearchSpace:
    """Declare the space; behind stage n is the boundary `s<n>`.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels (rounded to multiples of 8; the feature mix only when above 1).
        preset: `full`, `small` or `tiny`; without it by the input's size.
        skeleton: channels of one's own instead of a preset.
        dropout: before the classifier.
        zero_init: start the last normalisation of blocks with a shortcut at 0, so that they start as the shortcut. The
            supernet then learns within hundreds of steps instead of thousands; without it, the small presets do so and
            `full` does not, as released.

    Raises:
        SpaceError: an unknown preset, or an input too small for the strides.
    """
    name = preset or preset_for(min(input_shape[1:]))
    if name not in PRESETS:
        raise SpaceError(f"mbconv was given preset '{name}'; expected one of {sorted(PRESETS)}.")
    base = skeleton or PRESETS[name]
    if zero_init is None:
        zero_init = name != "full"
    shrink = base.stem_stride * math.prod(stride for _, _, stride in base.stages)
    if min(input_shape[1:]) < shrink:
        raise SpaceError(
            f"mbconv preset '{name}' halves the image to 1/{shrink}, and was given {input_shape[1]}x{input_shape[2]} "
            "pixels; use a larger image or another preset."
        )
    scaled = (lambda c: divisible(c * width)) if width != 1.0 else (lambda c: c)
    channels = scaled(base.first)
    x = Conv(scaled(base.stem), 3, base.stem_stride, act="relu6", eps=1e-3)(Input(*input_shape), name="stem")
    x = MBConv(channels, 3, 1)(x, name="first")
    for number, (wide, layers, stride) in enumerate(base.stages, start=1):
        for layer in range(layers):
            x = _mixed(x, channels, scaled(wide), stride if layer == 0 else 1, f"s{number}b{layer + 1}", zero_init)
            channels = scaled(wide)
        x = boundary(f"s{number}", x)
    mix = divisible(base.mix * width) if width > 1.0 else base.mix
    x = Conv(mix, 1, act="relu6", eps=1e-3)(x, name="mix")
    logits = Linear(classes, dropout=dropout)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="mbconv")


def _mixed(x: Node, channels: int, out: int, stride: int, name: str, zero_init: bool) -> Node:
    """Return a searchable layer with its fixed shortcut (only where stride 1 keeps the channels)."""
    residual_block = stride == 1 and channels == out
    start = zero_init and residual_block
    candidates = [
        MBConv(out, kernel, expansion, stride, zero_init=start)(x, name=f"{name}.k{kernel}e{expansion}")
        for expansion in EXPANSIONS
        for kernel in KERNELS
    ]
    labels = [f"k{kernel}e{expansion}" for expansion in EXPANSIONS for kernel in KERNELS]
    if residual_block:
        candidates.append(Zero()(x, name=f"{name}.zero"))
        labels.append("zero")
    chosen = one_of(candidates, name=name, labels=labels)
    return residual(chosen, x, project="none", name=f"{name}.sum")


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
