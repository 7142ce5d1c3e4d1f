"""`nasnet`: the cells of NASNet (Zoph et al. 2018), normal and reduction, shared by all cells of a network.

A cell sees two states, 0 (the previous cell, projected) and 1 (the cell before it), and makes one more with each of
its blocks. A block takes five decisions: two states, an operation on each, and whether the results are summed or
concatenated. In a supernet an operation of a block keeps its weights whichever state it reads. Padding of strided
windows is symmetrical, so sizes and counts equal those of the released networks, but borders do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import SpaceError, unknown_name_sentence
from nasforge.ops import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Conv2d,
    DropPath,
    FactorisedReduction,
    Fit,
    FittedPool,
    GlobalPool,
    Linear,
    RectConv,
    SeparableConv,
    Strips,
    UnusedConcat,
)
from nasforge.space import (
    Architecture,
    Choice,
    Input,
    Node,
    Operator,
    SearchSpace,
    boundary,
    choice,
    one_of,
    operator_choice,
    select,
)
from nasforge.space.cells import cell_options, states_read
from nasforge.space.choice import Expression

OPERATIONS: Final = (
    "identity",
    "conv_1x1",
    "conv_3x3",
    "conv_1x3_3x1",
    "conv_1x7_7x1",
    "dil_conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
)
COMBINE: Final = ("add", "concat")
CONCAT: Final = ("unused", "nasnet-a", "all")
"""What a cell puts out: states that no block read; those and NASNet-A's two exceptions; all blocks."""
STEMS: Final = ("cifar", "imagenet")
EXCEPTIONS: Final = {"normal": (1,), "reduction": (3,)}
"""States that NASNet-A joins although blocks read them: the cell before, and the reduction cell's second block."""


@final
@dataclass(frozen=True)
class Decisions:
    """The choices of a cell: for each block two states, two operations, and how they are combined."""

    states: tuple[tuple[Choice, Choice], ...]
    operations: tuple[tuple[Choice, Choice], ...]
    combines: tuple[Choice, ...]
    strides: tuple[tuple[Expression, Expression], ...]
    """Of each operation in a reduction cell: 2 on the two states from outside the cell, 1 on blocks."""

    @classmethod
    def of(cls, kind: str, blocks: int) -> Decisions:
        """Declare the 5 x blocks choices, in the order in which NASNet's controller takes them."""
        rows = []
        for b in range(blocks):
            states = tuple(choice(*range(b + 2), name=f"{kind}.b{b + 1}.in{side}", kind="input") for side in (1, 2))
            operations = tuple(operator_choice(OPERATIONS, name=f"{kind}.b{b + 1}.op{side}") for side in (1, 2))
            strides = tuple(state.map(lambda number: 2 if number < 2 else 1) for state in states)
            rows.append((states, operations, operator_choice(COMBINE, name=f"{kind}.b{b + 1}.combine"), strides))
        return cls(*(tuple(column) for column in zip(*rows, strict=True)))

    @property
    def used(self) -> Expression:
        """Return the expression of the states that some block reads."""
        return states_read([side for pair in self.states for side in pair])


@final
@dataclass(frozen=True)
class Cell:
    """One of the two cells, to be put at any place and width."""

    kind: str
    decisions: Decisions
    used: Expression
    concat: str

    def __call__(self, x: Node, before: Node | None, channels: int, shrunk: bool, name: str, depth: float) -> Node:
        """Apply the cell.

        Args:
            x: the previous cell.
            before: the one before it; without one its place is taken by `x` as it is.
            channels: of every block.
            shrunk: whether `before` is twice as large as `x`.
            name: of the nodes.
            depth: (l + 1) / L of cell l of L, for ScheduledDropPath.
        """
        first = Conv(channels, 1, order="act-conv-bn")(x, name=f"{name}.previous")
        earlier = x if before is None else _earlier(channels, shrunk)(before, name=f"{name}.earlier")
        states = [first, earlier]
        for b in range(len(self.decisions.states)):
            sides = [self._side(states, b, side, channels, f"{name}.b{b + 1}.{side + 1}", depth) for side in (0, 1)]
            joined = Concat()(*sides, name=f"{name}.b{b + 1}.concat")
            back = Conv(channels, 1, order="act-conv-bn")(joined, name=f"{name}.b{b + 1}.back")
            added = Add()(*sides, name=f"{name}.b{b + 1}.add")
            states.append(one_of([added, back], by=self.decisions.combines[b]))
        return self._output(states, channels, name)

    def _side(self, states: list[Node], b: int, side: int, channels: int, name: str, depth: float) -> Node:
        """Return one operation of a block on the state that it chooses; paths but identities may be dropped."""
        decisions = self.decisions
        x, by = select(decisions.states[b][side], states), decisions.operations[b][side]
        stride = decisions.strides[b][side] if self.kind == "reduction" else 1
        made = [operator(x, name=f"{name}.{label}") for label, operator in _operations(channels, stride).items()]
        dropped = by.map(lambda number: depth if OPERATIONS[number] != "identity" else 0.0)
        return DropPath(dropped)(one_of(made, by=by), name=f"{name}.path")

    def _output(self, states: list[Node], channels: int, name: str) -> Node:
        if self.concat == "all":
            return Concat()(*states[2:], name=f"{name}.out")
        stride = 2 if self.kind == "reduction" else 1
        fitted = [Fit(channels, stride, act=False)(states[i], name=f"{name}.out{i}") for i in (0, 1)]
        extra = EXCEPTIONS[self.kind] if self.concat == "nasnet-a" else ()
        return UnusedConcat(self.used, extra)(*fitted, *states[2:], name=f"{name}.out")


def _earlier(channels: int, shrunk: bool) -> Operator:
    return FactorisedReduction(channels) if shrunk else Conv(channels, 1, order="act-conv-bn")


def _operations(channels: int, stride: Any) -> dict[str, Operator]:
    candidates: list[Operator] = [
        Fit(channels, stride, factorised=False),
        Conv(channels, 1, stride, order="act-conv-bn"),
        Conv(channels, 3, stride, order="act-conv-bn"),
        Strips(channels, 3, stride),
        Strips(channels, 7, stride),
        Conv(channels, 3, stride, dilation=2, order="act-conv-bn"),
        *(SeparableConv(channels, kernel, stride, repeats=2) for kernel in (3, 5, 7)),
        FittedPool(channels, "avg", 3, stride),
        *(FittedPool(channels, "max", kernel, stride) for kernel in (3, 5, 7)),
    ]
    return dict(zip(OPERATIONS, candidates, strict=True))


def nasnet(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    blocks: int = 5,
    repeats: int | None = None,
    filters: int | None = None,
    stem: str | None = None,
    stem_multiplier: int | None = None,
    concat: str = "unused",
    skip_reduction_layer_input: bool = False,
) -> SearchSpace:
    """Declare the space "N @ F": stem, and three times N normal cells with reduction cells between.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies the filters.
        blocks: B of each cell.
        repeats: N; 6 for images of 32 pixels, 4 for the ImageNet stem, 1 below 32 pixels.
        filters: F, a multiple of 24: a normal cell of the first stage makes F / 24 channels in each block, so that
            six joined states after two doublings are F; 768, 1056 and 192 without.
        stem: `cifar` (3x3 to three times the base filters) or `imagenet` (a strided 3x3 without padding and two
            reduction cells at a quarter and a half of the filters); by the image without, imagenet from 64 pixels.
        stem_multiplier: of the stem's filters (base filters on CIFAR, 32 on ImageNet); 3 and 1 without.
        concat: see `CONCAT`.
        skip_reduction_layer_input: the normal cell behind a reduction reads as its earlier state that of the
            reduction cell (NASNet-A large).

    Raises:
        SpaceError: an unknown option, or an image too small.
    """
    size = min(input_shape[1:])
    stem = stem or ("imagenet" if size >= 64 else "cifar")
    for what, given, known in (("stem", stem, STEMS), ("concat", concat, CONCAT)):
        if given not in known:
            raise SpaceError(unknown_name_sentence(what, given, known))
    if stem_multiplier is not None and stem_multiplier < 1:
        raise SpaceError(f"nasnet was given stem_multiplier={stem_multiplier}; give at least 1, or leave it out.")
    if blocks < 1 or size < (32 if stem == "imagenet" else 4):
        raise SpaceError(
            f"nasnet was given {blocks} blocks and {size} pixels; give at least 1 block, and 4 pixels (32 for the "
            "imagenet stem)."
        )
    small = (1, 192) if size < 32 else (6, 768)
    n, total = (4, 1056) if stem == "imagenet" else small
    n, total = repeats if repeats is not None else n, filters if filters is not None else total
    if n < 1 or total < 24 or total % 24:
        raise SpaceError(
            f"nasnet was given {n} repeats @ {total} filters; filters are a multiple of 24, repeats from 1."
        )
    cells = {}
    for kind in ("normal", "reduction"):
        decisions = Decisions.of(kind, blocks)
        cells[kind] = Cell(kind, decisions, decisions.used, concat)
    base = max(2, round(total // 24 * width))
    multiplier = stem_multiplier or (3 if stem == "cifar" else 1)
    stack = Stack(cells, n, base, stem == "imagenet", skip_reduction_layer_input)
    x = stack(Input(*input_shape), multiplier)
    x = GlobalPool()(Activation("relu")(x, name="last_act"), name="pool")
    return SearchSpace({"logits": Linear(classes)(x, name="classifier")}, name="nasnet")


@final
@dataclass(frozen=True)
class Stack:
    """Stem and cells: how often, how wide, and in which order."""

    cells: dict[str, Cell]
    repeats: int
    channels: int
    imagenet: bool
    skip: bool

    def __call__(self, image: Node, multiplier: int) -> Node:
        """Apply the stack to the input; `multiplier` is of the stem's filters."""
        total = 3 * self.repeats + (4 if self.imagenet else 2)
        depths = iter([(place + 1) / total for place in range(total)])
        x, before = self._stem(image, multiplier, depths)
        shrunk, channels = before is not None, self.channels  # the ImageNet stem ends with a reduction cell
        for stage in range(3):
            if stage == 2:
                x = boundary("auxiliary", x)  # the normal cell in front of the second reduction
            if stage:
                channels *= 2
                reduced = self.cells["reduction"](x, before, channels, shrunk, f"reduction{stage}", next(depths))
                x, before, shrunk = reduced, before if self.skip else x, True
            for number in range(self.repeats):
                made = self.cells["normal"](x, before, channels, shrunk, f"s{stage + 1}c{number + 1}", next(depths))
                x, before, shrunk = made, x, False
        return x

    def _stem(self, image: Node, multiplier: int, depths: Iterator[float]) -> tuple[Node, Node | None]:
        if not self.imagenet:
            x = Conv2d(self.channels * multiplier, 3)(image, name="stem")
            return BatchNorm()(x, name="stem_bn"), None
        before = RectConv(32 * multiplier, (3, 3), (2, 2), (0, 0))(image, name="stem")
        before = BatchNorm()(before, name="stem_bn")
        reduction, base = self.cells["reduction"], self.channels
        x = reduction(before, None, max(2, base // 4), False, "stem1", next(depths))
        return reduction(x, before, max(2, base // 2), True, "stem2", next(depths)), x


NASNET_A: Final = {
    "normal": "sep_conv_5x5 0 sep_conv_3x3 1; sep_conv_5x5 1 sep_conv_3x3 1; avg_pool_3x3 0 identity 1; "
    "avg_pool_3x3 1 avg_pool_3x3 1; sep_conv_3x3 0 identity 0",
    "reduction": "sep_conv_5x5 0 sep_conv_7x7 1; max_pool_3x3 0 sep_conv_7x7 1; avg_pool_3x3 0 sep_conv_5x5 1; "
    "identity 3 avg_pool_3x3 2; sep_conv_3x3 2 max_pool_3x3 0",
}
"""The released cells: by block two operations with the state each reads; all results are summed."""


def decisions_of(cells: dict[str, str]) -> dict[str, str]:
    """Return the options by choice of two cells written as in `NASNET_A`."""
    options = cell_options(cells)
    return options | {name.replace(".op1", ".combine"): "add" for name in options if name.endswith(".op1")}


def nasnet_a(
    repeats: int = 6,
    filters: int = 768,
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    stem: str | None = None,
    stem_multiplier: int | None = None,
    skip_reduction_layer_input: bool = False,
) -> tuple[SearchSpace, Architecture]:
    """Return NASNet-A "repeats @ filters", by default for CIFAR-10, with the released network's concatenation."""
    space = nasnet(
        input_shape,
        classes,
        repeats=repeats,
        filters=filters,
        stem=stem,
        stem_multiplier=stem_multiplier,
        concat="nasnet-a",
        skip_reduction_layer_input=skip_reduction_layer_input,
    )
    return space, space.architecture(decisions_of(NASNET_A))


def nasnet_a_mobile() -> tuple[SearchSpace, Architecture]:
    """Return NASNet-A 4 @ 1056 at 224 pixels."""
    return nasnet_a(4, 1056, input_shape=(3, 224, 224), classes=1000)


def nasnet_a_large() -> tuple[SearchSpace, Architecture]:
    """Return NASNet-A 6 @ 4032 at 331 pixels."""
    shape = (3, 331, 331)
    return nasnet_a(6, 4032, input_shape=shape, classes=1000, stem_multiplier=3, skip_reduction_layer_input=True)


ARCHITECTURES: Final[dict[str, Callable[..., tuple[SearchSpace, Architecture]]]] = {
    "nasnet-a": nasnet_a,
    "nasnet-a-mobile": nasnet_a_mobile,
    "nasnet-a-large": nasnet_a_large,
}
"""NASNet-A for CIFAR-10 (6 @ 768), mobile and large for ImageNet; without auxiliary heads."""
