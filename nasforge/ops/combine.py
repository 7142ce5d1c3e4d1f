"""Identity, zero, sums, concatenations and shortcuts: how branches come together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, final

from nasforge.errors import SpaceError
from nasforge.space.node import Body, Node, Operator, Types
from nasforge.space.tensor import TensorType

PROJECTIONS: Final = ("none", "conv", "pool+conv", "error")


@final
@dataclass(frozen=True)
class Identity(Operator):
    """Pass the input on; lowering removes it."""

    aliases: ClassVar[bool] = True

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return inputs[0]


@final
@dataclass(frozen=True)
class Zero(Operator):
    """All zeros, of the input's shape or with `out` channels and `stride`; lowering cuts off what reads it."""

    out: Any = None
    stride: Any = 1
    is_zero: ClassVar[bool] = True
    layer: ClassVar[str | None] = "nasforge.layers.combine:Zeros"

    def shape(self, inputs: Types) -> TensorType:
        """Return the type of the zeros."""
        source = inputs[0]
        spatial = tuple(-(-size // self.stride) for size in source.spatial)
        if self.out is None:
            return dataclasses.replace(source, shape=(source.channels, *spatial))
        return TensorType((self.out, *spatial))

    def label(self) -> str:
        """Return `zero`."""
        return "zero"


def _same_shapes(name: str, inputs: Types) -> TensorType:
    if any(source.open for source in inputs):
        raise SpaceError(
            f"{name} was given channels that depend on too many choices to check; put a convolution before it"
        )
    if len({source.shape for source in inputs}) > 1 or len({source.layout for source in inputs}) > 1:
        raise SpaceError(f"{name} was given {' and '.join(map(str, inputs))}; expected equal shapes")
    return dataclasses.replace(inputs[0], bits=max(source.bits for source in inputs))


@final
@dataclass(frozen=True)
class Add(Operator):
    """The sum of all inputs, which must have one shape; inputs that are cut off drop out, and a sum of one is none."""

    layer: ClassVar[str | None] = "nasforge.layers.combine:AddLayer"
    commutative: ClassVar[bool] = True

    def shape(self, inputs: Types) -> TensorType:
        """Return the common type."""
        return _same_shapes("a sum", inputs)

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Drop the inputs that are zero."""
        kept = tuple(place for place, gone in enumerate(cut) if not gone)
        if not kept:
            return None
        return (Identity() if len(kept) == 1 else self), kept

    def key(self, inputs: Types) -> str:
        """Return kind, number of inputs and shape."""
        return f"add{len(inputs)}-i{inputs[0]}"

    def label(self) -> str:
        """Return `+`."""
        return "+"


@final
@dataclass(frozen=True)
class Keep(Operator):
    """Pass on the first input; the others belong to the network, and are computed, though nothing reads them.

    Cells whose states may all go unread leave whole cells before them out of the network, and what is live then
    depends on too many choices to be tabulated. Exported files leave out what nothing reads.
    """

    layer: ClassVar[str | None] = "nasforge.layers.combine:KeepLayer"

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Drop the inputs that are zero; without the first, the output is."""
        if cut[0]:
            return None
        kept = tuple(place for place, gone in enumerate(cut) if not gone)
        return (Identity() if len(kept) == 1 else self), kept

    def shape(self, inputs: Types) -> TensorType:
        """Return the first input's type."""
        return inputs[0]

    def activation_bytes(self, inputs: Types) -> int:
        """Return 0: nothing is made."""
        return 0

    def label(self) -> str:
        """Return `keep`."""
        return "keep"


@final
@dataclass(frozen=True)
class Multiply(Operator):
    """Input times a gate that broadcasts over the positions (squeeze-excite)."""

    layer: ClassVar[str | None] = "nasforge.layers.combine:MultiplyLayer"

    def shape(self, inputs: Types) -> TensorType:
        """Return the first input's type."""
        if inputs[0].channels != inputs[1].channels:
            raise SpaceError(f"a product was given {inputs[0]} and {inputs[1]}; expected equal channels")
        return inputs[0]

    def label(self) -> str:
        """Return `x`."""
        return "x"


@final
@dataclass(frozen=True)
class Concat(Operator):
    """Inputs side by side in the channels; each keeps its fixed slot in the weights of whatever reads them.

    `offsets` (filled in when the space is declared) are the starts of those slots.
    """

    offsets: tuple[int, ...] = field(default=(), metadata={"latency": False, "network": False})
    layer: ClassVar[str | None] = "nasforge.layers.combine:ConcatLayer"

    def declared(self, variants: Sequence[Types]) -> Concat:
        """Give each input a slot as wide as the widest that can arrive."""
        return self.at(offsets=slot_offsets(variants))

    def shape(self, inputs: Types) -> TensorType:
        """Return the joined type; spatial sizes must agree."""
        return concatenated(inputs, self.offsets or slot_offsets([inputs]))

    def label(self) -> str:
        """Return `concat`."""
        return "concat"


@final
@dataclass(frozen=True)
class UnusedConcat(Operator):
    """Concatenate those states that no chosen input reads (NASNet), and `extra` ones always.

    Attributes:
        used: for each input choice the state number it reads, as expressions.
        extra: state numbers that are joined even when used (NASNet-A's two exceptions).
        offsets: filled in when the space is declared.

    Its inputs are the states, in order; every one of them is live, whether joined or not.
    """

    used: Any = ()
    extra: tuple[int, ...] = ()
    offsets: tuple[int, ...] = field(default=(), metadata={"latency": False, "network": False})

    def declared(self, variants: Sequence[Types]) -> UnusedConcat:
        """Give each state a slot as wide as the widest that can arrive."""
        return self.at(offsets=slot_offsets(variants))

    def joined(self, count: int) -> tuple[int, ...]:
        """Return the numbers of the states that are joined."""
        return tuple(state for state in range(count) if state in self.extra or state not in self.used)

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return a plain concatenation of the joined states, or the state itself where it is one."""
        states = self.joined(len(inputs))
        if all(cut[state] for state in states):
            return None
        if len(states) == 1:
            return Identity(), states
        offsets = self.offsets or slot_offsets([inputs])
        return Concat(tuple(offsets[state] for state in states)), states

    def expand(self, body: Body) -> int:
        """Expand to a concatenation of the unused states."""
        states = self.joined(len(self.offsets))
        if len(states) == 1:
            return -1 - states[0]
        return body.add("concat", Concat(tuple(self.offsets[s] for s in states)), *(-1 - state for state in states))

    def shape(self, inputs: Types) -> TensorType:
        """Return the joined type."""
        states = self.joined(len(inputs))
        if not states:
            raise SpaceError("every state is used, so nothing is left to concatenate; add an extra state")
        offsets = self.offsets or slot_offsets([inputs])
        return concatenated(tuple(inputs[s] for s in states), tuple(offsets[s] for s in states))


def slot_offsets(variants: Sequence[Types]) -> tuple[int, ...]:
    """Return where each input's slot starts, from all combinations of types that can arrive."""
    if not variants:
        return ()
    widths = [max(types[place].capacity for types in variants) for place in range(len(variants[0]))]
    return tuple(sum(widths[:place]) for place in range(len(widths)))


def concatenated(inputs: Types, offsets: Sequence[int]) -> TensorType:
    """Return the type of inputs joined in the channels, each at its slot."""
    if len({source.spatial for source in inputs}) > 1:
        raise SpaceError(f"a concatenation was given {' and '.join(map(str, inputs))}; expected equal spatial sizes")
    runs = [
        (base + offset, length)
        for base, source in zip(offsets, inputs, strict=True)
        for offset, length in source.layout
    ]
    channels = sum(source.channels for source in inputs)
    merged = tuple(_merged(runs))
    whole = merged == ((0, channels),)  # the plain layout has one spelling, so that equal types compare equal
    return TensorType((channels, *inputs[0].spatial), () if whole else merged)


def _merged(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for offset, length in runs:
        if merged and merged[-1][0] + merged[-1][1] == offset:
            merged[-1] = (merged[-1][0], merged[-1][1] + length)
        else:
            merged.append((offset, length))
    return merged


@final
@dataclass(frozen=True)
class Residual(Operator):
    """The sum of a body and a shortcut from its input; inputs are (body, source).

    What the shortcut is follows from all combinations of types that can occur, never from an accident of equal
    sampled widths: equal throughout, it is the identity; else `project` decides.

    Attributes:
        project: `error` refuses unequal shapes; `none` leaves the shortcut out where shapes always differ; `conv` puts
            a 1x1 convolution with normalisation; `pool+conv` average-pools by the stride, then a 1x1 convolution.
        mode: filled in when the space is declared.
    """

    project: str = "error"
    mode: str = ""

    @property
    def aliases(self) -> bool:  # type: ignore[override]  # the base's constant depends on the mode here
        """Whether there is no shortcut, so that the body passes through."""
        return self.mode == "none"

    def declared(self, variants: Sequence[Types]) -> Residual:
        """Decide what the shortcut is."""
        if self.project not in PROJECTIONS:
            raise SpaceError(f"residual was given project='{self.project}'; expected one of {PROJECTIONS}.")
        equal = {body.shape == source.shape and body.layout == source.layout for body, source in variants}
        if equal <= {True}:
            return self.at(mode="identity")
        if self.project in ("conv", "pool+conv"):
            return self.at(mode=self.project)
        if self.project == "none" and equal == {False}:
            return self.at(mode="none")
        return self.at(mode="identity")

    def shape(self, inputs: Types) -> TensorType:
        """Return the body's type."""
        body, source = inputs
        if self.mode in ("none", "conv", "pool+conv"):
            return body
        if body.open or source.open:
            raise SpaceError(
                "a shortcut was given channels that depend on too many choices to check; put a convolution before it"
            )
        if body.shape != source.shape or body.layout != source.layout:
            raise SpaceError(
                f"a shortcut was given {source} for a body of {body}; expected equal shapes (or project='conv')"
            )
        return body

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return the shortcut alone where the body is zero, the body alone where the source is."""
        if not any(cut):
            return self, (0, 1)
        if cut == (True, True) or (cut[0] and self.mode == "none"):
            return None
        if cut[0]:
            body = inputs[0]
            if self.mode in ("conv", "pool+conv"):
                return Shortcut(body.channels, body.spatial[0], self.mode == "pool+conv", "shortcut."), (1,)
            return Identity(), (1,)
        return Identity(), (0,)

    def expand(self, body: Body) -> int:
        """Expand to the projection, if any, and a sum."""
        if self.mode == "none":
            return -1
        kind = body.type(-1)
        shortcut = -2
        if self.mode in ("conv", "pool+conv"):
            size = kind.spatial[0]
            shortcut = body.add("shortcut", Shortcut(kind.channels, size, self.mode == "pool+conv"), -2)
        return body.add("add", Add(), -1, shortcut)

    def label(self) -> str:
        """Return `+` with the projection."""
        return "+" if self.mode == "identity" else f"+ ({self.mode})"


@final
@dataclass(frozen=True)
class Shortcut(Operator):
    """A projecting shortcut to `out` channels at `size`: strided 1x1 convolution, or average pool and 1x1.

    `prefix` of the names of its parts: alone it uses the weights that it has as a part of a `Residual`.
    """

    out: Any
    size: Any
    pooled: bool = False
    prefix: str = field(default="", metadata={"latency": False, "network": False})

    def expand(self, body: Body) -> int:
        """Expand to pool, conv, bn."""
        from nasforge.ops.conv import BatchNorm, Conv2d
        from nasforge.ops.pool import Pool

        stride = -(-body.type(-1).spatial[0] // self.size)
        x = -1
        if self.pooled and stride > 1:
            x, stride = body.add(f"{self.prefix}pool", Pool("avg", stride, stride), x), 1
        x = body.add(f"{self.prefix}conv", Conv2d(self.out, 1, stride), x)
        return body.add(f"{self.prefix}bn", BatchNorm(), x)


def residual(body: Node, source: Node, *, project: str = "error", name: str | None = None) -> Node:
    """Add a shortcut from `source` around `body`; see `Residual` for `project`.

    Raises:
        SpaceError: an unknown `project`; unequal shapes are found when the space is declared.
    """
    return Residual(project)(body, source, name=name)
