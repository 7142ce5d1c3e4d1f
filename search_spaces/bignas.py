"""`bignas`: the space of BigNAS (Yu et al. 2020) - width, kernel and depth of each stage, and the resolution.

One set of weights, sliced: first channels, centre crop of kernels, first layers of a stage. Unlike in `mbconv_elastic`
kernels are chosen by stage and the expansion is fixed; with `attentive` the space of the related AttentiveNAS (Wang et
al. 2021), which also chooses expansions and puts a shortcut around every block.

Gamma = 0 at the end of each residual block, so that the deepest network starts as the shallowest. Images come in one
size and are resized inside the network (bicubic), as one batch feeds children of all resolutions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import (
    Activation,
    Add,
    Conv,
    Conv2d,
    DropPath,
    GlobalPool,
    Linear,
    MBConv,
    Pool,
    Resize,
    divisible,
    residual,
)
from nasforge.ranges import Count, Share
from nasforge.space import Choice, Input, Mapped, Node, SearchSpace, choice, combine, repeat, select


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """Options of a stage; each is one decision for all of its layers.

    Attributes:
        widths: output channels.
        depths: numbers of layers.
        kernels: sizes of the depthwise convolutions.
        expansions: hidden channels over input channels.
        stride: of the first layer.
        se: bottleneck of squeeze-excite as a share of the hidden channels, 0 for none.
        drops: whether training may drop its residual paths.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    kernels: tuple[int, ...]
    expansions: tuple[int, ...]
    stride: int
    se: float = 0.25
    drops: bool = False


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The whole table; resolutions are in pixels for images of `size`, and scale with the images.

    Attributes:
        projects: whether shortcuts that change the shape pool and project (1x1, no normalisation) or are left out.
        mix: channels of the last convolution, before the global pool; or, with `mix_expansion`, of one behind it.
        mix_expansion: the last convolution before the pool multiplies channels by so much.
    """

    size: int
    resolutions: tuple[int, ...]
    stem: tuple[int, ...]
    stages: tuple[Stage, ...]
    mix: tuple[int, ...]
    mix_expansion: int = 0
    projects: bool = False
    dropout: float = 0.0
    divisor: int = 8


SIXTH: Final = 0.25 / 6
"""A quarter of a layer's input channels, as in EfficientNet, where the hidden ones are six times as many."""
PAPER: Final = Skeleton(
    224,
    (192, 224, 288, 320),
    (32, 40),
    (
        Stage((16, 24), (1, 2), (3,), (1,), 1),
        Stage((24, 32), (2, 3), (3,), (6,), 2, SIXTH),
        Stage((40, 48), (2, 3), (3, 5), (6,), 2, SIXTH),
        Stage((80, 88), (2, 3, 4), (3, 5), (6,), 2, SIXTH),
        Stage((112, 120, 128), (2, 3, 4, 5, 6), (3, 5), (6,), 1, SIXTH),
        Stage((192, 200, 208, 216), (2, 3, 4, 5, 6), (3, 5), (6,), 2, SIXTH, True),
        Stage((320, 328, 336, 344, 352), (1, 2), (3, 5), (6,), 1, SIXTH, True),
    ),
    (1280, 1408),
    dropout=0.2,
)
ATTENTIVE: Final = Skeleton(
    224,
    (192, 224, 256, 288),
    (16, 24),
    (
        Stage((16, 24), (1, 2), (3, 5), (1,), 1, se=0.0),
        Stage((24, 32), (3, 4, 5), (3, 5), (4, 5, 6), 2, se=0.0),
        Stage((32, 40), (3, 4, 5, 6), (3, 5), (4, 5, 6), 2),
        Stage((64, 72), (3, 4, 5, 6), (3, 5), (4, 5, 6), 2, se=0.0),
        Stage((112, 120, 128), (3, 4, 5, 6, 7, 8), (3, 5), (4, 5, 6), 1),
        Stage((192, 200, 208, 216), (3, 4, 5, 6, 7, 8), (3, 5), (6,), 2, drops=True),
        Stage((216, 224), (1, 2), (3, 5), (6,), 1, drops=True),
    ),
    (1792, 1984),
    mix_expansion=6,
    projects=True,
    dropout=0.2,
)
SMALL: Final = Skeleton(
    32,
    (24, 28, 32),
    (8, 12, 16),
    (
        Stage((8, 12, 16), (1, 2), (3, 5), (4,), 1, 0.0625),
        Stage((12, 16, 24), (1, 2), (3, 5), (4,), 2, 0.0625, True),
        Stage((20, 28, 40), (1, 2), (3, 5), (4,), 2, 0.0625, True),
    ),
    (64, 96),
    divisor=4,
)
PRESETS: Final = {"paper": PAPER, "attentive": ATTENTIVE, "small": SMALL}


def bignas(
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    width: float = 1.0,
    preset: str | None = None,
    resolutions: tuple[Count, ...] | None = None,
    dropout: Share | None = None,
    zero_init: bool = True,
    skeleton: Skeleton | None = None,
) -> SearchSpace:
    """Declare the space.

    Args:
        input_shape: (channels, height, width); 224 pixels for the published numbers.
        classes: number of logits.
        width: multiplies all channels.
        preset: `paper`, `attentive`, or `small` (32 pixels); without it by the input's size (`paper` from 96 pixels).
        resolutions: other ones than the preset's, in pixels at the size that it is made for (224, small: 32): the paper
            trains at 192, 224, 288 and 320, and searches 256 too.
        dropout: before the classifier; without it the preset's.
        zero_init: whether the last gamma of a residual block starts at 0; False is for comparisons.
        skeleton: a table of one's own instead of a preset.

    Raises:
        SpaceError: an unknown preset, no resolution, or one too small for the strides.
    """
    size = min(input_shape[1:])
    name = preset or ("paper" if size >= 96 else "small")
    if name not in PRESETS:
        raise SpaceError(unknown_name_sentence("preset of bignas", name, tuple(PRESETS)))
    base = skeleton or PRESETS[name]
    base = replace(
        base,
        resolutions=tuple(base.resolutions if resolutions is None else resolutions),
        dropout=base.dropout if dropout is None else dropout,
    )
    sizes = _sizes(base, size)
    stages = [_channels(f"s{n}.width", each.widths, width, base) for n, each in enumerate(base.stages, start=1)]
    outs = (_channels("stem.width", base.stem, width, base), *stages)
    made = _Maker(base, zero_init, sizes, outs)
    resolution = choice(*base.resolutions, name="resolution")
    x: Node = Resize(resolution.map(lambda pixels: sizes[pixels]), "bicubic")(Input(*input_shape), name="resize")
    x = Conv(outs[0], 3, _stem_stride(size), act="swish")(x, name="stem")
    shrunk = _stem_stride(size)
    for number in range(1, len(base.stages) + 1):
        x = made.stage(x, number, shrunk)
        shrunk *= base.stages[number - 1].stride
    logits = Linear(classes, dropout=base.dropout)(
        made.head(x, _channels("mix.width", base.mix, width, base)), name="classifier"
    )
    return SearchSpace({"logits": logits}, name="bignas")


def _stem_stride(size: int) -> int:
    return 2 if size >= 24 else 1


def _sizes(base: Skeleton, size: int) -> dict[int, int]:
    """Return the side that images have inside the network by resolution.

    Raises:
        SpaceError: there is none, or one is too small for the strides.
    """
    if not base.resolutions:
        raise SpaceError(
            f"bignas was given an empty list of resolutions; name at least one, such as [{base.size}], which leaves "
            "images as they are, or leave the option away for those of the preset."
        )
    shrink = _stem_stride(size) * math.prod(stage.stride for stage in base.stages)
    sizes = {pixels: round(size * pixels / base.size) for pixels in base.resolutions}
    if min(sizes.values()) < shrink:
        raise SpaceError(
            f"bignas halves images to 1/{shrink} and was given resolutions {list(base.resolutions)}, which for images "
            f"of {size} pixels are {list(sizes.values())} pixels; give larger images or larger `resolutions`."
        )
    return sizes


def _decided(name: str, options: tuple[int, ...]) -> int | Choice:
    """Return a choice, or the option itself where there is one."""
    return options[0] if len(options) == 1 else choice(*options, name=name)


def _channels(name: str, options: tuple[int, ...], width: float, base: Skeleton) -> Mapped:
    """Return channels that are chosen, times `width`."""
    return choice(*options, name=name).map(lambda option: divisible(option * width, base.divisor))


@final
@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the nodes of a table; `outs` are the channels of the stem and of the stages."""

    base: Skeleton
    zero_init: bool
    sizes: Mapping[int, int]
    outs: tuple[Mapped, ...]

    def stage(self, x: Node, number: int, shrunk: int) -> Node:
        """Return stage `number`, counted from 1, for what was shrunk to 1/`shrunk` before it."""
        stage, name = self.base.stages[number - 1], f"s{number}"
        counts = [max(each.depths) for each in self.base.stages]
        kernel = _decided(f"{name}.kernel", stage.kernels)
        expansion = _decided(f"{name}.expansion", stage.expansions)
        block = MBConv(self.outs[number], kernel, expansion, 1, "swish", stage.se, self.base.divisor, eps=1e-5)

        def layer(source: Node, place: int) -> Node:
            label, is_residual = f"{name}b{place + 1}", place > 0 or self.base.projects
            stride = 1 if place else stage.stride
            body = block.at(stride=stride, zero_init=self.zero_init and is_residual)(source, name=label)
            if not is_residual:
                return body
            if stage.drops:
                depth = (sum(counts[: number - 1]) + place + 1) / sum(counts)
                body = DropPath(depth)(body, name=f"{label}.path")
            if place:
                return residual(body, source, name=f"{label}.sum")
            return Add()(body, self._projection(source, number, shrunk, label), name=f"{label}.sum")

        return repeat(layer, x, depth=choice(*stage.depths, name=f"{name}.depth", kind="depth"), name=f"{name}.end")

    def _projection(self, x: Node, number: int, shrunk: int, label: str) -> Node:
        """Return a shortcut that changes the shape: an average over each window of the stride, then 1x1.

        Where the widths before and after can be equal, the 1x1 is only there where they are not.
        """
        stride, before, out = self.base.stages[number - 1].stride, self.outs[number - 1], self.outs[number]
        if stride > 1:
            divides = all(size % (shrunk * stride) == 0 for size in self.sizes.values())
            x = Pool("avg", stride if divides else stride + 1, stride)(x, name=f"{label}.shortcut_pool")
        projected = Conv2d(out, 1)(x, name=f"{label}.shortcut")
        differs = combine(lambda a, b: int(a != b), before, out)
        if differs.table.distinct == (1,):
            return projected
        return select(differs, (x, projected), name=f"{label}.shortcut_kind")

    def head(self, x: Node, mix: Mapped) -> Node:
        """Return what the classifier reads, (channels,): the widest convolution before the pool, or behind it."""
        if not self.base.mix_expansion:
            return GlobalPool()(Conv(mix, 1, act="swish")(x, name="mix"), name="pool")
        wide = self.outs[-1].map(lambda channels: channels * self.base.mix_expansion)
        x = Conv(wide, 1, act="swish")(x, name="expand")
        x = Conv2d(mix, 1)(GlobalPool(keep=True)(x, name="pool"), name="mix")
        return GlobalPool()(Activation("swish")(x, name="mix_act"), name="flat")
