"""`neas`: ensembles of K paths that share their first layers (Chen et al., CVPR 2021), as one graph with K heads.

An ensemble is an architecture: the split point, an operator for every shared layer, and one for every layer of each
path behind it. Paths are evaluated by the mean of their logits. In a supernet an operator of a layer has one set of
weights, which all paths use, and each path has a head of its own. Shared layers count once, the others and the heads
K times, as in the released code; the lists of the released networks are its, the rest of the search is not published.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import Activation, Conv, Conv2d, GlobalPool, Linear, MBConv, Zero, divisible, residual
from nasforge.ranges import Share
from nasforge.space import Architecture, Input, Node, SearchSpace, one_of
from nasforge.space.paths import TRUNK, choice_name, path_name, split_paths

SMALL_BELOW: Final = 96
SKIP: Final = "skip"


@final
@dataclass(frozen=True, slots=True)
class Skeleton:
    """The fixed part of the network, and what each layer chooses from.

    Attributes:
        stem: channels of the first convolution, and of the block after it.
        stages: (channels, layers, stride of the first layer).
        mix: channels of the last 1x1 convolution of each path.
        hidden: features behind the pooling, 0 for none.
        kernels: of the depthwise convolutions.
        expansions: of the blocks.
        skip: whether a layer with a shortcut may be left out.
        se: ratio of squeeze-excite.
        act: activation.
        zero_init: start blocks with a shortcut as the shortcut.
    """

    stem: int
    stages: tuple[tuple[int, int, int], ...]
    mix: int
    hidden: int
    kernels: tuple[int, ...] = (3, 5, 7)
    expansions: tuple[int, ...] = (4, 6)
    skip: bool = True
    se: float = 0.25
    act: str = "swish"
    zero_init: bool = False

    @property
    def layers(self) -> int:
        """Number of searchable layers."""
        return sum(count for _, count, _ in self.stages)

    @property
    def ends(self) -> tuple[int, ...]:
        """Numbers of layers up to the end of each stage."""
        return tuple(sum(count for _, count, _ in self.stages[: n + 1]) for n in range(len(self.stages)))


FULL: Final = Skeleton(16, ((24, 4, 2), (40, 4, 2), (80, 4, 2), (112, 4, 1), (160, 4, 2)), 960, 1280)
SMALL: Final = Skeleton(16, ((16, 2, 1), (24, 2, 2), (40, 2, 2)), 96, 0, (3, 5), (2, 4), False, 0.0, zero_init=True)
PRESETS: Final = {"full": FULL, "small": SMALL}


def neas(
    input_shape: tuple[int, int, int] = (3, 224, 224),
    classes: int = 1000,
    width: float = 1.0,
    preset: str | None = None,
    skeleton: Skeleton | None = None,
    paths: int = 2,
    splits: Sequence[int] | None = None,
    dropout: Share = 0.0,
) -> SearchSpace:
    """Declare the space.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits of each head.
        width: multiplies all channels (rounded to multiples of 8).
        preset: `full` (20 layers) or `small` (6); without it by the input's size (`full` from 96 pixels).
        skeleton: channels and operators of one's own instead of a preset.
        paths: K; one makes ordinary networks.
        splits: how many layers may be shared; the ends of all stages without (only such are known of published
            networks).
        dropout: before the classifiers; 0.2 in the published training.

    Raises:
        SpaceError: an unknown preset, an input too small for the strides, no path, no split or one beyond the layers.
    """
    name = preset or ("full" if min(input_shape[1:]) >= SMALL_BELOW else "small")
    if name not in PRESETS:
        raise SpaceError(unknown_name_sentence("preset of neas", name, PRESETS))
    base = skeleton or PRESETS[name]
    size, shrink = min(input_shape[1:]), 2 * math.prod(stride for _, _, stride in base.stages)
    if size < shrink:
        raise SpaceError(
            f"neas was given {input_shape[1]}x{input_shape[2]} pixels, and halves the image to 1/{shrink}; use at "
            f"least {shrink} pixels or another preset."
        )
    wanted = _checked_splits(base, paths, splits)
    x = Conv(_wide(base.stem, width), 3, 2, act=base.act)(Input(*input_shape), name="stem")
    body = MBConv(_wide(base.stem, width), 3, 1, act=base.act, se=base.se)(x, name="first")
    x = residual(body, x, project="none", name="first.sum")
    layers = Layers(base, width)
    splits = sorted({*wanted, *base.ends}) if paths > 1 else wanted
    ends = split_paths(layers, x, layers=base.layers, paths=paths, splits=splits)
    heads = [_head(end, base, width, classes, dropout, path_name(number)) for number, end in enumerate(ends)]
    space = SearchSpace({"logits": heads}, name="neas" if paths == 2 else f"neas_k{paths}")
    return space if set(wanted) == set(splits) else space.restrict({"split": [str(each) for each in wanted]})


def _checked_splits(base: Skeleton, paths: int, splits: Sequence[int] | None) -> tuple[int, ...]:
    wanted = (base.ends if paths > 1 else (base.layers,)) if splits is None else tuple(splits)
    if not wanted or min(wanted) < 0 or max(wanted) > base.layers:
        raise SpaceError(
            f"neas was given the splits {list(wanted)}; expected at least one number from 0 to its {base.layers} "
            "searchable layers."
        )
    if paths < 1 or (paths == 1 and wanted != (base.layers,)):
        raise SpaceError(
            f"neas was given paths={paths} and the splits {list(wanted)}; expected at least two paths, or a single one "
            f"that shares all {base.layers} layers."
        )
    return wanted


def _wide(channels: int, width: float) -> int:
    return channels if width == 1.0 else divisible(channels * width)


@final
@dataclass(frozen=True)
class Layers:
    """Makes the searchable layers: an inverted bottleneck of any kernel and expansion, or a skip beside a shortcut."""

    base: Skeleton
    width: float

    def __call__(self, x: Node, layer: int, where: str) -> Node:
        """Return a searchable layer with its fixed shortcut (only where stride 1 keeps the channels)."""
        before, out, stride = self._place(layer)
        has_shortcut = stride == 1 and before == out
        start = self.base.zero_init and has_shortcut
        kinds = {f"k{k}e{e}": (k, e) for k in self.base.kernels for e in self.base.expansions}
        name = choice_name(where, layer)
        candidates = [
            MBConv(out, k, e, stride, act=self.base.act, se=self.base.se, zero_init=start)(
                x, name=f"{name}.{label}", weights=f"layer{layer}.{label}"
            )
            for label, (k, e) in kinds.items()
        ]
        labels = list(kinds)
        if has_shortcut and self.base.skip:
            candidates.append(Zero()(x, name=f"{name}.{SKIP}"))
            labels.append(SKIP)
        chosen = one_of(candidates, name=name, labels=labels)
        return residual(chosen, x, project="none", name=f"{name}.sum")

    def _place(self, layer: int) -> tuple[int, int, int]:
        """Return channels before, channels and stride of a layer, counted from 1."""
        before = _wide(self.base.stem, self.width)
        places = []
        for channels, count, stride in self.base.stages:
            for number in range(count):
                places.append((before, _wide(channels, self.width), stride if number == 0 else 1))
                before = _wide(channels, self.width)
        return places[layer - 1]


def _head(x: Node, base: Skeleton, width: float, classes: int, dropout: float, where: str) -> Node:
    """Return a path's logits; `hidden` features are made by a convolution with bias on the pooled map."""
    x = Conv(max(base.mix, _wide(base.mix, width)), 1, act=base.act)(x, name=f"{where}.mix")
    if base.hidden:
        x = GlobalPool(keep=True)(x, name=f"{where}.means")
        x = Activation(base.act)(Conv2d(base.hidden, 1, bias=True)(x, name=f"{where}.hidden"), name=f"{where}.act")
    pooled = GlobalPool()(x, name=f"{where}.pool")
    return Linear(classes, dropout=dropout)(pooled, name=f"{where}.classifier")


def _released(trunk: str, *branches: str) -> Callable[[], tuple[SearchSpace, Architecture]]:
    """Return a maker of a released network: index 2 x kernel + expansion per layer, -1 for a skip; the second path."""

    def make() -> tuple[SearchSpace, Architecture]:
        labels = [*(f"k{k}e{e}" for k in FULL.kernels for e in FULL.expansions), SKIP]
        shared = trunk.split()
        options = {"split": str(len(shared))}
        options |= {choice_name(TRUNK, n): labels[int(index)] for n, index in enumerate(shared, 1)}
        for path, text in enumerate(branches):
            for n, index in enumerate(text.split(), len(shared) + 1):
                options[choice_name(path_name(path), n)] = labels[int(index)]
        space = neas(preset="full", dropout=0.2)
        return space, space.architecture(options)

    return make


ARCHITECTURES: Final[dict[str, Callable[[], tuple[SearchSpace, Architecture]]]] = {
    "neas-s": _released("0 -1 0 2 0 0 2 -1 0 -1 0 3 2 4 0 2 5 0 4 3"),
    "neas-m": _released("3 2 0 2 5 0 -1 3 0 2 0 0 3 5 4 0", "5 0 5 4", "3 5 2 5"),
    "neas-l": _released("5 5 1 3 5 1 3 4 1 2 5 4 1 3 3 1", "3 1 5 1", "5 4 4 3"),
}
"""NEAS-S, -M and -L at 224 pixels: 314, 472 and 574 million by their authors' count."""
