"""`eeea`: the cells that EEEA-Net searches (Termritthikun et al. 2021), normal and reduction, shared by all cells.

A cell sees two states, 0 (the cell before the previous one) and 1 (the previous cell), both projected to its width,
and makes one more with each of its blocks: the sum of two operations on two states. A block takes four decisions,
listed as the genes of the released code are: operation, state, operation, state. The network is searched small and
built large; its architectures are the same, for neither layers nor channels are decisions. Padding of strided windows
is symmetrical.
"""

from __future__ import annotations

from collections.abc import Callable
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
    DilatedSeparableConv,
    DropPath,
    FactorisedReduction,
    Fit,
    GlobalPool,
    Keep,
    Linear,
    Pool,
    SeparableConv,
    Strips,
    UnusedConcat,
)
from nasforge.space import (
    Architecture,
    Body,
    Choice,
    Input,
    Node,
    Operator,
    SearchSpace,
    boundary,
    choice,
    combine,
    one_of,
    operator_choice,
    select,
)
from nasforge.space.cells import cell_options, states_read
from nasforge.space.choice import Expression

OPERATIONS: Final = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
    "inv_res_3x3",
    "inv_res_5x5",
)
INDEX_RANGES: Final = ("code", "full")
"""States that block b, counted from 0, may read: 0 to b as in the released code, or all that exist, 0 to b + 1."""
CONCAT: Final = ("unused", "all")
"""What a cell puts out: blocks that no block reads, as in the published networks, or all, as in the released code."""
STEMS: Final = ("cifar", "imagenet")


@final
@dataclass(frozen=True)
class InvertedResidual(Operator):
    """Pre-activated and of expansion 1: ReLU 1x1 BN, ReLU depthwise BN, 1x1 BN; around it a shortcut at stride 1."""

    out: Any
    kernel: Any = 3
    stride: Any = 1

    def expand(self, body: Body) -> int:
        """Expand to the three convolutions and the sum."""
        x = body.add("in", Conv(self.out, 1, order="act-conv-bn"), -1)
        x = body.add("act", Activation("relu"), x)
        x = body.add("dw", Conv2d(0, self.kernel, self.stride, depthwise=True), x)
        x = body.add("dw_bn", BatchNorm(), x)
        x = body.add("project", Conv2d(self.out, 1), x)
        x = body.add("project_bn", BatchNorm(), x)
        return body.add("add", Add(), x, -1) if self.stride == 1 and body.type(-1).channels == self.out else x

    def label(self) -> str:
        """Return e.g. `inverted residual 3x3`."""
        return f"inverted residual {self.kernel}x{self.kernel}"


@final
@dataclass(frozen=True)
class Decisions:
    """The choices of a cell: for each side of each block an operation and the state that it reads."""

    operations: tuple[tuple[Choice, Choice], ...]
    states: tuple[tuple[Choice, Choice], ...]

    @classmethod
    def of(cls, kind: str, blocks: int, index_range: str) -> Decisions:
        """Declare the 4 x blocks choices in the order of the genes."""
        operations, states = [], []
        for b in range(blocks):
            reach = range(b + (1 if index_range == "code" else 2))
            sides = [
                (
                    operator_choice(OPERATIONS, name=f"{kind}.b{b + 1}.op{side}"),
                    choice(*reach, name=f"{kind}.b{b + 1}.in{side}", kind="input"),
                )
                for side in (1, 2)
            ]
            operations.append((sides[0][0], sides[1][0]))
            states.append((sides[0][1], sides[1][1]))
        return cls(tuple(operations), tuple(states))

    @property
    def used(self) -> Expression:
        """Return the expression of the blocks, counted from 0, that some block reads."""
        return states_read([side for pair in self.states for side in pair], first=2)


@final
@dataclass(frozen=True)
class Cell:
    """One of the two cells, to be put at any place and width."""

    kind: str
    decisions: Decisions
    used: Expression
    concat: str

    def __call__(self, before: Node, x: Node, channels: int, shrunk: bool, name: str) -> Node:
        """Apply the cell.

        Args:
            before: the cell before the previous one.
            x: the previous cell.
            channels: of every block.
            shrunk: whether `before` is twice as large as `x`.
            name: of the nodes.
        """
        earlier = FactorisedReduction(channels) if shrunk else Conv(channels, 1, order="act-conv-bn")
        states = [earlier(before, name=f"{name}.earlier")]
        states.append(Conv(channels, 1, order="act-conv-bn")(x, name=f"{name}.previous"))
        for b in range(len(self.decisions.states)):
            sides = [self._side(states, b, side, channels, f"{name}.b{b + 1}.{side + 1}") for side in (0, 1)]
            states.append(Add()(*sides, name=f"{name}.b{b + 1}.add"))
        operator = Concat() if self.concat == "all" else UnusedConcat(self.used)
        joined = operator(*states[2:], name=f"{name}.out")
        return Keep()(joined, *states[:2], name=f"{name}.keep")

    def _side(self, states: list[Node], b: int, side: int, channels: int, name: str) -> Node:
        """Return one operation of a block on the state that it chooses; paths but identities may be dropped."""
        by, state = self.decisions.operations[b][side], self.decisions.states[b][side]
        stride: Any = state.map(lambda number: 2 if number < 2 else 1) if self.kind == "reduction" else 1
        x = select(state, states[: len(state.options)])
        made = [operator(x, name=f"{name}.{label}") for label, operator in _operations(channels, stride).items()]
        skip, reduces = OPERATIONS.index("skip_connect"), self.kind == "reduction"
        dropped = combine(lambda number, read: float(number != skip or (reduces and read < 2)), by, state)
        return DropPath(dropped)(one_of(made, by=by), name=f"{name}.path")


def _operations(channels: int, stride: Any) -> dict[str, Operator]:
    candidates: list[Operator] = [
        Pool("max", 3, stride),
        Pool("avg", 3, stride),
        Fit(channels, stride),
        *(SeparableConv(channels, kernel, stride, repeats=2) for kernel in (3, 5)),
        *(DilatedSeparableConv(channels, kernel, stride) for kernel in (3, 5)),
        Strips(channels, 7, stride),
        *(InvertedResidual(channels, kernel, stride) for kernel in (3, 5)),
    ]
    return dict(zip(OPERATIONS, candidates, strict=True))


def eeea(
    input_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    width: float = 1.0,
    blocks: int = 5,
    index_range: str = "code",
    concat: str = "unused",
    layers: int | None = None,
    channels: int | None = None,
    stem: str | None = None,
) -> SearchSpace:
    """Declare the space: stem, `layers` cells of which two are reductions, classifier.

    Cells L // 3 and 2 L // 3, counted from 0, are reductions and twice as wide as those before.

    Args:
        input_shape: (channels, height, width).
        classes: number of logits.
        width: multiplies the channels.
        blocks: of each cell; 5 in the published networks, 4 in the released code.
        index_range: see `INDEX_RANGES`.
        concat: see `CONCAT`.
        layers: L; 8 as in the article's search, or 3 for images below 32 pixels. Its final networks have 20, for
            ImageNet 14.
        channels: of a block in the first cell; 16, below 32 pixels 8. The final networks have 36, for ImageNet 48.
        stem: `cifar` (a 3x3 convolution to three times the channels) or `imagenet` (three strided ones); by the image
            without, imagenet from 64 pixels.

    Raises:
        SpaceError: an unknown option, fewer than 3 layers, or an image too small.
    """
    size = min(input_shape[1:])
    stem = stem or ("imagenet" if size >= 64 else "cifar")
    known = {"index_range": (index_range, INDEX_RANGES), "concat": (concat, CONCAT), "stem": (stem, STEMS)}
    for what, (given, names) in known.items():
        if given not in names:
            raise SpaceError(unknown_name_sentence(what, given, names))
    number = layers if layers is not None else (8 if size >= 32 else 3)
    base = round((channels if channels is not None else (16 if size >= 32 else 8)) * width)
    if blocks < 1 or number < 3 or base < 2 or size < (32 if stem == "imagenet" else 4):
        raise SpaceError(
            f"eeea was given {blocks} blocks, {number} layers, {base} channels and {size} pixels; give at least 1 "
            "block, 3 layers (so that both cells occur), 2 channels, and 4 pixels (32 for the imagenet stem)."
        )
    cells = {}
    for kind in ("normal", "reduction"):
        decisions = Decisions.of(kind, blocks, index_range)
        cells[kind] = Cell(kind, decisions, decisions.used, concat)
    x = _stack(Input(*input_shape), cells, number, base, stem)
    return SearchSpace({"logits": Linear(classes)(GlobalPool()(x, name="pool"), name="classifier")}, name="eeea")


def _stack(image: Node, cells: dict[str, Cell], layers: int, channels: int, stem: str) -> Node:
    """Return the last cell; the auxiliary head reads the second reduction."""
    before, x = _imagenet_stem(image, channels) if stem == "imagenet" else _cifar_stem(image, channels)
    shrunk = stem == "imagenet"
    for number in range(layers):
        reduces = number in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduces else 1
        made = cells["reduction" if reduces else "normal"](before, x, channels, shrunk, f"c{number + 1}")
        before, x, shrunk = x, made, reduces
        if number == 2 * layers // 3:
            x = boundary("auxiliary", x)
    return x


def _cifar_stem(image: Node, channels: int) -> tuple[Node, Node]:
    x = BatchNorm()(Conv2d(3 * channels, 3)(image, name="stem"), name="stem_bn")
    return x, x


def _imagenet_stem(image: Node, channels: int) -> tuple[Node, Node]:
    """Return maps at a quarter and an eighth of the image's size."""
    x = Conv(channels // 2, 3, 2)(image, name="stem1")
    before = Conv(channels, 3, 2, act="none")(x, name="stem2")
    return before, Conv(channels, 3, 2, order="act-conv-bn")(before, name="stem3")


EEEA_A: Final = {
    "normal": "max_pool_3x3 0 inv_res_3x3 0; dil_conv_3x3 1 max_pool_3x3 0; skip_connect 2 inv_res_3x3 0; "
    "avg_pool_3x3 2 skip_connect 3; avg_pool_3x3 4 skip_connect 3",
    "reduction": "skip_connect 0 dil_conv_3x3 0; max_pool_3x3 1 avg_pool_3x3 0; dil_conv_3x3 0 avg_pool_3x3 0; "
    "skip_connect 2 skip_connect 3; dil_conv_3x3 3 dil_conv_5x5 0",
}
"""Found with a threshold of 3 million parameters; by block two operations with the state that each reads."""
EEEA_B: Final = {
    "normal": "skip_connect 0 max_pool_3x3 0; max_pool_3x3 1 skip_connect 1; skip_connect 1 skip_connect 2; "
    "dil_conv_3x3 3 sep_conv_3x3 1; max_pool_3x3 4 sep_conv_3x3 4",
    "reduction": "skip_connect 0 inv_res_5x5 0; avg_pool_3x3 0 dil_conv_3x3 1; inv_res_3x3 1 skip_connect 1; "
    "max_pool_3x3 1 avg_pool_3x3 1; avg_pool_3x3 2 dil_conv_3x3 3",
}
"""With 4 million."""
EEEA_C: Final = {
    "normal": "dil_conv_5x5 0 max_pool_3x3 0; inv_res_5x5 0 inv_res_3x3 0; dil_conv_5x5 2 inv_res_3x3 2; "
    "sep_conv_5x5 1 skip_connect 2; sep_conv_3x3 1 avg_pool_3x3 4",
    "reduction": "inv_res_3x3 0 dil_conv_3x3 0; avg_pool_3x3 0 inv_res_3x3 0; dil_conv_5x5 1 max_pool_3x3 1; "
    "skip_connect 3 max_pool_3x3 3; inv_res_5x5 4 inv_res_3x3 2",
}
"""With 5 million."""
EEEA_EA: Final = {
    "normal": "dil_conv_3x3 0 max_pool_3x3 0; inv_res_5x5 1 dil_conv_5x5 1; avg_pool_3x3 1 avg_pool_3x3 1; "
    "inv_res_5x5 3 inv_res_3x3 2; sep_conv_3x3 4 max_pool_3x3 3",
    "reduction": "avg_pool_3x3 0 inv_res_3x3 0; inv_res_5x5 1 dil_conv_3x3 0; inv_res_3x3 0 dil_conv_5x5 0; "
    "max_pool_3x3 3 skip_connect 3; max_pool_3x3 0 sep_conv_3x3 0",
}
"""Without a threshold."""


def published(cells: dict[str, str]) -> Callable[..., tuple[SearchSpace, Architecture]]:
    """Return the function that makes a published network, by default for CIFAR-10."""

    def make(
        layers: int = 20,
        channels: int = 36,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        classes: int = 10,
        concat: str = "unused",
        stem: str | None = None,
    ) -> tuple[SearchSpace, Architecture]:
        space = eeea(input_shape, classes, concat=concat, layers=layers, channels=channels, stem=stem)
        return space, space.architecture(cell_options(cells))

    return make


ARCHITECTURES: Final[dict[str, Callable[..., tuple[SearchSpace, Architecture]]]] = {
    "eeea-a": published(EEEA_A),
    "eeea-b": published(EEEA_B),
    "eeea-c": published(EEEA_C),
    "eeea-ea": published(EEEA_EA),
}
"""EEEA-Net-A, -B and -C and the network found without early exit, 20 layers of 36 channels, no auxiliary head."""
