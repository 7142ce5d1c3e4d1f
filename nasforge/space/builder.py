"""Sugar over the two primitives: one_of, inputs, repeat. Each returns ordinary nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nasforge.errors import SpaceError
from nasforge.space.choice import Choice, Expression, choice, subset
from nasforge.space.node import Node, select


def one_of(
    candidates: Sequence[Node],
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    by: Choice | None = None,
) -> Node:
    """Choose one of several nodes: the choice of operator.

    Args:
        candidates: the alternatives, usually operators applied to the same node.
        name: name of the choice.
        labels: names of the options; the operators' labels without.
        by: an existing choice to share, whose options number the candidates.
    """
    if by is not None:
        return select(by if by.options == tuple(range(len(candidates))) else by.map(by.options.index), candidates)
    texts = tuple(labels) if labels is not None else _distinct_labels(candidates)
    return select(choice(*range(len(candidates)), name=name, labels=texts, kind="operator"), candidates)


def _distinct_labels(candidates: Sequence[Node]) -> tuple[str, ...]:
    texts = [candidate.name or candidate.op.label() for candidate in candidates]
    return tuple(text if texts.count(text) == 1 else f"{text}#{place}" for place, text in enumerate(texts))


def operator_choice(labels: Sequence[str], *, name: str | None = None) -> Choice:
    """Declare a choice of operator on its own, to share between places (`one_of(..., by=...)`)."""
    return choice(*range(len(labels)), name=name, labels=tuple(labels), kind="operator")


def inputs(k: int, candidates: Sequence[Node], *, name: str | None = None) -> tuple[Node, ...]:
    """Choose `k` different nodes out of `candidates`, in no order; returns the `k` chosen nodes.

    Raises:
        SpaceError: fewer candidates than `k`.
    """
    if not 1 <= k <= len(candidates):
        raise SpaceError(
            f"inputs '{name}' was asked for {k} of {len(candidates)} candidates; give at least {max(k, 1)}."
        )
    if k == 1:
        number = choice(*range(len(candidates)), name=name, kind="input")
        return (select(number, candidates),)
    taken = subset(len(candidates), k, name=name)
    return tuple(select(taken.map(lambda places, i=i: places[i]), candidates) for i in range(k))  # type: ignore[misc]  # lambda default


def repeat(
    make: Callable[[Node, int], Node], source: Node, *, depth: Expression | int, name: str | None = None
) -> Node:
    """Apply `make(node, i)` up to `depth` times in a row.

    A choice created inside `make` is that place's own; one created outside is shared by all places.

    Raises:
        SpaceError: a depth that is no whole number or below 0.
    """
    if isinstance(depth, int):
        for place in range(depth):
            source = make(source, place)
        return source
    if isinstance(depth, Choice):
        values: tuple[object, ...] = depth.options
        depth = _as_depth(depth)
    else:
        values = depth.table.distinct
    if any(not isinstance(value, int) or value < 0 for value in values):
        raise SpaceError(f"repeat was given depths {values}; expected whole numbers from 0.")
    reached = [source]
    for place in range(max(v for v in values if isinstance(v, int))):
        reached.append(make(reached[-1], place))
    wanted = sorted({v for v in values if isinstance(v, int)})
    return select(depth.map(wanted.index), [reached[value] for value in wanted], name)


def _as_depth(depth: Choice) -> Choice:
    """Mark a choice as one of depth; the object must stay the same, for identity is sharing."""
    if depth.kind == "attribute":
        object.__setattr__(depth, "kind", "depth")
    return depth
