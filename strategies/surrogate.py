"""`surrogate`: propose what an ensemble of predictors expects most of (Bayesian optimisation, noisy feedback).

evaluate a first population
repeat: fit the ensemble to all evaluations
        candidates <- neighbours of the best by its means, and random architectures; none evaluated before
        evaluate the candidate of the greatest expected improvement, or the best of a function drawn from it
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import rankdata

from nasforge.errors import UsageError
from nasforge.space import Architecture
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.strategy.prediction.features import Features
from nasforge.strategy.prediction.gaussian import Distances, Points, Posterior, Setting, fitted, likeliest

Rows = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float64]
Decisions = tuple[int, ...]


@final
@dataclass
class Surrogate(Strategy):
    """Search guided by an ensemble of Gaussian processes; no architecture is proposed twice.

    The predictor sees the decisions, the logarithms of all known costs, and the zero-cost scores. What counts as the
    best so far is the ensemble's mean, not the feedback: of many noisy evaluations the highest is a lucky one
    (expected improvement over the best posterior mean: Vazquez et al. 2008; Thompson sampling: 1933). Several
    objectives are joined by a weighted Chebyshev norm with weights drawn for each ask (ParEGO; Knowles 2006).

    Attributes:
        initial: architectures of the first population.
        first: how it is chosen: at `random`, or the best of `first_pool` random ones by zero-cost `scores`, where there
            are any.
        first_pool: random architectures of which the scores choose the first population.
        acquisition: `expected_improvement` or `thompson`.
        ensemble: members of the predictor.
        parents: evaluated architectures, the best by the predictor, whose neighbours are candidates.
        candidates: at most so many candidates, a quarter of them random.
        scored: at most so many candidates where zero-cost scores have to be computed for each.
        refit: the ensemble is chosen anew whenever there are so many times as many evaluations.
        clip: losses worse than the median by more than so many times (median - best) count as no worse than that.
        most: evaluations that the predictor sees: all up to this number, then half the latest, half the best.
        tries: draws for one new architecture before the space counts as exhausted.
    """

    initial: int = 15
    first: Literal["random", "scores"] = "scores"
    first_pool: int = 200
    acquisition: Literal["expected_improvement", "thompson"] = "expected_improvement"
    ensemble: int = 3
    parents: int = 10
    candidates: int = 400
    scored: int = 100
    refit: float = 1.3
    clip: float = 1.0
    most: int = 500
    tries: int = 200
    _rows: list[Decisions] = field(default_factory=list, init=False, repr=False)
    _losses: list[tuple[float, ...]] = field(default_factory=list, init=False, repr=False)
    _waiting: dict[Decisions, None] = field(default_factory=dict, init=False, repr=False)
    _known: set[Decisions] = field(default_factory=set, init=False, repr=False)
    _queue: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _settings: tuple[Setting, ...] = field(default=(), init=False, repr=False)
    _fitted: int = field(default=0, init=False, repr=False)
    _begun: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        counts = (self.initial, self.first_pool, self.ensemble, self.parents, self.candidates, self.scored, self.most)
        if min(counts) < 1 or self.refit <= 1 or self.clip <= 0:
            raise UsageError(
                "surrogate was given a number below 1 "
                f"(initial={self.initial}, first_pool={self.first_pool}, ensemble={self.ensemble}, "
                f"parents={self.parents}, candidates={self.candidates}, scored={self.scored}), refit={self.refit} or "
                f"clip={self.clip}; expected numbers of at least 1, refit above 1 and clip above 0."
            )
        if self.first not in ("random", "scores") or self.acquisition not in ("expected_improvement", "thompson"):
            raise UsageError(
                f"surrogate was given first={self.first!r} and acquisition={self.acquisition!r}; expected random or "
                "scores, and expected_improvement or thompson."
            )

    def setup(self, problem: Problem) -> None:
        """Start with nothing known."""
        super().setup(problem)
        self._features = Features(problem)
        self._rows, self._losses, self._waiting, self._known, self._queue = [], [], {}, set(), []
        self._settings, self._fitted, self._begun = (), 0, False

    # Proposing

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose the first population, then what the ensemble expects most of; nothing once all is evaluated."""
        if not self._begun:
            self._begun, self._queue = True, self._first_population(rng)
        proposals: list[Proposal] = []
        while len(proposals) < n:
            found = self._queue.pop() if self._queue else self._next(rng)
            if found is None:
                break
            self._known.add(found.decisions)
            self._waiting[found.decisions] = None
            proposals.append(Proposal(found))
        return proposals

    def _first_population(self, rng: np.random.Generator) -> list[Architecture]:
        """Return the first population, to be popped from the end."""
        scored = self.first == "scores" and bool(self.problem.scores)
        wanted = max(self.first_pool, self.initial) if scored else self.initial
        drawn: dict[Architecture, None] = {}
        for _ in range(10 * wanted):
            if len(drawn) == wanted:
                break
            drawn[self.problem.sample(rng)] = None
        found = list(drawn)
        if not scored:
            return found
        scores = self._features.scores(self.problem.space.integers(found))
        ranks = rankdata(np.where(np.isnan(scores), -np.inf, scores), axis=0).mean(axis=1)
        return [found[place] for place in np.argsort(ranks, kind="stable")[-self.initial :]]

    def _next(self, rng: np.random.Generator) -> Architecture | None:
        if len(self._losses) < 2:
            return self._unknown(rng)
        rows, targets = self._data(rng)
        reference = self._features.kept(rows)
        rows, points, members = self._fit(rows, targets, reference)
        best_first = np.argsort(-_mean([each.fitted for each in members], members), kind="stable")
        candidates = self._candidates(rows[best_first[: self.parents]], rng)
        if not len(candidates):
            return self._unknown(rng)
        seen = self._features.points(candidates, reference)
        if self.acquisition == "thompson":
            member = members[rng.choice(len(members), p=[each.setting.weight for each in members])]
            worth = member.sample(seen, rng)
        else:
            distances = Distances.between(seen, points)
            worth = _mean([_expected_improvement(each, seen, distances) for each in members], members)
        return self.problem.space.from_decisions(candidates[np.argsort(-worth, kind="stable")[0]])

    def _unknown(self, rng: np.random.Generator) -> Architecture | None:
        """Return a random architecture that was not proposed before; None where none is found."""
        for _ in range(self.tries):
            drawn = self.problem.sample(rng)
            if drawn.decisions not in self._known:
                return drawn
        return None

    def _candidates(self, parents: Rows, rng: np.random.Generator) -> Rows:
        """Return new feasible architectures: mutants of the parents, once and twice, and random ones."""
        space = self.problem.space
        count = min(self.candidates, self.scored) if self.problem.scores else self.candidates
        near = space.mutate_batch(np.resize(parents, (count // 2, parents.shape[1])), rng)
        further = space.mutate_batch(near[: len(near) // 2], rng)
        drawn = space.sample_batch(count - len(near) - len(further), rng)
        rows = np.unique(np.concatenate([near, further, drawn]), axis=0)
        fresh = np.asarray([tuple(row) not in self._known for row in rows.tolist()], dtype=bool)
        rows = rows[fresh]
        rows = rows[self.problem.feasible_rows(rows)]
        return np.asarray(rng.permutation(rows))

    # The predictor

    def _data(self, rng: np.random.Generator) -> tuple[Rows, Floats]:
        """Return what was told, (n, choices), and the targets, (n,): standardised, of which more is better."""
        losses = np.asarray(self._losses)
        weights = rng.dirichlet(np.ones(losses.shape[1])) if losses.shape[1] > 1 else np.ones(1)
        targets = _targets(losses, weights, self.clip)
        rows = np.asarray(self._rows, dtype=np.int16)
        if len(rows) > self.most:
            latest = np.arange(len(rows) - self.most // 2, len(rows))
            best = np.argsort(-targets[: latest[0]], kind="stable")[: self.most - len(latest)]
            kept = np.concatenate([np.sort(best), latest])
            rows, targets = rows[kept], targets[kept]
        return rows, targets

    def _fit(self, rows: Rows, targets: Floats, reference: Floats) -> tuple[Rows, Points, list[Posterior]]:
        """Return data and members; what is under way counts as evaluated with the value expected of it."""
        points = self._features.points(rows, reference)
        if not self._settings or len(self._losses) >= self.refit * self._fitted:
            self._settings, self._fitted = likeliest(points, targets, self.ensemble), len(self._losses)
        members = fitted(points, targets, self._settings)
        waiting = np.asarray(list(self._waiting), dtype=np.int16).reshape(-1, rows.shape[1])
        if not len(waiting):
            return rows, points, members
        expected = _mean([each.predict(self._features.points(waiting, reference))[0] for each in members], members)
        rows = np.concatenate([rows, waiting])
        points = self._features.points(rows, reference)
        return rows, points, fitted(points, np.concatenate([targets, expected]), self._settings)

    # Results

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Remember."""
        for result in results:
            self._waiting.pop(result.architecture.decisions, None)
            self._known.add(result.architecture.decisions)
            self._rows.append(result.architecture.decisions)
            failed = result.error is not None
            self._losses.append(
                tuple(math.inf if failed else goal.loss(result.metrics) for goal in self.problem.objectives)
            )


def _expected_improvement(member: Posterior, points: Points, distances: Distances) -> Floats:
    """Return E[max(f - best, 0)], where best is the highest mean at what was evaluated, (m,)."""
    means, deviations = member.predict(points, distances)
    gap = (means - member.fitted.max()) / deviations
    return np.asarray(deviations * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / math.sqrt(2 * math.pi)))


def _mean(values: Sequence[Floats], members: Sequence[Posterior]) -> Floats:
    """Return the mean over the ensemble, by the members' weights."""
    return np.asarray(sum(each.setting.weight * value for each, value in zip(members, values, strict=True)))


def _targets(losses: Floats, weights: Floats, clip: float) -> Floats:
    """Return standardised targets, (n,), of which more is better, from losses (n, objectives), infinite for failures.

    Several objectives are scaled to 0..1 and joined by the augmented Chebyshev norm of ParEGO (equation 2, rho 0.05).
    What is worse than the median by more than `clip` times (median - best), failures too, is clipped.
    """
    works = np.isfinite(losses).all(axis=1)
    if not works.any():
        return np.zeros(len(losses))
    seen = losses[works]
    if losses.shape[1] > 1:
        span = seen.max(axis=0) - seen.min(axis=0)
        scaled = weights * (seen - seen.min(axis=0)) / np.where(span > 0, span, 1.0)
        joined = scaled.max(axis=1) + 0.05 * scaled.sum(axis=1)
    else:
        joined = seen[:, 0]
    middle = float(np.median(joined))
    worst = middle + clip * (middle - float(joined.min()))
    values = np.full(len(losses), worst)
    values[works] = np.minimum(joined, worst)
    spread = float(values.std())
    return np.asarray((values.mean() - values) / spread if spread > 0 else np.zeros(len(values)))
