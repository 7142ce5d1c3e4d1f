"""The paths of each block behind the best paths of the blocks before it, as far as these are rated.

What is behind a prefix is listed once, and again only when the prefix has changed: a step draws from the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.blocks.choice import RatedBlock
from nasforge.strategy.blocks.paths import Block, BlockPaths
from nasforge.strategy.blocks.record import BlockRecord
from nasforge.strategy.paths.fair import distinct_paths, fair_rows


@final
class PrefixedPaths:
    """The paths that a step of block-wise training may take.

    Args:
        space: the space.
        blocks: its blocks.
        record: says which earlier paths are best.
        most: a block of more paths is not listed.
    """

    def __init__(self, space: SearchSpace, blocks: Sequence[Block], record: BlockRecord, most: int) -> None:
        """List nothing yet."""
        self._space, self._blocks, self._record, self._most = space, blocks, record, most
        self._lists: dict[tuple[object, ...], list[Architecture] | None] = {}

    def of(self, number: int) -> BlockPaths:
        """Return the paths of block `number` behind the best ones."""
        return BlockPaths(self._space, self._blocks[number], self._record.prefix(number))

    def listed(self, number: int) -> list[Architecture] | None:
        """Return every path of a block behind the best ones, None where they are too many."""
        key = (number, *self._record.prefix(number).items())
        if key not in self._lists:
            self._lists[key] = self.of(number).all(self._most)
        return self._lists[key]

    def drawn(self, number: int, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Draw the paths of a step: by strict fairness, or distinct ones where relations forbid that."""
        ways = self.of(number)
        if ways.fair:
            rows = fair_rows([self._space.allowed[choice] for choice in ways.block.choices], count, rng)
            return [ways.at(row) for row in rows]
        listed = self.listed(number)
        if listed is not None:
            return distinct_paths(listed, count, rng)
        return self.some(number, count, rng)

    def some(self, number: int, count: int, rng: np.random.Generator) -> list[Architecture]:
        """Draw up to `count` paths, each once, the choices uniformly."""
        ways = self.of(number)
        return list(dict.fromkeys(ways.random(rng) for _ in range(count)))

    def rated(self, number: int, count: int, rng: np.random.Generator) -> RatedBlock:
        """Return the rated paths of a block; of one that is not rated yet all paths, or `count` random ones, alike."""
        paths, scores = self._record.rated(number)
        if not paths:
            paths = self.listed(number) or self.some(number, count, rng)
            scores = np.zeros(len(paths))
        return RatedBlock(self._blocks[number], paths, scores)

    def through(self, number: int, architecture: Architecture) -> tuple[Architecture, Architecture | None]:
        """Return what takes an architecture's path through a block, and the prefix it is to be judged behind.

        That is behind the best paths (None), or the architecture's own where its path does not follow these.
        """
        path = self._blocks[number].path(architecture)
        behind_best = self.of(number).at(path)
        if self._blocks[number].path(behind_best) == path:
            return behind_best, None
        return architecture, architecture


__all__ = ["PrefixedPaths"]
