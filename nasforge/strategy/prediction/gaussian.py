"""An ensemble of Gaussian processes over architectures: a predictor for some hundred noisy evaluations.

The members differ in how far an evaluation reaches, how much of the signal the costs and scores carry, and how much
of what is seen is noise; they are the likeliest of a grid, given the data. Feedback from one training run is noisy,
and a predictor that believes in noise sends a search after lucky runs: here the noise is estimated with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Final, final

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from nasforge.strategy.prediction.embedding import Rows, squared_distances

LENGTHS: Final = (0.2, 0.4, 0.8, 1.6)
"""Length scales, as multiples of the mean squared distance of the data."""
SHARES: Final = (0.0, 0.3, 0.6)
"""Shares of the signal's variance that costs and scores explain on their own."""
NOISES: Final = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Variances of the noise, as multiples of the signal's."""
_JITTER: Final = 1e-8


@final
@dataclass(frozen=True, eq=False)
class Points:
    """Architectures as a predictor sees them: `decisions` embedded, (n, d), and `extras` standardised, (n, e)."""

    decisions: Rows
    extras: Rows

    def __len__(self) -> int:
        """Return the number of architectures."""
        return len(self.decisions)


@final
@dataclass(frozen=True, slots=True)
class Setting:
    """Hyper-parameters of one member, see `LENGTHS`, `SHARES` and `NOISES`; `weight` is its share of the ensemble."""

    length: float
    share: float
    noise: float
    weight: float = 1.0


@final
@dataclass(frozen=True, eq=False)
class Distances:
    """Squared distances between two sets of points, shared by all members; `extras` is None without extras."""

    decisions: Rows
    extras: Rows | None

    @classmethod
    def between(cls, first: Points, second: Points) -> Distances:
        """Measure; extras count on average, so that their number does not matter."""
        count = first.extras.shape[1]
        extras = squared_distances(first.extras, second.extras) / count if count else None
        return cls(squared_distances(first.decisions, second.decisions), extras)

    @cached_property
    def _beside(self) -> Rows | None:
        """The part of the covariances that all members have in common."""
        return None if self.extras is None else np.exp(-0.5 * self.extras)

    def kernel(self, setting: Setting, scale: float) -> Rows:
        """Return the covariances: (1 - share) exp(-d / (length scale)) + share exp(-extras / 2), 1 at distance 0."""
        near = np.asarray(self.decisions / (-setting.length * scale))
        np.exp(near, out=near)
        if self._beside is None or setting.share == 0:
            return near
        near *= 1.0 - setting.share
        near += setting.share * self._beside
        return near


@final
class Posterior:
    """One member, conditioned on data.

    Args:
        points: n architectures.
        targets: (n,), of which more is better.
        setting: the hyper-parameters.
        scale: what length scales multiply.
        distances: between the points, where they are known already.
    """

    def __init__(
        self, points: Points, targets: Rows, setting: Setting, scale: float, distances: Distances | None = None
    ) -> None:
        """Factorise the covariances; the mean is the generalised least-squares one, the variance the likeliest."""
        self.points, self.setting, self.scale = points, setting, scale
        distances = distances or Distances.between(points, points)
        covariance = distances.kernel(setting, scale)
        noisy = covariance.copy()
        noisy.flat[:: len(points) + 1] += setting.noise + _JITTER
        self._factor = cholesky(noisy, lower=True, overwrite_a=True, check_finite=False)
        right = np.stack([np.ones(len(points)), targets], axis=1)
        ones, white = solve_triangular(self._factor, right, lower=True, check_finite=False).T
        self.mean = float(ones @ white / (ones @ ones))
        rest = white - self.mean * ones
        self.variance = max(float(rest @ rest) / len(points), 1e-12)
        self._weights = cho_solve((self._factor, True), targets - self.mean, check_finite=False)
        self.fitted = np.asarray(self.mean + covariance @ self._weights)

    @property
    def log_likelihood(self) -> float:
        """The logarithm of the data's likelihood, up to a constant."""
        return -0.5 * len(self.points) * float(np.log(self.variance)) - float(np.log(np.diag(self._factor)).sum())

    def predict(self, points: Points, distances: Distances | None = None) -> tuple[Rows, Rows]:
        """Return means and standard deviations of what is behind the noise, (m,) each."""
        cross = (distances or Distances.between(points, self.points)).kernel(self.setting, self.scale)
        explained = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        spread = np.maximum(1.0 - np.einsum("ij,ij->j", explained, explained), 1e-12)
        return np.asarray(self.mean + cross @ self._weights), np.sqrt(self.variance * spread)

    def sample(self, points: Points, rng: np.random.Generator) -> Rows:
        """Draw a function from the posterior, at m points together, (m,)."""
        cross = Distances.between(points, self.points).kernel(self.setting, self.scale)
        explained = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)
        joint = Distances.between(points, points).kernel(self.setting, self.scale) - explained.T @ explained
        root = cholesky(joint + 1e-6 * np.eye(len(points)), lower=True)
        drawn = root @ rng.standard_normal(len(points))
        return np.asarray(self.mean + cross @ self._weights + np.sqrt(self.variance) * drawn)


def scale_of(points: Points) -> float:
    """Return the mean squared distance of different points, which length scales multiply."""
    squared = squared_distances(points.decisions, points.decisions)
    return max(float(squared.sum()) / max(len(points) * (len(points) - 1), 1), 1e-6)


def fitted(points: Points, targets: Rows, settings: Sequence[Setting]) -> list[Posterior]:
    """Return the members of an ensemble, conditioned on data: n points and targets, (n,)."""
    distances, scale = Distances.between(points, points), scale_of(points)
    return [Posterior(points, targets, setting, scale, distances) for setting in settings]


def likeliest(points: Points, targets: Rows, size: int) -> tuple[Setting, ...]:
    """Return the `size` settings of the grid under which the data are likeliest, weighted by their likelihoods.

    Args:
        points: n architectures.
        targets: (n,).
        size: of the ensemble.
    """
    distances, scale = Distances.between(points, points), scale_of(points)
    shares: Sequence[float] = SHARES if points.extras.shape[1] else (0.0,)
    grid = [Setting(*values) for values in product(LENGTHS, shares, NOISES)]
    found = [(Posterior(points, targets, setting, scale, distances).log_likelihood, setting) for setting in grid]
    best = sorted(found, key=lambda pair: -pair[0])[:size]
    weights = np.exp([likelihood - best[0][0] for likelihood, _ in best])
    return tuple(
        Setting(setting.length, setting.share, setting.noise, float(weight))
        for (_, setting), weight in zip(best, weights / weights.sum(), strict=True)
    )
