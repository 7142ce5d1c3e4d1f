"""A space cut at its boundaries: which choices a block decides, and which paths lead through it behind a prefix.

A path through a block is held as a whole architecture: what earlier blocks have decided, the block's own decisions,
and the first options possible behind it. So it runs in the supernet as it is, and relations between choices of
different blocks (only coarser, HyTra) are obeyed by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nasforge.errors import IncompatibleError, UsageError, unknown_name_sentence
from nasforge.space import Architecture, SearchSpace
from nasforge.space.node import BoundaryOp, InputOp

Path = tuple[int, ...]
"""Decisions of a block's choices."""


@final
@dataclass(frozen=True, slots=True)
class Block:
    """A part of every network of a space, from one boundary to the next.

    Attributes:
        name: of the boundary at its end.
        start: the boundary at its beginning; None: the network's input.
        choices: numbers of those it decides.
        shapes: every shape (C, H, W) that can arrive at its end.
    """

    name: str
    start: str | None
    choices: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]

    def path(self, architecture: Architecture) -> Path:
        """Return an architecture's decisions in this block."""
        return tuple(architecture.decisions[choice] for choice in self.choices)


def blocks_of(space: SearchSpace, strategy: str, names: Sequence[str] | None = None) -> list[Block]:
    """Cut a space at its boundaries, or at those named, in the order of the graph.

    A boundary in front of which nothing is decided since the one before does not cut.

    Raises:
        IncompatibleError: there is no boundary, one can be bypassed or carries no image, or the blocks do not cover
            the network: a choice lies behind the last one or in two of them.
        UsageError: an unknown boundary, or none of those there are.
    """
    nodes = space.analysis.graph.nodes
    at = {node.op.boundary: node.index for node in nodes if isinstance(node.op, BoundaryOp)}
    refused = f"strategy '{strategy}' cannot search space '{space.name}'"
    ends = _ends(space.name, strategy, names, at)
    if not ends:
        raise IncompatibleError(f"{refused}: it is not cut into blocks; give it boundaries, see `nasforge.boundary`.")
    owner: dict[int, str] = {}
    found = []
    start = None
    for name in ends:
        inside = _between(space, None if start is None else at[start], at[name])
        if start is not None and any(isinstance(nodes[index].op, InputOp) for index in inside):
            raise IncompatibleError(f"{refused}: boundary '{start}' can be bypassed on the way to '{name}'.")
        read = sorted({choice for index in inside for choice in nodes[index].choices})
        choices = tuple(choice for choice in read if len(space.allowed[choice]) > 1)
        for choice in choices:
            if owner.setdefault(choice, name) != name:
                raise IncompatibleError(
                    f"{refused}: choice '{space.choices[choice].name}' is read in block '{owner[choice]}' and in block "
                    f"'{name}'; put the boundary elsewhere, or give each block a choice of its own."
                )
        if choices:  # a part that decides nothing, such as a stem, belongs to the block behind it
            found.append(Block(name, start, choices, _shapes(space, at[name], refused)))
            start = name
    left = [str(space.choices[c].name) for c, o in enumerate(space.allowed) if len(o) > 1 and c not in owner]
    if left:
        uncut = ", ".join(name for name in at if name not in ends)
        advice = f"cut behind it too (blocks left out: {uncut})" if uncut else "put a boundary behind it"
        raise IncompatibleError(
            f"{refused}: its blocks do not cover the network, choice '{left[0]}' lies in none of them"
            f"{f' (so do {len(left) - 1} more)' if len(left) > 1 else ''}; {advice}."
        )
    if not found:
        raise IncompatibleError(f"{refused}: it holds one architecture, so its blocks decide nothing; train that.")
    return found


def _ends(space: str, strategy: str, names: Sequence[str] | None, at: Mapping[str, int]) -> list[str]:
    """Return the boundaries that are named, all without names, in the order of the graph."""
    for name in names or ():
        if name not in at:
            raise UsageError(unknown_name_sentence(f"in space '{space}' the boundary", name, at))
    if at and names is not None and not names:
        raise UsageError(
            f"strategy '{strategy}' was given an empty list of blocks; name some of the boundaries of space "
            f"'{space}' ({', '.join(at)}), or leave the option away to cut at all of them."
        )
    return [name for name in at if names is None or name in names]


def _between(space: SearchSpace, start: int | None, end: int) -> set[int]:
    """Return the nodes that an end needs, up to a start that is left out."""
    nodes, seen, stack = space.analysis.graph.nodes, set[int](), [end]
    while stack:
        index = stack.pop()
        if index != start and index not in seen:
            seen.add(index)
            stack.extend(nodes[index].inputs)
    return seen


def _shapes(space: SearchSpace, node: int, refused: str) -> tuple[tuple[int, ...], ...]:
    analysis = space.analysis
    kinds = [analysis.universe[int(cell)] for cell in np.unique(analysis.types[node].values)]
    shapes = tuple(dict.fromkeys(tuple(getattr(kind, "shape", ())) for kind in kinds))
    shapes = tuple(shape for shape in shapes if shape)
    if any(len(shape) != 3 for shape in shapes):
        name = space.analysis.graph.nodes[node].name
        raise IncompatibleError(f"{refused}: boundary '{name}' carries {shapes}; expected maps of (C, H, W).")
    return shapes


def are_independent(space: SearchSpace, blocks: Sequence[Block]) -> bool:
    """Say whether every path of a block goes with every path of the others: nothing is asked or allowed by theirs."""
    number = {choice: place for place, choice in enumerate(space.choices)}
    for block in blocks:
        for choice in block.choices:
            relation = space.choices[choice].relation
            read = {*space.analysis.active[choice].axes, *([number[relation.previous]] if relation else [])}
            if any(len(space.allowed[each]) > 1 and each not in block.choices for each in read):
                return False
    return True


@final
class BlockPaths:
    """The paths through one block behind a prefix.

    Args:
        space: the space.
        block: one of its blocks.
        prefix: decisions of earlier blocks, by choice.
    """

    def __init__(self, space: SearchSpace, block: Block, prefix: Mapping[int, int]) -> None:
        """Take the prefix."""
        self._space, self.block, self._prefix = space, block, dict(prefix)
        free = all(space.choices[c].relation is None and space.choices[c].condition is None for c in block.choices)
        self.fair = free and all(not space.analysis.active[choice].axes for choice in block.choices)
        """Whether the block's choices are independent and always asked, so that every combination is a path."""

    def at(self, path: Path) -> Architecture:
        """Return the architecture that takes a path behind the prefix: the nearest there is where it is none."""
        wanted = dict(zip(self.block.choices, path, strict=True))
        return self._decide(lambda choice, options: wanted[choice] if wanted[choice] in options else options[0])

    def first(self) -> Architecture:
        """Return the path of the first options."""
        return self._decide(lambda choice, options: options[0])

    def random(self, rng: np.random.Generator) -> Architecture:
        """Draw a path, each choice uniformly."""
        return self._decide(lambda choice, options: options[int(rng.integers(len(options)))])

    def mutated(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Decide one choice of the block anew."""
        path = self.block.path(architecture)
        asked = [place for place, option in enumerate(path) if option >= 0]
        if not asked:
            return architecture
        changed = self.block.choices[asked[int(rng.integers(len(asked)))]]
        before = dict(zip(self.block.choices, path, strict=True))

        def pick(choice: int, options: tuple[int, ...]) -> int:
            others = [option for option in options if option != before[choice]]
            if choice != changed and before[choice] in options:
                return before[choice]
            return others[int(rng.integers(len(others)))] if others else options[0]

        return self._decide(pick)

    def crossed(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Take each decision of the block from either parent."""
        rows = self.block.path(first), self.block.path(second)
        taken = rng.integers(2, size=len(self.block.choices)).tolist()
        return self.at(tuple(rows[side][place] for place, side in enumerate(taken)))

    def all(self, limit: int) -> list[Architecture] | None:
        """Return every path once; None where there are more than `limit`."""
        found: dict[Path, Architecture] = {}
        for architecture in self._enumerated():
            found.setdefault(self.block.path(architecture), architecture)
            if len(found) > limit:
                return None
        return list(found.values())

    def _enumerated(self) -> Iterator[Architecture]:
        """Yield the paths in lexical order: like an odometer, whose last wheel that can turns on."""
        wheels: list[int] = []
        while True:
            sizes: list[int] = []

            def pick(
                choice: int, options: tuple[int, ...], sizes: list[int] = sizes, wheels: list[int] = wheels
            ) -> int:
                place = len(sizes)
                sizes.append(len(options))
                return options[wheels[place] if place < len(wheels) else 0]

            yield self._decide(pick)
            wheels = [*wheels, *[0] * len(sizes)][: len(sizes)]
            while wheels and wheels[-1] + 1 >= sizes[len(wheels) - 1]:
                wheels.pop()
            if not wheels:
                return
            wheels[-1] += 1

    def _decide(self, pick: Callable[[int, tuple[int, ...]], int]) -> Architecture:
        own = set(self.block.choices)

        def decided(choice: int, options: tuple[int, ...]) -> int:
            if self._prefix.get(choice, -1) in options:
                return self._prefix[choice]
            return pick(choice, options) if choice in own and options else options[0]

        return self._space.decide(decided)


__all__ = ["Block", "BlockPaths", "Path", "are_independent", "blocks_of"]
