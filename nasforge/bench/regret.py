"""Regret of a choice by scores: how much better the best is than the best of those that the scores put first."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import comb


def top_regret(scores: npt.ArrayLike, truth: npt.ArrayLike, k: int) -> float:
    """Return the best truth less the best truth of the k highest scores, expected over the order of equal scores.

    >>> top_regret([3, 2, 1], [0.5, 0.9, 0.1], 1), top_regret([1, 1, 1], [0.5, 0.9, 0.1], 1)
    (0.4, 0.4)
    """
    given, values = np.asarray(scores, dtype=float), np.asarray(truth, dtype=float)
    edge = np.sort(given)[::-1][k - 1]
    above, equal = values[given > edge], np.sort(values[given == edge])[::-1]
    slots = k - len(above)
    floor = above.max() if len(above) else -math.inf
    order = np.arange(1, len(equal) + 1)
    chances = comb(len(equal) - order, slots - 1) / comb(len(equal), slots)
    possible = chances > 0
    expected = float((chances[possible] * np.maximum(equal[possible], floor)).sum())
    return round(float(values.max()) - expected, 12)
