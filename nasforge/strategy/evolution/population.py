"""Evolution over trained weights, generation by generation, as ask and tell (Guo et al. 2020, algorithm 1).

    P_1 <- random architectures within the limits
    repeat: rate P_t; the parents are the k best of all rated so far
            P_t+1 <- crossovers of parents, mutations of parents, and random ones up to its size

Rating with trained weights is cheap and repeats itself exactly, so no architecture is rated twice. How two parents
cross and how one mutates is a strategy's own (`Moves`); the limits, the repeats and the book-keeping are here. A
generation waits until the one before is rated: with several evaluations at a time the last ones run alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from nasforge.errors import UsageError
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.base import Evaluation, Problem, Proposal

Loss = Callable[[Evaluation], float]
"""Of which less is better; infinity for a failure."""


@final
@dataclass(frozen=True, slots=True)
class Sizes:
    """How large an evolution is; the defaults are those of the article (section 4: 1,000 ratings).

    Attributes:
        population: architectures of a generation.
        generations: how many, the random first one counted.
        parents: k, the best of all rated.
        crossover: children of two parents in a generation.
        mutation: children of one parent in a generation.
    """

    population: int = 50
    generations: int = 20
    parents: int = 10
    crossover: int = 25
    mutation: int = 25

    def check(self, strategy: str) -> None:
        """Refuse sizes that are no evolution.

        Raises:
            UsageError: names the strategy, what was given and what was expected.
        """
        least = min(self.crossover, self.mutation)
        if min(self.population, self.generations, self.parents) < 1 or least < 0 or self.bred > self.population:
            raise UsageError(
                f"{strategy} was given population={self.population}, generations={self.generations}, "
                f"parents={self.parents}, crossover={self.crossover} and mutation={self.mutation}; expected the first "
                "three from 1, the others from 0, and crossover + mutation <= population."
            )

    @property
    def bred(self) -> int:
        """Children of a generation that have parents; the rest is drawn at random."""
        return self.crossover + self.mutation


@final
@dataclass(frozen=True, slots=True)
class Moves:
    """How children come about; what they give need be neither new nor within the limits.

    Attributes:
        crossover: of two parents and a generator.
        mutation: of one parent and a generator.
    """

    crossover: Callable[[Architecture, Architecture, np.random.Generator], Architecture]
    mutation: Callable[[Architecture, np.random.Generator], Architecture]


def uniform_moves(space: SearchSpace, probability: float = 0.1) -> Moves:
    """Return the article's moves: each decision from either parent; each decision drawn anew with a probability."""
    return Moves(space.crossover, lambda parent, rng: redraw_each(space, parent, probability, rng))


def redraw_each(space: SearchSpace, parent: Architecture, probability: float, rng: np.random.Generator) -> Architecture:
    """Draw each open decision anew with `probability`, at least one; repair what follows.

    None at all would give the parent back, which no evolution rates again: to draw one then is what drawing until
    something changes comes to where there are few decisions.
    """
    open_ones = [i for i, own in enumerate(space.allowed) if len(own) > 1 and parent.decisions[i] >= 0]
    if not open_ones:
        return parent
    drawn = (rng.random(len(open_ones)) < probability).tolist()
    if not any(drawn):
        drawn[int(rng.integers(len(drawn)))] = True
    decisions = list(parent.decisions)
    for index, taken in zip(open_ones, drawn, strict=True):
        if taken:
            decisions[index] = int(rng.choice(space.allowed[index]))
    return space.repair(decisions, rng)


@final
class Population:
    """The state of an evolution. A strategy's `ask` and `tell` hand on to it, `derive` reads `ranked`.

    Args:
        problem: space and limits; nothing beyond the limits is proposed.
        sizes: of the generations.
        moves: of the strategy; without, `uniform_moves` of the space.
        loss: of an evaluation; without, that of the problem's first objective.
        tries: draws of a child that are known or beyond the limits before it is given up.
    """

    def __init__(
        self,
        problem: Problem,
        sizes: Sizes | None = None,
        moves: Moves | None = None,
        loss: Loss | None = None,
        tries: int = 100,
    ) -> None:
        """Start before the first generation."""
        self._problem, self._sizes, self._tries = problem, sizes or Sizes(), tries
        self._moves = moves or uniform_moves(problem.space)
        self._loss = loss or problem.loss
        self._queue: list[Architecture] = []
        self._waiting: set[Architecture] = set()
        self._seen: set[Architecture] = set()
        self._rated: list[tuple[float, int, Architecture]] = []
        self.generation = 0

    @property
    def ranked(self) -> list[Architecture]:
        """Everything that was rated without a failure, best first; of equals the earlier."""
        return [architecture for loss, _, architecture in sorted(self._rated, key=_order) if math.isfinite(loss)]

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose up to `n` of the generation at hand.

        Nothing while its last ones are being rated, and nothing after the last generation, or when nothing new is left
        within the limits.
        """
        proposals: list[Proposal] = []
        while len(proposals) < n:
            if not self._queue and not self._waiting and self.generation < self._sizes.generations:
                self._queue = self._next(rng)
                self.generation += 1
            if not self._queue:
                break
            self._waiting.add(self._queue[0])
            proposals.append(Proposal(self._queue.pop(0)))
        return proposals

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Take ratings."""
        for result in results:
            self._waiting.discard(result.architecture)
            self._seen.add(result.architecture)
            self._rated.append((self._loss(result), len(self._rated), result.architecture))

    def _next(self, rng: np.random.Generator) -> list[Architecture]:
        parents, sizes, space = self.ranked[: self._sizes.parents], self._sizes, self._problem.space
        made: list[Architecture] = []

        def pick() -> Architecture:
            return parents[int(rng.integers(len(parents)))]

        if parents:
            self._fill(made, sizes.crossover, lambda: self._moves.crossover(pick(), pick(), rng))
            self._fill(made, len(made) + sizes.mutation, lambda: self._moves.mutation(pick(), rng))
        self._fill(made, sizes.population, lambda: self._problem.sample(rng))
        if not made:  # where few are left, drawing misses them: look beside what is known
            near = (each for known in self.ranked for each in space.neighbours(known))
            made = [each for each in dict.fromkeys(near) if self._is_new(each)][: sizes.population]
            self._seen.update(made)
        return made

    def _fill(self, made: list[Architecture], count: int, draw: Callable[[], Architecture]) -> None:
        """Add new children until there are `count`, or as many draws in a row as `tries` gave nothing new."""
        missed = 0
        while len(made) < count and missed < self._tries:
            child = draw()
            if self._is_new(child):
                self._seen.add(child)
                made.append(child)
                missed = 0
            else:
                missed += 1

    def _is_new(self, architecture: Architecture) -> bool:
        return architecture not in self._seen and self._problem.feasible(architecture)


def _order(rated: tuple[float, int, Architecture]) -> tuple[float, int]:
    loss, number, _ = rated
    return (math.inf if math.isnan(loss) else loss), number
