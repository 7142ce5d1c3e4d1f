"""Which of several models answers for an architecture, so that no model answers for all (balanced mixtures).

Responsibilities are a softmax over models of what each has been worth. A model that is better everywhere would take
every architecture; dividing by how much each model has, and normalising each row again, until all have equally much,
leaves who is better at what (iterative proportional fitting; Sinkhorn & Knopp 1967). In logarithms the divisions of
all rounds are one subtraction, which is remembered and applied to scores that move on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TOLERANCE: Final = 1e-4
"""Divergence from equal shares at which balancing ends, in nats."""
ROUNDS: Final = 1000


def responsibilities(scores: npt.ArrayLike, temperature: float, divisors: npt.ArrayLike | float = 0.0) -> Array:
    """Return P(model | architecture), shape (..., models): the softmax of temperature x scores - divisors.

    Args:
        scores: (..., models).
        temperature: an inverse one: 0 makes all models equal, more sharpens.
        divisors: (models,), logarithms of what each model's share is divided by; see `balanced`.

    >>> responsibilities([0.5, 0.6], 10.0).round(3).tolist()
    [0.269, 0.731]
    """
    logits = temperature * np.asarray(scores, dtype=float) - np.asarray(divisors, dtype=float)
    raised: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def imbalance(marginal: npt.ArrayLike) -> float:
    """Return the Kullback-Leibler divergence of shares of models, (models,), from equal ones; log(models) at most."""
    shares = np.asarray(marginal, dtype=float)
    held = shares[shares > 0]
    return float((held * np.log(held * len(shares))).sum())


def balanced(scores: npt.ArrayLike, temperature: float, tolerance: float = TOLERANCE) -> tuple[Array, int]:
    """Return the divisors after which all models answer for equally much, and the number of rounds that took.

    Args:
        scores: (architectures, models).
        temperature: as in `responsibilities`.
        tolerance: the `imbalance` that may be left.
    """
    values: Any = np.asarray(scores, dtype=float)
    divisors: Array = np.zeros(values.shape[1])
    for done in range(ROUNDS):
        marginal = responsibilities(values, temperature, divisors).mean(axis=0)
        if abs(imbalance(marginal)) <= tolerance:
            return divisors, done
        divisors = divisors + np.log(np.maximum(marginal, np.finfo(float).tiny))
    return divisors, ROUNDS
