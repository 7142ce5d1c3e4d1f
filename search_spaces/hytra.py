"""`hytra`: the fabric that BossNAS searches (Li et al. 2021): convolution or attention, and where the map is halved.

Every layer decides on a scale and an operation. Scales only get coarser, by one between neighbours, so where the
halvings fall and how many layers there are at each scale is searched. Attention exists at the two coarsest scales,
where positions are few. The two operations differ in nothing but a 3x3 convolution against attention: both have a
position encoding, which halves the map as well. Layers come in blocks with boundaries between them, so that blocks can
be trained one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import Conv, GlobalPool, HybridBlock, Linear, Pool, ScaleEntry
from nasforge.ops.hybrid import BOTTLENECK, SHORTCUTS
from nasforge.ranges import Share
from nasforge.space import (
    Architecture,
    Choice,
    Input,
    Node,
    SearchSpace,
    boundary,
    linked,
    one_of,
)

ATTENTION_SCALES: Final = 2
"""How many scales, from the coarsest, offer attention."""
START: Final = ("any", "stem")
"""At which scale the first layer may be: any, or that of the stem and one coarser as BossNAS trains its first block."""
HALVINGS: Final = ("one", "jumps")
"""Between neighbours at most one halving, or any number."""
SMALL_FROM: Final = 32
FULL_FROM: Final = 96

Option = tuple[int, str]
"""A scale, 0 the coarsest, and an operation, `att` or `conv`."""


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part.

    Attributes:
        stem: channels of the stem.
        stem_stride: 4 (a 7x7 convolution and a pool, stride 2 each), or the stride of a 3x3 convolution.
        channels: of each scale, finest first.
        dim: of an attention head.
        layers: of each block.
    """

    stem: int
    stem_stride: int
    channels: tuple[int, ...]
    dim: int
    layers: tuple[int, ...]


FULL: Final = Skeleton(64, 4, (256, 512, 1024, 2048), 64, (4, 4, 4, 4))
SMALL: Final = Skeleton(16, 2, (32, 64, 128), 8, (2, 2, 2))
TINY: Final = Skeleton(8, 1, (16, 32, 64), 8, (2, 2, 2))
PRESETS: Final = {"full": FULL, "small": SMALL, "tiny": TINY}


@final
@dataclass(frozen=True, slots=True)
class Fabric:
    """The candidates: what a layer is at each option."""

    skeleton: Skeleton
    sizes: tuple[tuple[int, int], ...]
    act: str
    se: float
    shortcut: str

    def layer(self, x: Node, by: Choice, name: str, first: bool) -> Node:
        """Return a searchable layer; the first one enters every scale from the stem."""
        candidates = []
        for (scale, kind), label in zip(by.options, by.labels, strict=True):
            out, size = self.skeleton.channels[-1 - scale], self.sizes[-1 - scale]
            block = HybridBlock(out, size, kind, self.skeleton.dim, self.act, self.se, self.shortcut)
            source = ScaleEntry(out // BOTTLENECK, size)(x, name=f"{name}.{label}.entry") if first else x
            candidates.append(block(source, name=f"{name}.{label}"))
        return one_of(candidates, by=by)


def options(scales: int) -> tuple[Option, ...]:
    """Return what a layer may be where the `scales` coarsest are allowed, in the order of the released codes.

    >>> options(3)
    ((0, 'att'), (0, 'conv'), (1, 'att'), (1, 'conv'), (2, 'conv'))
    """
    return tuple((d, kind) for d in range(scales) for kind in ("att", "conv") if kind == "conv" or d < ATTENTION_SCALES)


def paths(scales: int, layers: int = 4, start: int | None = None) -> list[tuple[Option, ...]]:
    """Return the paths through a block of which the `scales` coarsest are allowed, as BossNAS lists them.

    Args:
        scales: how many scales.
        layers: of the block.
        start: the scale at which the block before ends; the finest that is allowed here without it. The first layer
            is at it or one coarser.
    """
    before = scales - 1 if start is None else start
    found: list[tuple[Option, ...]] = [()]
    for _ in range(layers):
        found = [
            (*path, option)
            for path in found
            for option in options(scales)
            if _one_halving(path[-1] if path else (before, "conv"), option)
        ]
    return found


def _one_halving(before: Option, after: Option) -> bool:
    return 0 <= before[0] - after[0] <= 1


def _any_halving(before: Option, after: Option) -> bool:
    return before[0] >= after[0]


def hytra(
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    start: str = "any",
    halvings: str = "one",
    scales: Sequence[int] | None = None,
    act: str = "relu",
    se: Share = 0.0,
    shortcut: str = "conv",
    last_stride: int = 2,
) -> SearchSpace:
    """Declare the space: stem, blocks of searchable layers with a boundary behind each, classifier.

    Boundaries are `stem` and `block1` to the number of blocks.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies all channels and the attention heads.
        preset: `full` (16 layers), `small` or `tiny` (6); without it by the input's size.
        skeleton: channels and layers of one's own instead of a preset.
        start: see `START`.
        halvings: see `HALVINGS`.
        scales: how many scales, from the coarsest, each block is given, as BossNAS's supernet is built; all without.
        act: activation; `swish` in the retrained networks.
        se: ratio of the squeeze-excite in convolutional layers; 0 in the search.
        shortcut: see `nasforge.ops.hybrid`; `pool` in the retrained networks.
        last_stride: of the coarsest scale; with 1 it only doubles the channels.

    Raises:
        SpaceError: an unknown option, scales that do not fit, or an image that cannot be halved so often.
    """
    size = min(input_shape[1:])
    name = preset or ("full" if size >= FULL_FROM else "small" if size >= SMALL_FROM else "tiny")
    known = {
        "preset of hytra": (name, PRESETS),
        "start of hytra": (start, START),
        "halvings of hytra": (halvings, HALVINGS),
        "shortcut of hytra": (shortcut, SHORTCUTS),
    }
    for what, (given, names) in known.items():
        if given not in names:
            raise SpaceError(unknown_name_sentence(what, given, names))
    base = _widened(skeleton or PRESETS[name], width)
    sizes = _sizes(base, input_shape, last_stride)
    reach = _reach(base, scales)
    by = _decisions(base, reach, start, halvings)
    fabric = Fabric(base, sizes, act, se, shortcut)
    x = boundary("stem", _stem(Input(*input_shape), base, act))
    for block, decisions in enumerate(by, start=1):
        for number, decision in enumerate(decisions, start=1):
            x = fabric.layer(x, decision, f"b{block}l{number}", first=block == number == 1)
        x = boundary(f"block{block}", x)
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")}, name="hytra")


def _widened(base: Skeleton, width: float) -> Skeleton:
    """Scale the channels; those of attention stay whole heads in the bottleneck."""
    unit = BOTTLENECK * base.dim

    def wide(channels: int) -> int:
        least = unit if channels in base.channels[-ATTENTION_SCALES:] else BOTTLENECK
        return max(least, round(channels * width / least) * least)

    if width <= 0:
        raise SpaceError(f"hytra was given width {width}; give a number above 0.")
    channels = tuple(map(wide, base.channels))
    return Skeleton(max(1, round(base.stem * width)), base.stem_stride, channels, base.dim, base.layers)


def _sizes(base: Skeleton, input_shape: tuple[int, int, int], last_stride: int) -> tuple[tuple[int, int], ...]:
    """Return (height, width) of each scale's map, finest first."""
    if last_stride not in (1, 2):
        raise SpaceError(f"hytra was given last_stride {last_stride}; expected 1 or 2.")
    halvings = len(base.channels) - (1 if last_stride == 2 else 2)
    shrink = base.stem_stride * 2**halvings
    if any(pixels % shrink for pixels in input_shape[1:]):
        raise SpaceError(
            f"hytra halves the image to 1/{shrink} and was given {input_shape[1]}x{input_shape[2]} pixels; give sizes "
            f"that {shrink} divides."
        )
    height, width = (pixels // base.stem_stride for pixels in input_shape[1:])
    steps = [min(scale, halvings) for scale in range(len(base.channels))]
    return tuple((height >> step, width >> step) for step in steps)


def _reach(base: Skeleton, scales: Sequence[int] | None) -> tuple[int, ...]:
    """Return how many scales each block may use."""
    most = len(base.channels)
    reach = tuple(scales) if scales is not None else (most,) * len(base.layers)
    falls = [before - after for before, after in zip((most, *reach), reach, strict=False)]
    if len(reach) != len(base.layers) or not all(1 <= each <= most for each in reach) or not set(falls) <= {0, 1}:
        raise SpaceError(
            f"hytra of {len(base.layers)} blocks was given the scales {list(reach)}; give each block a number from 1 "
            f"to {most}, the first {most} or one less, each as many as the block before or one less, so that every "
            "path can go on."
        )
    return reach


def _decisions(base: Skeleton, reach: Sequence[int], start: str, halvings: str) -> list[tuple[Choice, ...]]:
    """Declare one choice for each layer, by block."""
    places = [(block, layer) for block, count in enumerate(base.layers) for layer in range(count)]
    offered = [options(reach[block]) for block, _ in places]
    if start == "stem":
        finest = len(base.channels) - 1
        offered[0] = tuple(option for option in offered[0] if option[0] >= finest - 1)
    made = linked(
        offered,
        _one_halving if halvings == "one" else _any_halving,
        names=[f"b{block + 1}l{layer + 1}" for block, layer in places],
        labels=[[label(option) for option in own] for own in offered],
        kind="operator",
    )
    ends = [sum(base.layers[: block + 1]) for block in range(len(base.layers))]
    return [made[end - count : end] for end, count in zip(ends, base.layers, strict=True)]


def label(option: Option) -> str:
    """Return the label of an option, e.g. `att0` at the coarsest scale."""
    return f"{option[1]}{option[0]}"


def _stem(image: Node, base: Skeleton, act: str) -> Node:
    if base.stem_stride == 4:
        return Pool("max", 3, 2)(Conv(base.stem, 7, 2, act=act)(image, name="stem_conv"), name="stem_pool")
    return Conv(base.stem, 3, base.stem_stride, act=act)(image, name="stem_conv")


BOSSNET: Final = (
    ("conv3",),
    ("conv2",),
    ("conv1", "conv1", "conv1", "att1", "conv1"),
    ("att0", "att0", "att0", "conv0", "att0", "att0", "att0", "att0", "att0"),
)
"""The layers of BossNet-T, scale by scale."""


def published(last_stride: int, se: float, act: str = "swish") -> Callable[..., tuple[SearchSpace, Architecture]]:
    """Return the function that makes a published network."""

    def make(
        input_shape: tuple[int, int, int] = (3, 224, 224), classes: int = 1000
    ) -> tuple[SearchSpace, Architecture]:
        space = hytra(input_shape, classes, preset="full", act=act, se=se, shortcut="pool", last_stride=last_stride)
        labels = [each for scale in BOSSNET for each in scale]
        return space, space.architecture(dict(zip((str(read.name) for read in space.choices), labels, strict=True)))

    return make


ARCHITECTURES: Final[Mapping[str, Callable[..., tuple[SearchSpace, Architecture]]]] = {
    "bossnet-t0": published(2, 0.25),
    "bossnet-t0-no-se": published(2, 0.0),
    "bossnet-t1": published(1, 0.25),
}
"""BossNet-T0 with and without squeeze-excite and T1, which keeps the map at the coarsest scale; all with SiLU."""
