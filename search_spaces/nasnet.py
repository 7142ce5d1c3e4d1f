"""`nasnet`: the cells of NASNet (Zoph et al. 2018), normal and reduction, shared by all cells of a network.

A cell sees two states, 0 (the previous cell, projected) and 1 (the cell before it), and makes one more with each of
its blocks. A block takes five decisions: two states, an operation on each, and whether the results are summed or
concatenated. In a supernet an operation of a block keeps its weights whichever state it reads. Padding of strided
windows is symmetrical, so sizes and counts equal those of the released networks, but borders do not.
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
    FactorisedReduction,
    GlobalPool,
    Identity,
    Linear,
    Pool,
    RectConv,
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
    choice,
    combine,
    one_of,
    operator_choice,
    select,
)
from nasforge.space.node import Types

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
class Fit(Operator):
    """Bring a state to `out` channels and `stride` times fewer pixels, and leave one alone that has them already.

    Stride 2 is a factorised reduction, or without `factorised` a 1x1 convolution, as for other channels.
    """

    out: Any
    stride: Any = 1
    act: bool = True
    factorised: bool = True

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return the identity where nothing is to be done."""
        if all(cut):
            return None
        return (Identity() if self._fits(inputs[0].channels) else self), (0,)

    def _fits(self, channels: int) -> bool:
        return bool(self.stride == 1 and channels == self.out)

    def expand(self, body: Body) -> int:
        """Expand to nothing, a projection or a factorised reduction."""
        if self._fits(body.type(-1).channels):
            return -1
        if self.stride > 1 and self.factorised:
            return body.add("reduction", FactorisedReduction(self.out, self.act), -1)
        act = "relu" if self.act else "none"
        return body.add("fit", Conv(self.out, 1, self.stride, act=act, order="act-conv-bn"), -1)

    def label(self) -> str:
        """Return `fit`."""
        return "fit"


@final
@dataclass(frozen=True)
class Decisions:
    """The choices of a cell: for each block two states, two operations, and how they are combined."""

    states: tuple[tuple[Choice, Choice], ...]
    operations: tuple[tuple[Choice, Choice], ...]
    combines: tuple[Choice, ...]

    @classmethod
    def of(cls, kind: str, blocks: int) -> Decisions:
        """Declare the 5 x blocks choices, in the order in which NASNet's controller takes them."""
        rows = []
        for b in range(blocks):
            states = tuple(choice(*range(b + 2), name=f"{kind}.b{b + 1}.in{side}", kind="input") for side in (1, 2))
            operations = tuple(operator_choice(OPERATIONS, name=f"{kind}.b{b + 1}.op{side}") for side in (1, 2))
            rows.append((states, operations, operator_choice(COMBINE, name=f"{kind}.b{b + 1}.combine")))
        return cls(*(tuple(column) for column in zip(*rows, strict=True)))  # type: ignore[arg-type]  # pairs, as built

    @property
    def used(self) -> Any:
        """Return the expression of the states that some block reads."""
        reads = [side for pair in self.states for side in pair]
        return combine(lambda *taken: tuple(sorted(set(taken))), *reads)


@final
@dataclass(frozen=True)
class Cell:
    """One of the two cells, to be put at any place and width."""

    kind: str
    decisions: Decisions
    used: Any
    concat: str

    def __call__(self, x: Node, before: Node | None, channels: int, shrunk: bool, name: str) -> Node:
        """Apply the cell to the previous cell and the one before it (`shrunk`: that is twice as large)."""
        stride = 2 if self.kind == "reduction" else 1
        first = Conv(channels, 1, order="act-conv-bn")(x, name=f"{name}.previous")
        earlier = x if before is None else _earlier(channels, shrunk)(before, name=f"{name}.earlier")
        states = [first, earlier]
        rows = zip(self.decisions.states, self.decisions.operations, self.decisions.combines, strict=True)
        for b, (sources, operations, combined) in enumerate(rows):
            sides = [
                _operation(states, sources[side], operations[side], channels, stride, f"{name}.b{b + 1}.{side + 1}")
                for side in (0, 1)
            ]
            joined = Concat()(*sides, name=f"{name}.b{b + 1}.concat")
            back = Conv(channels, 1, order="act-conv-bn")(joined, name=f"{name}.b{b + 1}.back")
            states.append(one_of([Add()(*sides, name=f"{name}.b{b + 1}.add"), back], by=combined))
        return self._output(states, channels, stride, name)

    def _output(self, states: list[Node], channels: int, stride: int, name: str) -> Node:
        if self.concat == "all":
            return Concat()(*states[2:], name=f"{name}.out")
        fitted = [Fit(channels, stride, act=False)(states[i], name=f"{name}.out{i}") for i in (0, 1)]
        extra = EXCEPTIONS[self.kind] if self.concat == "nasnet-a" else ()
        return UnusedConcat(self.used, extra)(*fitted, *states[2:], name=f"{name}.out")


def _earlier(channels: int, shrunk: bool) -> Operator:
    return FactorisedReduction(channels) if shrunk else Conv(channels, 1, order="act-conv-bn")


def _operation(states: list[Node], source: Choice, by: Choice, channels: int, stride: int, name: str) -> Node:
    x = select(source, states)
    step: Any = source.map(lambda state: stride if state < 2 else 1) if stride > 1 else 1
    candidates: list[Operator] = [
        Fit(channels, step, factorised=False),
        Conv(channels, 1, step, order="act-conv-bn"),
        Conv(channels, 3, step, order="act-conv-bn"),
        Strips(channels, 3, step),
        Strips(channels, 7, step),
        Conv(channels, 3, step, dilation=2, order="act-conv-bn"),
        *(SeparableConv(channels, kernel, step, repeats=2) for kernel in (3, 5, 7)),
    ]
    made = [operator(x, name=f"{name}.{label}") for label, operator in zip(OPERATIONS, candidates, strict=False)]
    for label, kind, kernel in zip(OPERATIONS[9:], ("avg", "max", "max", "max"), (3, 3, 5, 7), strict=True):
        pooled = Pool(kind, kernel, step)(x, name=f"{name}.{label}")
        made.append(Fit(channels, act=False)(pooled, name=f"{name}.{label}.fit"))
    return one_of(made, by=by)


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
    x, before = _stem(Input(*input_shape), stem, base, multiplier, cells["reduction"])
    x = _stack(x, before, cells, n, base, skip_reduction_layer_input)
    x = GlobalPool()(Activation("relu")(x, name="last_act"), name="pool")
    return SearchSpace({"logits": Linear(classes)(x, name="classifier")}, name="nasnet")


def _stem(image: Node, stem: str, base: int, multiplier: int, reduction: Cell) -> tuple[Node, Node | None]:
    if stem == "cifar":
        return BatchNorm()(Conv2d(base * multiplier, 3)(image, name="stem"), name="stem_bn"), None
    before = RectConv(32 * multiplier, (3, 3), (2, 2), (0, 0))(image, name="stem")
    before = BatchNorm()(before, name="stem_bn")
    x = reduction(before, None, max(2, base // 4), False, "stem1")
    return reduction(x, before, max(2, base // 2), True, "stem2"), x


def _stack(x: Node, before: Node | None, cells: dict[str, Cell], repeats: int, channels: int, skip: bool) -> Node:
    shrunk = before is not None  # the ImageNet stem ends with a reduction cell
    for stage in range(3):
        if stage:
            channels *= 2
            reduced = cells["reduction"](x, before, channels, shrunk, f"reduction{stage}")
            x, before, shrunk = reduced, before if skip else x, True
        for number in range(repeats):
            made = cells["normal"](x, before, channels, shrunk, f"s{stage + 1}c{number + 1}")
            x, before, shrunk = made, x, False
    return x


NASNET_A: Final = {
    "normal": "sep_conv_5x5 0 sep_conv_3x3 1; sep_conv_5x5 1 sep_conv_3x3 1; avg_pool_3x3 0 identity 1; "
    "avg_pool_3x3 1 avg_pool_3x3 1; sep_conv_3x3 0 identity 0",
    "reduction": "sep_conv_5x5 0 sep_conv_7x7 1; max_pool_3x3 0 sep_conv_7x7 1; avg_pool_3x3 0 sep_conv_5x5 1; "
    "identity 3 avg_pool_3x3 2; sep_conv_3x3 2 max_pool_3x3 0",
}
"""The released cells: by block two operations with the state each reads; all results are summed."""


def decisions_of(cells: dict[str, str]) -> dict[str, str]:
    """Return the options by choice of two cells written as in `NASNET_A`."""
    options = {}
    for kind, text in cells.items():
        for b, block in enumerate(text.split(";"), 1):
            words = block.split()
            for side in (1, 2):
                options[f"{kind}.b{b}.op{side}"], options[f"{kind}.b{b}.in{side}"] = words[2 * side - 2 : 2 * side]
            options[f"{kind}.b{b}.combine"] = "add"
    return options


def nasnet_a(repeats: int = 6, filters: int = 768, **options: Any) -> tuple[SearchSpace, Architecture]:
    """Return NASNet-A "repeats @ filters", by default for CIFAR-10, with the released network's concatenation."""
    space = nasnet(repeats=repeats, filters=filters, concat="nasnet-a", **options)
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
