"""`nasbench_macro`: NAS-Bench-Macro (Su et al. 2021): eight layers of three options each, 6,561 networks.

Every layer is the identity, or a mobile inverted bottleneck of kernel 3 and expansion 3, or of kernel 5 and
expansion 6. The first layer of each of three stages halves the image and doubles the channels: there the identity is
a strided 1x1 convolution, and nothing has a shortcut. As a table see `nasforge.evaluate.published.nasbench_macro`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import Conv, GlobalPool, Identity, Linear, MBConv, divisible, residual
from nasforge.space import Input, Node, SearchSpace, one_of

OPTIONS: Final = ("identity", "mb3_k3", "mb6_k5")
"""The benchmark's 0, 1 and 2."""
STAGES: Final = (2, 3, 3)
EPS: Final = 1e-5


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part: channels of the stem, strides of the three stages, and the feature mix."""

    stem: int
    strides: tuple[int, int, int]
    mix: int


FULL: Final = Skeleton(32, (2, 2, 2), 1280)
SMALL: Final = Skeleton(8, (2, 2, 2), 160)
TINY: Final = Skeleton(8, (1, 2, 2), 96)
PRESETS: Final = {"full": FULL, "small": SMALL, "tiny": TINY}


def preset_for(size: int) -> str:
    """Return the preset for an input of size x size pixels: `full` from 32, `small` from 16, else `tiny`."""
    if size >= 32:
        return "full"
    return "small" if size >= 16 else "tiny"


def nasbench_macro(
    input_shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, width: float = 1.0, preset: str | None = None
) -> SearchSpace:
    """Declare the space: stem, stages of two, three and three layers, feature mix, head.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels.
        preset: `full` (the benchmark's), `small` or `tiny` (no halving in the first stage); by the input without it.

    Raises:
        SpaceError: an unknown preset, or an input too small for the strides.
    """
    size = min(input_shape[1:])
    name = preset or preset_for(size)
    if name not in PRESETS:
        raise SpaceError(unknown_name_sentence("preset of nasbench_macro", name, PRESETS))
    skeleton = PRESETS[name]
    shrink = skeleton.strides[0] * skeleton.strides[1] * skeleton.strides[2]
    if size < shrink:
        raise SpaceError(
            f"nasbench_macro preset '{name}' halves the image to 1/{shrink}, and was given {size} pixels; use a larger "
            "image or another preset."
        )
    channels = divisible(skeleton.stem * width, 4)
    x = Conv(channels, 3)(Input(*input_shape), name="stem")
    number = 0
    for layers, stride in zip(STAGES, skeleton.strides, strict=True):
        channels *= 2
        for place in range(layers):
            number += 1
            x = _layer(x, channels, stride if place == 0 else 1, place == 0, f"layer{number}")
    x = GlobalPool()(Conv(divisible(skeleton.mix * width), 1)(x, name="mix"), name="pool")
    return SearchSpace({"logits": Linear(classes)(x, name="classifier")}, name="nasbench_macro")


def _layer(x: Node, channels: int, stride: int, first: bool, name: str) -> Node:
    plain = Conv(channels, 1, stride, act="none") if first else Identity()
    candidates = [plain(x, name=f"{name}.identity")]
    for label, kernel, expansion in zip(OPTIONS[1:], (3, 5), (3, 6), strict=True):
        body = MBConv(channels, kernel, expansion, stride, act="relu", eps=EPS)(x, name=f"{name}.{label}")
        candidates.append(body if first else residual(body, x, name=f"{name}.{label}.sum"))
    return one_of(candidates, name=name, labels=OPTIONS)
