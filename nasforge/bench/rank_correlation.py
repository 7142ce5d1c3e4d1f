"""Rank correlations of several columns at once, also of many bootstrap resamples at once.

A resample is a weight for each architecture, so nothing is sorted again: the mid-rank of a value is a weighted sum of
signs of differences, and so is Kendall's count of pairs. Both coefficients of all pairs of columns then come from the
same matrices of signs, with ties as scipy counts them (mid-ranks; tau-b).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from nasforge.rng import generator

Array = npt.NDArray[np.float64]
ROWS: Final = 256
"""Architectures whose signs are held at a time."""


def rank_correlations(columns: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return Spearman's and Kendall's coefficients of all pairs of columns.

    Args:
        columns: (n, columns), without NaN; only their order matters.
        weights: (resamples, n), how often each row is in a resample; one of each without.

    Returns:
        Spearman's rho and Kendall's tau-b, each (resamples, columns, columns); NaN where a column is constant.
    """
    ranked = np.apply_along_axis(rankdata, 0, np.asarray(columns, dtype=float))
    count, width = ranked.shape
    given = np.ones((1, count)) if weights is None else np.asarray(weights, dtype=float)
    products = np.zeros((2, len(given), width, width))
    for begin in range(0, count, ROWS):
        rows = slice(begin, begin + ROWS)
        signs = [np.sign(ranked[rows, None, place] - ranked[None, :, place]) for place in range(width)]
        ranks = [given @ each.T for each in signs]
        for first in range(width):
            for second in range(first + 1):
                pairs = given @ (signs[first] * signs[second]).T
                for place, found in enumerate((ranks[first] * ranks[second], pairs)):
                    products[place, :, first, second] += (given[:, rows] * found).sum(axis=1)
    spearman, kendall = (_normalised(each) for each in products)
    return spearman, kendall


def _normalised(lower: Array) -> Array:
    """Return the correlations of sums of products, of which the lower triangle is given."""
    full = np.maximum(np.tril(np.ones(lower.shape[1:])), 0) * lower
    full = full + np.tril(full, -1).transpose(0, 2, 1)
    sizes = np.sqrt(np.einsum("rcc->rc", full))
    scale = sizes[:, :, None] * sizes[:, None, :]
    found: Array = np.divide(full, scale, out=np.full(full.shape, np.nan), where=scale > 0)
    return np.clip(found, -1.0, 1.0)


def partial_correlation(first_second: Array, first_given: Array, second_given: Array) -> Array:
    """Return the correlation of two given a third (Yule 1907; for Kendall's tau: Kendall 1942).

    NaN where one of the two follows the third entirely, so nothing of it is left.

    >>> partial_correlation(np.array([0.5]), np.array([0.0]), np.array([0.6])).round(3).tolist()
    [0.625]
    """
    left = (1 - first_given**2) * (1 - second_given**2)
    found: Array = np.divide(
        first_second - first_given * second_given,
        np.sqrt(np.maximum(left, 0)),
        out=np.full(np.shape(first_second), np.nan),
        where=left > 1e-12,
    )
    return np.clip(found, -1.0, 1.0)


def resampled_weights(count: int, resamples: int, seed: int = 0) -> Array:
    """Return how often each of `count` rows is in each bootstrap resample, (resamples, count)."""
    drawn = generator(seed, "bootstrap").integers(0, count, (resamples, count))
    places = drawn + count * np.arange(resamples)[:, None]
    return np.bincount(places.ravel(), minlength=resamples * count).reshape(resamples, count).astype(float)
