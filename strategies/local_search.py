"""`local_search`: move to a better neighbour until there is none, then start again elsewhere (White et al., 2021).

current <- best of k random architectures
repeat: evaluate the neighbours of current; move to the best of them, if it is better, else start again
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np

from nasforge.errors import UsageError
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy


@final
@dataclass
class LocalSearch(Strategy):
    """Local search with restarts; no architecture is proposed twice.

    With several evaluations at a time, slots stay empty while the last neighbours are under way: where to go is not
    known before. White, Nolen, Savani: Exploring the Loss Landscape in Neural Architecture Search, 2021, algorithm 1.

    Attributes:
        initial: k, random architectures of which the best is a start.
        move: to the `best` of all neighbours, or to the `first` that is better than the current architecture.
        tries: draws for one new architecture to start from before the space counts as exhausted.
    """

    initial: int = 10
    move: Literal["best", "first"] = "best"
    tries: int = 200
    _losses: dict[Architecture, float] = field(default_factory=dict, init=False, repr=False)
    _waiting: set[Architecture] = field(default_factory=set, init=False, repr=False)
    _queue: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _starts: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _current: Architecture | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.initial < 1 or self.tries < 1 or self.move not in ("best", "first"):
            raise UsageError(
                f"local_search was given initial={self.initial}, tries={self.tries} and move={self.move!r}; "
                "expected numbers of at least 1, and best or first."
            )

    def setup(self, problem: Problem) -> None:
        """Start with nothing known."""
        super().setup(problem)
        self._losses, self._waiting, self._queue, self._starts, self._current = {}, set(), [], [], None

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose starts, or neighbours in random order; nothing while the step depends on what is under way."""
        proposals: list[Proposal] = []
        while len(proposals) < n:
            found = self._next(rng)
            if found is None:
                break
            self._waiting.add(found)
            proposals.append(Proposal(found))
        return proposals

    def _next(self, rng: np.random.Generator) -> Architecture | None:
        while not self._queue:
            if self._current is None and len(self._starts) < self.initial:
                drawn = self._draw(rng)
                if drawn is not None:
                    self._starts.append(drawn)
                    return drawn
            if self._waiting or not self._step():
                return None
            self._queue = self._unknown_neighbours(rng)
        return self._queue.pop()

    def _draw(self, rng: np.random.Generator) -> Architecture | None:
        for _ in range(self.tries):
            drawn = self.problem.sample(rng)
            if drawn not in self._losses and drawn not in self._waiting:
                return drawn
        return None

    def _step(self) -> bool:
        """Take the start, move, or drop a local optimum; False where nothing is left to start from."""
        if self._current is None:
            if not self._starts:
                return False
            self._current, self._starts = min(self._starts, key=self._loss), []
            return True
        best = min(self.problem.space.neighbours(self._current), key=self._loss, default=self._current)
        self._current = best if self._loss(best) < self._loss(self._current) else None
        return True

    def _unknown_neighbours(self, rng: np.random.Generator) -> list[Architecture]:
        if self._current is None:
            return []
        near = dict.fromkeys(self.problem.space.neighbours(self._current))
        unknown = [each for each in near if each not in self._losses and self.problem.feasible(each)]
        return [unknown[place] for place in rng.permutation(len(unknown))]

    def _loss(self, architecture: Architecture) -> float:
        return self._losses.get(architecture, math.inf)

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Remember; with `move=first`, a better architecture ends the look at the other neighbours."""
        for result in results:
            self._waiting.discard(result.architecture)
            self._losses[result.architecture] = self.problem.loss(result)
            improves = self._current is not None and self._loss(result.architecture) < self._loss(self._current)
            if self.move == "first" and improves:
                self._queue = []
