"""`int8_friendly`: plain residual blocks, bottlenecks and MBConv whose every width an INT8 kernel likes.

Channels are multiples of 16 and expanded ones of 32, for a depthwise convolution off a multiple of 16 takes two to
four times as long in INT8; the only activation is ReLU, which vanishes into the convolution before it (hswish stays
float). Width and depth are elastic, down to a ResNet-8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import SpaceError
from nasforge.ops import Activation, BasicBlock, Bottleneck, Conv, GlobalPool, Linear, MBConv, divisible, residual
from nasforge.ranges import Share
from nasforge.space import Architecture, Input, Mapped, Node, SearchSpace, choice, one_of, operator_choice, repeat

CHANNELS: Final = 16
EXPANDED: Final = 32
KERNELS: Final = (3, 5)
EXPANSIONS: Final = (2, 4, 6)
RATIO: Final = 0.5
BLOCKS: Final = ("basic", "bottleneck", "mbconv")


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """Largest channels, the shares of them that may be chosen, stride, and the depths."""

    channels: int
    widths: tuple[float, ...]
    stride: int
    depths: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """Stride of the stem, which is as wide as the first stage, and the stages."""

    stem_stride: int
    stages: tuple[Stage, ...]


_THREE: Final = (0.5, 0.75, 1.0)
FULL: Final = Skeleton(
    2,
    (
        Stage(64, _THREE, 2, (1, 2)),
        Stage(128, _THREE, 2, (1, 2, 3)),
        Stage(256, _THREE, 2, (1, 2, 3)),
        Stage(512, _THREE, 2, (1, 2)),
    ),
)
SMALL: Final = Skeleton(
    1,
    (Stage(32, (0.5, 1.0), 1, (1, 2, 3)), Stage(64, _THREE, 2, (1, 2, 3)), Stage(128, _THREE, 2, (1, 2, 3))),
)
TINY: Final = Skeleton(
    1, (Stage(16, (1.0,), 1, (1, 2)), Stage(32, (0.5, 1.0), 2, (1, 2)), Stage(64, (0.5, 1.0), 2, (1, 2)))
)
PRESETS: Final = {"full": FULL, "small": SMALL, "tiny": TINY}


def preset_for(size: int) -> str:
    """Return the preset for an input of size x size pixels: `full` from 96, `small` from 24, else `tiny`."""
    if size >= 96:
        return "full"
    return "small" if size >= 24 else "tiny"


def int8_friendly(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    dropout: Share = 0.0,
) -> SearchSpace:
    """Declare the space.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels (rounded to multiples of 16).
        preset: `full`, `small` or `tiny`; without it by the input's size.
        skeleton: stages of one's own instead of a preset.
        dropout: before the classifier.

    Raises:
        SpaceError: an unknown preset, or an input too small for the strides.
    """
    size = min(input_shape[1:])
    name = preset or preset_for(size)
    if name not in PRESETS:
        raise SpaceError(f"int8_friendly was given preset '{name}'; expected one of {sorted(PRESETS)}.")
    base = skeleton or PRESETS[name]
    shrink = base.stem_stride * math.prod(stage.stride for stage in base.stages)
    if size < shrink:
        raise SpaceError(
            f"int8_friendly preset '{name}' halves the image to 1/{shrink}, and was given "
            f"{input_shape[1]}x{input_shape[2]} pixels; use a larger image or another preset."
        )
    widths = [_width(f"s{number}.width", stage, width) for number, stage in enumerate(base.stages, start=1)]
    x = Conv(widths[0], 3, base.stem_stride)(Input(*input_shape), name="stem")
    for number, (stage, out) in enumerate(zip(base.stages, widths, strict=True), start=1):
        x = _stage(x, f"s{number}", out, stage)
    logits = Linear(classes, dropout=dropout)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="int8_friendly")


def _width(name: str, stage: Stage, factor: float) -> Mapped:
    return choice(*stage.widths, name=name).map(lambda ratio: divisible(stage.channels * factor * ratio, CHANNELS))


def _stage(x: Node, name: str, out: Mapped, stage: Stage) -> Node:
    """Return a stage: one width for all its places, a block for each; a 1x1 shortcut where the shape changes."""

    def place(source: Node, number: int) -> Node:
        label = f"{name}b{number + 1}"
        body = _block(source, label, out, stage.stride if number == 0 else 1, zero_init=number > 0)
        total = residual(body, source, project="conv" if number == 0 else "error", name=f"{label}.sum")
        return Activation("relu")(total, name=f"{label}.act")

    depth = choice(*stage.depths, name=f"{name}.depth", kind="depth")
    return repeat(place, x, depth=depth, name=f"{name}.end")


def _block(source: Node, label: str, out: Mapped, stride: int, *, zero_init: bool) -> Node:
    """Return the choice of block at a place.

    Args:
        source: what the block reads.
        label: of the place.
        out: output channels.
        stride: of the block.
        zero_init: start the last gamma at 0, so that the block starts as its shortcut. For blocks with an identity
            for one: behind a 1x1 shortcut that starts at random, a network of such blocks hardly learns.
    """
    kind = operator_choice(BLOCKS, name=f"{label}.block")
    elastic: dict[str, Any] = {
        "kernel": choice(*KERNELS, name=f"{label}.kernel"),
        "expansion": choice(*EXPANSIONS, name=f"{label}.expansion"),
    }
    plain: dict[str, Any] = {"stride": stride, "zero_init": zero_init}
    blocks = (
        BasicBlock(out, **plain),
        Bottleneck(out, ratio=RATIO, divisor=CHANNELS, **plain),
        MBConv(out, act="relu", divisor=EXPANDED, eps=1e-5, **elastic, **plain),
    )
    candidates = [block(source, name=f"{label}.{own}") for own, block in zip(BLOCKS, blocks, strict=True)]
    return one_of(candidates, by=kind)


def _resnet8() -> tuple[SearchSpace, Architecture]:
    """Return the ResNet-8 of width 16: a stem of 16 channels, one residual block each of 16, 32 and 64."""
    space = int8_friendly(preset="small")
    options = {f"s{stage}.width": "0.5" for stage in (1, 2, 3)}
    options |= {f"s{stage}.depth": "1" for stage in (1, 2, 3)} | {f"s{stage}b1.block": "basic" for stage in (1, 2, 3)}
    return space, space.architecture(options)


ARCHITECTURES: Final[dict[str, Callable[[], tuple[SearchSpace, Architecture]]]] = {"resnet8": _resnet8}
"""The hand-made network that every search of this space is compared with, at 32 pixels and ten classes."""
