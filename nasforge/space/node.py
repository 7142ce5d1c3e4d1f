"""The two primitives of a declaration: an operator node, and `Select` among candidates.

An operator is a dataclass whose fields may be values, choices or expressions over choices. Calling it
on nodes gives a node. What it means (shape, cost, expansion) it says for concrete field values only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Self, final

from nasforge.errors import SpaceError
from nasforge.space.choice import Choice, Expression, choices_of, distinct
from nasforge.space.tensor import TensorType

Types = tuple[TensorType, ...]


@final
@dataclass(frozen=True, slots=True)
class Part:
    """One primitive layer of a composite operator; `inputs` number the parts, -1, -2, ... the outer inputs."""

    name: str
    op: Operator
    inputs: tuple[int, ...]


@final
class Body:
    """Collects the parts of a composite while it expands, and infers their types on the way."""

    def __init__(self, types: Types) -> None:
        """Start with the types of the outer inputs."""
        self.parts: list[Part] = []
        self._outer = types
        self._types: list[TensorType] = []

    def type(self, reference: int) -> TensorType:
        """Return the type of a part (0, 1, ...) or of an outer input (-1, -2, ...)."""
        return self._types[reference] if reference >= 0 else self._outer[-1 - reference]

    def add(self, name: str, op: Operator, *inputs: int) -> int:
        """Append a part (composites are expanded in place) and return its reference."""
        types = tuple(self.type(reference) for reference in inputs)
        if op.layer is None and not op.aliases:
            inner, result = expanded(op, types)
            base = len(self.parts)
            for part, part_type in zip(inner.parts, inner._types, strict=True):
                moved = tuple(base + i if i >= 0 else inputs[-1 - i] for i in part.inputs)
                self.parts.append(Part(f"{name}.{part.name}", part.op, moved))
                self._types.append(part_type)
            return base + result if result >= 0 else inputs[-1 - result]
        if op.aliases:
            return inputs[0]
        self.parts.append(Part(name, op, inputs))
        self._types.append(op.shape(types))
        return len(self.parts) - 1


def expanded(op: Operator, types: Types) -> tuple[Body, int]:
    """Return the body that a composite expands to, not to be added to, and the reference of its output."""
    try:
        return _remembered(op, types)
    except TypeError:  # a field that cannot be hashed, or an error of its own, which comes again
        pass
    return _expanded(op, types)


def _expanded(op: Operator, types: Types) -> tuple[Body, int]:
    body = Body(types)
    return body, op.expand(body)


_remembered = lru_cache(maxsize=1 << 14)(_expanded)


class Operator:
    """Base of all operators; subclasses are frozen dataclasses.

    A **leaf** names its torch layer (`layer = "package.module:Class"`) and defines `shape`, and `params`,
    `macs` where they are not zero. A **composite** defines `expand` alone; shape and cost follow.
    """

    layer: ClassVar[str | None] = None
    aliases: ClassVar[bool] = False
    """The output is the first input itself: lowering removes the node."""
    is_zero: ClassVar[bool] = False
    """The output is all zeros: lowering removes what depends on it alone."""
    keeps_zero: ClassVar[bool] = True
    """An input that is cut off (all inputs, where there are several) cuts this node off too."""
    commutative: ClassVar[bool] = False
    """The order of the inputs does not matter."""
    mixable: ClassVar[bool] = False
    """Candidates whose shapes differ may be mixed by this operator."""

    def __init_subclass__(cls) -> None:
        """Refuse a subclass that says neither what shape it gives nor what it consists of.

        One of two methods must be defined, which `abc` cannot say.
        """
        super().__init_subclass__()
        if cls.shape is Operator.shape and cls.expand is Operator.expand:
            raise SpaceError(
                f"operator {cls.__name__} defines neither 'shape' nor 'expand'; a leaf needs the first, a composite "
                "the second."
            )

    def __call__(
        self, *inputs: Node, name: str | None = None, weights: str | None = None, pretrained: Any = None
    ) -> Node:
        """Apply the operator to nodes.

        Args:
            inputs: the nodes read.
            name: unique in the space; numbered by kind without one.
            weights: nodes of the same key use the same weights in a supernet.
            pretrained: a module or state dict that the weights start from.
        """
        for source in inputs:
            if not isinstance(source, Node):
                raise SpaceError(
                    f"{type(self).__name__} was applied to {source!r}; expected the node of another operator."
                )
        return Node(self, tuple(inputs), name, weights, pretrained)

    def declared(self, variants: Sequence[Types]) -> Operator:
        """Return the operator fixed to what can arrive: every combination of input types that occurs."""
        return self

    def prune(self, cut: tuple[bool, ...], inputs: Types) -> tuple[Operator, tuple[int, ...]] | None:
        """Return what is really computed when the inputs flagged in `cut` (maybe none) are all zero.

        None: this node is zero too. Else the operator and the inputs it keeps; a cut one that it keeps is
        filled with zeros. An operator that aliases passes on the first input kept.
        """
        if self.keeps_zero and cut and all(cut):
            return None
        return self, tuple(range(len(cut)))

    def expand(self, body: Body) -> int:
        """Add the parts to `body` and return the reference of the output (composites only)."""
        raise SpaceError(f"operator {type(self).__name__} has neither a layer nor an expansion; define one of them.")

    def shape(self, inputs: Types) -> TensorType:
        """Return the output type for concrete fields and input types."""
        body, result = expanded(self, inputs)
        return body.type(result)

    def params(self, inputs: Types) -> int:
        """Return the number of trainable parameters."""
        return sum(op.params(types) for op, types in self.primitives(inputs)) if self.layer is None else 0

    def macs(self, inputs: Types) -> int:
        """Return multiply-accumulates for one image: those of convolutions and matrix products."""
        return sum(op.macs(types) for op, types in self.primitives(inputs)) if self.layer is None else 0

    def bitops(self, inputs: Types) -> int:
        """Return MACs x weight bits x activation bits."""
        if self.layer is None:
            return sum(op.bitops(types) for op, types in self.primitives(inputs))
        return self.macs(inputs) * getattr(self, "weight_bits", 32) * (inputs[0].bits if inputs else 32)

    def activation_bytes(self, inputs: Types) -> int:
        """Return the bytes of all layer outputs for one image in float32."""
        if self.aliases:
            return 0
        if self.layer is None:
            return sum(op.activation_bytes(types) for op, types in self.primitives(inputs))
        return 4 * self.shape(inputs).size

    def primitives(self, inputs: Types) -> list[tuple[Operator, Types]]:
        """Return the leaf operators this one consists of, with their input types."""
        body = Body(inputs)
        body.add("self", self, *(-1 - i for i in range(len(inputs))))
        return [(part.op, tuple(body.type(i) for i in part.inputs)) for part in body.parts]

    def key(self, inputs: Types) -> str:
        """Return a stable text for operator, fields and input sizes: the key of latency tables."""
        fields = [
            f"{spec.name}{_plain(getattr(self, spec.name))}"
            for spec in dataclasses.fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
            if spec.metadata.get("latency", True) and getattr(self, spec.name) != spec.default
        ]
        return "-".join([type(self).__name__.lower(), *(f"i{source}" for source in inputs), *fields])

    def identity(self, inputs: Types) -> str:
        """Return a stable text for all that tells networks of this operator apart, trained alone.

        Unlike `key` it holds fields that cost no time (dropout, epsilon, initialisation), but none that only say
        where weights lie in a supernet (metadata `network: False`).
        """
        fields = [
            f"{spec.name}{_plain(getattr(self, spec.name))}"
            for spec in dataclasses.fields(self)  # type: ignore[arg-type]  # as above
            if spec.metadata.get("network", True)
        ]
        return "-".join([type(self).__qualname__, *(f"i{source}" for source in inputs), *fields])

    def label(self) -> str:
        """Return the short text that drawings and encodings use."""
        return type(self).__name__

    def at(self, **values: Any) -> Self:
        """Return this operator with concrete values in place of some fields."""
        return dataclasses.replace(self, **values)  # type: ignore[type-var]  # subclasses are dataclasses


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return "_".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@final
@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One operator applied to nodes; the graph is what is reachable from a space's outputs."""

    op: Operator
    inputs: tuple[Node, ...] = ()
    name: str | None = None
    weights: str | None = None
    pretrained: Any = field(default=None, repr=False)


def fields_of(op: Operator) -> dict[str, Any]:
    """Return an operator's dataclass fields by name."""
    return {spec.name: getattr(op, spec.name) for spec in dataclasses.fields(op)}  # type: ignore[arg-type]  # as above


def reads(op: Operator) -> tuple[Choice, ...]:
    """Return the choices that an operator's fields read, each once."""
    return distinct(read for value in fields_of(op).values() for read in choices_of(value))


@final
@dataclass(frozen=True)
class InputOp(Operator):
    """The network's input, (C, H, W) without the batch axis."""

    input_shape: tuple[int, ...] = ()
    input_name: str = "image"
    layer: ClassVar[str | None] = "nasforge.layers.combine:Source"

    def shape(self, inputs: Types) -> TensorType:
        """Return the declared shape."""
        return TensorType(self.input_shape)

    def activation_bytes(self, inputs: Types) -> int:
        """Return 0: the input is not made by the network."""
        return 0


def Input(*shape: int, name: str = "image") -> Node:
    """Declare an input of shape (C, H, W); several inputs need different names."""
    if not shape or min(shape) < 1:
        raise SpaceError(f"input '{name}' was given shape {shape}; expected positive sizes (channels, height, width).")
    return InputOp(tuple(shape), name)(name=name)


@final
@dataclass(frozen=True)
class SelectOp(Operator):
    """Pass on the candidate whose number `index` gives; the others are dead."""

    index: Any = 0
    aliases: ClassVar[bool] = True

    def shape(self, inputs: Types) -> TensorType:
        """Return the type of the chosen candidate."""
        chosen: int = self.index
        return inputs[chosen]


def select(index: Expression, candidates: Sequence[Node], name: str | None = None) -> Node:
    """Return the candidate that `index` numbers (0, 1, ...).

    Raises:
        SpaceError: the expression can take a value that numbers no candidate.
    """
    values = index.options if isinstance(index, Choice) else index.table.distinct
    wrong = [value for value in values if not isinstance(value, int) or not 0 <= value < len(candidates)]
    if wrong:
        raise SpaceError(
            f"select was given {len(candidates)} candidates and the index {wrong[0]!r}; "
            f"expected 0 to {len(candidates) - 1}."
        )
    return SelectOp(index)(*candidates, name=name)


@final
@dataclass(frozen=True)
class BoundaryOp(Operator):
    """A named cut: block-wise execution starts or stops here. It passes its input on."""

    boundary: str = ""
    aliases: ClassVar[bool] = True

    def shape(self, inputs: Types) -> TensorType:
        """Return the input's type."""
        return inputs[0]


def boundary(name: str, source: Node) -> Node:
    """Name a cut behind `source`, see `Supernet.run`."""
    return BoundaryOp(name)(source, name=name)


def output_size(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return the size after a window of `kernel`, `stride` and `padding` (floor, as torch does)."""
    return (size + 2 * padding - kernel) // stride + 1


def numel(shape: Sequence[int]) -> int:
    """Return the number of elements of a shape."""
    return math.prod(shape)
