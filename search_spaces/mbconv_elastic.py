"""`mbconv_elastic`: mobile inverted bottlenecks of elastic width, kernel, expansion, depth and resolution.

One set of weights, sliced: first channels, centre crop of kernels, first layers of a stage (BigNAS, Yu et al. 2020).
Width, like resolution, is chosen relative to the largest, so an architecture found small can be built large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import SpaceError
from nasforge.ops import Conv, GlobalPool, Linear, MBConv, Resize, divisible, residual
from nasforge.ranges import Share
from nasforge.space import Choice, Input, Mapped, Node, SearchSpace, choice, repeat


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """Largest channels and the options: stages are (largest channels, stride, depths)."""

    stem: int
    stem_stride: int
    stages: tuple[tuple[int, int, tuple[int, ...]], ...]
    mix: int
    widths: tuple[float, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    resolutions: tuple[float, ...]
    divisor: int


FULL: Final = Skeleton(
    32,
    2,
    (
        (24, 1, (1, 2)),
        (32, 2, (2, 3)),
        (48, 2, (2, 3)),
        (88, 2, (2, 3, 4)),
        (128, 1, (2, 3, 4, 5, 6)),
        (216, 2, (2, 3, 4, 5, 6)),
        (352, 1, (1, 2)),
    ),
    1280,
    (0.75, 0.875, 1.0),
    (3, 5, 7),
    (3, 4, 6),
    (0.75, 0.875, 1.0),
    8,
)
SMALL: Final = Skeleton(
    16,
    2,
    ((16, 1, (1, 2)), (24, 2, (1, 2, 3)), (40, 2, (1, 2, 3))),
    96,
    (0.5, 0.75, 1.0),
    (3, 5),
    (2, 3, 4),
    (0.75, 0.875, 1.0),
    4,
)
PRESETS: Final = {"full": FULL, "small": SMALL, "tiny": SMALL}


def mbconv_elastic(
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    dropout: Share = 0.0,
) -> SearchSpace:
    """Declare the space.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all largest channels.
        preset: `full` or `small`; without it by the input's size (`full` from 96 pixels).
        skeleton: options of one's own instead of a preset.
        dropout: before the classifier.

    Raises:
        SpaceError: an unknown preset, or an input too small for the strides.
    """
    size = min(input_shape[1:])
    name = preset or ("full" if size >= 96 else "small")
    if name not in PRESETS:
        raise SpaceError(f"mbconv_elastic was given preset '{name}'; expected one of {sorted(PRESETS)}.")
    base = skeleton or PRESETS[name]
    stem_stride = base.stem_stride if size >= 24 else 1
    shrink = stem_stride * math.prod(stride for _, stride, _ in base.stages)
    if size * min(base.resolutions) < shrink:
        raise SpaceError(
            f"mbconv_elastic preset '{name}' halves the image to 1/{shrink}, and was given {size} pixels; "
            "use a larger image."
        )
    resolution = choice(*base.resolutions, name="resolution")
    x: Node = Resize(resolution.map(lambda ratio: max(round(size * ratio), 1)))(Input(*input_shape), name="resize")
    stem = _width("stem.width", base.stem * width, base)
    x = Conv(stem, 3, stem_stride, act="relu6")(x, name="stem")
    for number, (wide, stride, depths) in enumerate(base.stages, start=1):
        x = _stage(x, f"s{number}", _width(f"s{number}.width", wide * width, base), stride, depths, base)
    x = Conv(max(base.mix, divisible(base.mix * width, base.divisor)), 1, act="relu6")(x, name="mix")
    logits = Linear(classes, dropout=dropout)(GlobalPool()(x, name="pool"), name="classifier")
    return SearchSpace({"logits": logits}, name="mbconv_elastic")


def _width(name: str, largest: float, base: Skeleton) -> Mapped:
    return choice(*base.widths, name=name).map(lambda ratio: divisible(largest * ratio, base.divisor))


def _stage(x: Node, name: str, width: Mapped, stride: int, depths: tuple[int, ...], base: Skeleton) -> Node:
    """Return a stage: one width for all its layers, kernel and expansion for each; all but the first are residual."""

    def layer(source: Node, place: int) -> Node:
        label = f"{name}b{place + 1}"
        options: dict[str, Any] = {
            "kernel": choice(*base.kernels, name=f"{label}.kernel"),
            "expansion": choice(*base.expansions, name=f"{label}.expansion"),
        }
        first = place == 0
        block = MBConv(
            width, stride=stride if first else 1, divisor=base.divisor, eps=1e-5, zero_init=not first, **options
        )
        body = block(source, name=label)
        return body if first else residual(body, source, name=f"{label}.sum")

    depth: Choice = choice(*depths, name=f"{name}.depth", kind="depth")
    return repeat(layer, x, depth=depth, name=f"{name}.end")
