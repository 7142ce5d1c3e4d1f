"""Honest ranking: how well a rating orders architectures, beside what MACs alone would say and what noise leaves.

A rank correlation alone misleads twice: accuracy follows size in most spaces, so counting MACs ranks well too, and two
trainings of the same networks do not agree with each other. So each figure has an interval over architectures, and
comes with those of MACs and parameters, with what is left given MACs, and with the agreement of two seeds of the truth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

from nasforge.bench.rank_correlation import Array, partial_correlation, rank_correlations, resampled_weights
from nasforge.bench.regret import top_regret
from nasforge.bench.statistics import check_confidence
from nasforge.errors import UsageError

FEWEST: Final = 4
RESAMPLES: Final = 2000
RATING, MACS, PARAMS, TRUTH = "rating", "macs", "params", "truth"


@final
@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient with its bootstrap interval over architectures; None where it is undefined (all are equal)."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, exact: Array, resampled: Array, confidence: float) -> Coefficient:
        """Return a coefficient, shape (1,), with percentiles of resamples; none where over half are undefined."""
        value = float(exact[0])
        if not math.isfinite(value):
            return cls(None)
        finite = resampled[np.isfinite(resampled)]
        if 2 * len(finite) < len(resampled) or not len(finite):
            return cls(value)
        low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
        return cls(value, float(low), float(high))

    def __str__(self) -> str:
        """Return it as a table shows it.

        >>> str(Coefficient(0.5, 0.25, 0.625)), str(Coefficient(None))
        ('0.50 (0.25 to 0.62)', 'undefined')
        """
        if self.value is None:
            return "undefined"
        return f"{self.value:.2f}" + ("" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})")


@final
@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one thing orders architectures as the truth does.

    Attributes:
        spearman: Spearman's rho with the mean of the truth over seeds.
        kendall: Kendall's tau-b with it.
        spearman_given_macs: the partial correlation given MACs; None without MACs, and for MACs themselves.
        kendall_given_macs: the same of Kendall's tau.
        regret: by k: the best truth less the best truth of the k that it puts first; expected over the order of equals.
    """

    spearman: Coefficient
    kendall: Coefficient
    spearman_given_macs: Coefficient | None
    kendall_given_macs: Coefficient | None
    regret: Mapping[int, float]


@final
@dataclass(frozen=True, slots=True)
class Ceiling:
    """What the noise of the truth leaves.

    Attributes:
        seeds: of the truth.
        architectures: that have a truth by every seed; the figures are over these.
        spearman: agreement of two of them, the mean over pairs.
        kendall: the same.
        mean_spearman: of the mean over seeds with such a mean of other seeds, by Spearman and Brown's formula
            (1910): k r / (1 + (k - 1) r).
        perfect_spearman: its square root: what a rating free of noise could reach.
    """

    seeds: int
    architectures: int
    spearman: Coefficient
    kendall: Coefficient
    mean_spearman: float | None
    perfect_spearman: float | None


@final
@dataclass(frozen=True, slots=True)
class Ranking:
    """A rating against truth, honestly.

    Attributes:
        architectures: that have both a rating and a truth; all figures are over these.
        missing: architectures that lack one of them.
        agreement: of `rating`, and of `macs` and `params` where they were given.
        chance: regret of k architectures drawn at random.
        ceiling: what noise leaves; None with one seed of the truth.
        confidence: of the intervals.
    """

    architectures: int
    missing: int
    agreement: Mapping[str, Agreement]
    chance: Mapping[int, float]
    ceiling: Ceiling | None
    confidence: float

    @property
    def rating(self) -> Agreement:
        """The agreement of the rating itself."""
        return self.agreement[RATING]

    def to_json(self) -> dict[str, Any]:
        """Return plain data; an undefined coefficient is null."""
        content = asdict(self)
        return {"schema": 1, **{key: _plain(value) for key, value in content.items()}}


def honest_ranking(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    macs: npt.ArrayLike | None = None,
    params: npt.ArrayLike | None = None,
    *,
    top: Sequence[int] = (1, 5),
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Ranking:
    """Compare a rating of n architectures with their truth.

    Args:
        scores: (n,), higher is better; NaN where there is none. Infinite is fine: only the order matters.
        truth: (n,) or (n, seeds), higher is better (give minus a loss); NaN where there is none.
        macs: (n,), multiply-accumulates.
        params: (n,), parameters.
        top: the k of which the regret is asked; those above the number of architectures are left out.
        confidence: of the intervals, between 0 and 1.
        resamples: of the bootstrap over architectures; the work grows with n squared.

    Raises:
        UsageError: lengths that differ, fewer than four architectures with score and truth, or an argument out of
            its range.
    """
    _check(confidence, top, resamples)
    columns, seeds = _columns(scores, truth, macs, params)
    kept = _complete(columns)
    names = list(columns)
    values = np.column_stack(list(columns.values()))[kept]
    drawn = rank_correlations(values, resampled_weights(len(values), resamples))
    both = _Correlations(names, rank_correlations(values), drawn, confidence)
    mean_truth = values[:, names.index(TRUTH)]
    few = [k for k in top if k <= len(values)]
    return Ranking(
        len(values),
        int((~kept).sum()),
        {
            name: Agreement(*both.of(name), {k: top_regret(values[:, place], mean_truth, k) for k in few})
            for place, name in enumerate(names)
            if name != TRUTH
        },
        {k: top_regret(np.zeros(len(values)), mean_truth, k) for k in few},
        _ceiling(seeds[kept], confidence, resamples),
        confidence,
    )


def _complete(columns: Mapping[str, Array]) -> npt.NDArray[np.bool_]:
    """Return which architectures have everything, (n,).

    Raises:
        UsageError: fewer than four.
    """
    kept = np.logical_and.reduce([~np.isnan(each) for each in columns.values()])
    if kept.sum() < FEWEST:
        raise UsageError(
            f"a ranking was given {int(kept.sum())} architectures with {', '.join(columns)}, of {len(kept)}; expected "
            f"at least {FEWEST}, for a rank correlation of fewer says nothing."
        )
    return np.asarray(kept, dtype=bool)


def _columns(
    scores: npt.ArrayLike, truth: npt.ArrayLike, macs: npt.ArrayLike | None, params: npt.ArrayLike | None
) -> tuple[dict[str, Array], Array]:
    """Return rating, costs and mean truth by name, and the truth of each seed, (n, seeds)."""
    seeds = np.asarray(truth, dtype=float)
    seeds = seeds[:, None] if seeds.ndim == 1 else seeds
    known = np.isfinite(seeds).sum(axis=1)
    mean = np.divide(
        np.where(np.isfinite(seeds), seeds, 0.0).sum(axis=1), known, out=np.full(len(seeds), np.nan), where=known > 0
    )
    columns = {RATING: np.asarray(scores, dtype=float)}
    for name, cost in ((MACS, macs), (PARAMS, params)):
        if cost is not None:
            columns[name] = np.asarray(cost, dtype=float)
    columns[TRUTH] = mean
    for name, column in columns.items():
        if column.shape != mean.shape:
            raise UsageError(
                f"{name} of a ranking was given in the shape {column.shape}; expected {mean.shape}, one value for each "
                "architecture of the truth."
            )
    return columns, seeds


@final
@dataclass(frozen=True, slots=True)
class _Correlations:
    """Both coefficients of all pairs of columns: exact, each (1, columns, columns), and resampled."""

    names: list[str]
    exact: tuple[Array, Array]
    drawn: tuple[Array, Array]
    confidence: float

    def of(self, name: str) -> tuple[Coefficient, Coefficient, Coefficient | None, Coefficient | None]:
        """Return Spearman, Kendall, and both given MACs, of a column with the truth."""
        own, truth = self.names.index(name), self.names.index(TRUTH)
        spearman, kendall = (
            Coefficient.of(exact[:, own, truth], drawn[:, own, truth], self.confidence)
            for exact, drawn in zip(self.exact, self.drawn, strict=True)
        )
        if MACS not in self.names or name == MACS:
            return spearman, kendall, None, None
        given = self.names.index(MACS)
        left, left_kendall = (
            Coefficient.of(_given(exact, own, truth, given), _given(drawn, own, truth, given), self.confidence)
            for exact, drawn in zip(self.exact, self.drawn, strict=True)
        )
        return spearman, kendall, left, left_kendall


def _given(found: Array, first: int, second: int, given: int) -> Array:
    return partial_correlation(found[:, first, second], found[:, first, given], found[:, second, given])


def _ceiling(seeds: Array, confidence: float, resamples: int) -> Ceiling | None:
    complete = seeds[np.isfinite(seeds).all(axis=1)]
    count = seeds.shape[1]
    if count < 2 or len(complete) < FEWEST:
        return None
    weights = resampled_weights(len(complete), resamples)
    first, second = zip(*itertools.combinations(range(count), 2), strict=True)
    spearman, kendall = (
        Coefficient.of(exact[:, first, second].mean(axis=1), drawn[:, first, second].mean(axis=1), confidence)
        for exact, drawn in zip(rank_correlations(complete), rank_correlations(complete, weights), strict=True)
    )
    of_mean = None if spearman.value is None else spearman_brown(spearman.value, count)
    return Ceiling(count, len(complete), spearman, kendall, of_mean, None if of_mean is None else math.sqrt(of_mean))


def spearman_brown(agreement: float, count: int) -> float:
    """Return the agreement of means of `count` measurements, from that of two single ones; 0 where that is below 0.

    >>> round(spearman_brown(0.6, 2), 3), spearman_brown(-0.1, 2)
    (0.75, 0.0)
    """
    return max(0.0, agreement) * count / (1 + (count - 1) * max(0.0, agreement))


def rating_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, truth: npt.ArrayLike, *, confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Coefficient:  # fmt: skip
    """Return Spearman of the first rating less that of the second, paired: over the same resampled architectures.

    Args:
        first: (n,), as for `honest_ranking`.
        second: (n,).
        truth: (n,) or (n, seeds).
        confidence: of the interval.
        resamples: of the bootstrap.

    Raises:
        UsageError: as for `honest_ranking`.
    """
    _check(confidence, (), resamples)
    columns, _ = _columns(first, truth, second, None)
    values = np.column_stack(list(columns.values()))[_complete(columns)]
    exact, drawn = rank_correlations(values)[0], rank_correlations(values, resampled_weights(len(values), resamples))[0]
    return Coefficient.of(exact[:, 0, 2] - exact[:, 1, 2], drawn[:, 0, 2] - drawn[:, 1, 2], confidence)


def _check(confidence: float, top: Sequence[int], resamples: int) -> None:
    check_confidence(confidence)
    if resamples < 1:
        raise UsageError(f"resamples was given {resamples}; expected a whole number above zero, such as {RESAMPLES}.")
    for k in top:
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UsageError(f"top was given {k!r}; expected whole numbers above zero, as in (1, 5).")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return value
