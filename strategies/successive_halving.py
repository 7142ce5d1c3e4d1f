"""`successive_halving`: look at many a little and at the best of them longer (Jamieson & Talwalkar 2016; ASHA, 2020).

rungs: fidelities r_0 < r_1 < ... < R, each eta times the one before, or the nearest below that the evaluator knows
repeat: from the top rung down: one of the best 1/eta of a rung that was not promoted is evaluated at the next
        where there is none, a random architecture is evaluated at r_0
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np

from nasforge.errors import IncompatibleError, UsageError
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy

Standing = tuple[float, int, Architecture]
"""Loss, place in the order told, architecture: the less the better, and no two are equal."""


@final
@dataclass(slots=True)
class Rung:
    """What was told at one fidelity.

    Attributes:
        fidelity: of its evaluations.
        begun: how many were proposed.
        told: how many ended, failed ones among them: these are the worst, and never promoted.
        staying: those that were not promoted, best first.
        promoted: those that were, best first.
    """

    fidelity: float
    begun: int = 0
    told: int = 0
    staying: list[Standing] = field(default_factory=list)
    promoted: list[Standing] = field(default_factory=list)

    def hear(self, architecture: Architecture, loss: float) -> None:
        """Take in a result."""
        if math.isfinite(loss):
            bisect.insort(self.staying, (loss, self.told, architecture))
        self.told += 1

    def promotable(self, quota: int) -> bool:
        """Say whether one of the best `quota` was not promoted: if any, then the best of those that stayed."""
        return bool(self.staying) and bisect.bisect_left(self.promoted, self.staying[0]) < quota

    def promote(self) -> Architecture:
        """Promote the best that stayed."""
        best = self.staying.pop(0)
        bisect.insort(self.promoted, best)
        return best[2]


@final
@dataclass
class SuccessiveHalving(Strategy):
    """Successive halving over the first objective; a budget of N evaluations is N proposals, at whatever fidelity.

    Every evaluation starts anew: nothing is kept of the training at the rung below. Where the budget is too small for
    the top rung to be reached, the lowest rungs are left out.

    Attributes:
        eta: the best 1 / eta of a rung are promoted; fidelity grows by as much from rung to rung.
        rungs: fidelities at most, the full one among them.
        minimum: fidelity of the lowest rung at least.
        rule: `asynchronous` promotes as soon as a rung allows (Li et al., 2020, algorithm 2), so nobody waits;
            `synchronous` waits for a rung to be complete, eta^(rungs - 1) architectures in the lowest.
        tries: draws for one new architecture before the space counts as exhausted.
    """

    eta: int = 3
    rungs: int = 3
    minimum: float = 0.0
    rule: Literal["asynchronous", "synchronous"] = "asynchronous"
    tries: int = 200
    _levels: list[Rung] = field(default_factory=list, init=False, repr=False)
    _underway: dict[Architecture, Rung] = field(default_factory=dict, init=False, repr=False)
    _seen: set[Architecture] = field(default_factory=set, init=False, repr=False)
    _width: float = field(default=math.inf, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        known = self.rule in ("asynchronous", "synchronous")
        if self.eta < 2 or self.rungs < 2 or self.tries < 1 or not self.minimum >= 0 or not known:
            raise UsageError(
                f"successive_halving was given eta={self.eta}, rungs={self.rungs}, minimum={self.minimum:g}, "
                f"rule={self.rule!r} and tries={self.tries}; expected eta and rungs of at least 2, a minimum of at "
                "least 0, asynchronous or synchronous, and tries of at least 1."
            )

    def setup(self, problem: Problem) -> None:
        """Start with empty rungs.

        Raises:
            IncompatibleError: evaluations have no second fidelity.
        """
        super().setup(problem)
        self._fidelities = self._reachable(self._fidelities_of(problem), problem.budget)
        self._begin()
        self._seen = set()

    def _fidelities_of(self, problem: Problem) -> list[float]:
        """Return the fidelities of the rungs, in order."""
        found = [problem.full_fidelity]
        while len(found) < self.rungs:
            wanted = found[0] / self.eta
            if problem.fidelities is not None:
                wanted = max((each for each in problem.fidelities if each <= wanted), default=0.0)
            if wanted <= 0 or wanted < self.minimum:
                break
            found.insert(0, wanted)
        if len(found) < 2:
            raise IncompatibleError(
                f"strategy 'successive_halving' needs two fidelities, one at most 1/{self.eta} of the other and at "
                f"least {self.minimum:g}, and {problem.evaluated_by} in space '{problem.space.name}' has "
                f"{_known(problem)}; take other evaluations, or another strategy."
            )
        return found

    def _reachable(self, fidelities: list[float], budget: int | None) -> list[float]:
        """Leave out the lowest rungs that keep a budget from the top: it takes 1 + eta + ... + eta^(rungs - 1)."""
        while budget is not None and len(fidelities) > 1 and budget < sum(self.eta**n for n in range(len(fidelities))):
            fidelities = fidelities[1:]
        return fidelities

    def _begin(self) -> None:
        self._levels = [Rung(fidelity) for fidelity in self._fidelities]
        self._underway = {}
        self._width = math.inf if self.rule == "asynchronous" else self.eta ** (len(self._levels) - 1)

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose promotions, then new architectures; nothing where the rule waits for what is under way."""
        proposals: list[Proposal] = []
        while len(proposals) < n:
            found = self._next(rng)
            if found is None:
                break
            architecture, rung = found
            rung.begun += 1
            self._underway[architecture] = rung
            proposals.append(Proposal(architecture, rung.fidelity))
        return proposals

    def _next(self, rng: np.random.Generator) -> tuple[Architecture, Rung] | None:
        while True:
            for place in range(len(self._levels) - 1, 0, -1):
                if self._promotable(place - 1):
                    return self._levels[place - 1].promote(), self._levels[place]
            if self._levels[0].begun < self._width:
                drawn = self._draw(rng)
                if drawn is not None:
                    return drawn, self._levels[0]
                self._width = self._levels[0].begun  # the space is exhausted: its last bracket is as wide as it is
                continue
            if not self._levels[0].begun or not self._complete(len(self._levels) - 1):
                return None
            self._begin()

    def _promotable(self, place: int) -> bool:
        rung = self._levels[place]
        waits = self.rule == "synchronous" and not self._complete(place)
        return not waits and rung.promotable(rung.told // self.eta)

    def _complete(self, place: int) -> bool:
        """Say whether nothing more will be told at a rung (of this bracket, with the synchronous rule)."""
        rung = self._levels[place]
        if rung.told < rung.begun:
            return False
        if place == 0:
            return rung.begun >= self._width
        return self._complete(place - 1) and not self._promotable(place - 1)

    def _draw(self, rng: np.random.Generator) -> Architecture | None:
        for _ in range(self.tries):
            drawn = self.problem.sample(rng)
            if drawn not in self._seen:
                self._seen.add(drawn)
                return drawn
        return None

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Take results in at the rungs they were proposed for."""
        for result in results:
            rung = self._underway.pop(result.architecture, None)
            if rung is not None:
                rung.hear(result.architecture, self.problem.loss(result))


def _known(problem: Problem) -> str:
    """Return which fidelities there are."""
    if problem.fidelities is None:
        return f"those up to {problem.full_fidelity:g}"
    return ", ".join(f"{each:g}" for each in problem.fidelities) if len(problem.fidelities) > 1 else "one only"
