"""Latency predictors: a cost model over architectures, with its source and its validated error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt
from scipy import stats

from nasforge.hardware.cost import Cost


@final
@dataclass(frozen=True)
class LatencyPredictor:
    """Predicted latency of any architecture of one space on one device.

    Attributes:
        cost: the model, in milliseconds.
        source: one line that says where its numbers come from; shown wherever they are.
        profile: name of the profile or model.
        validated: held-out error, as `agreement` returns it; empty where nothing was held out.
        details: more provenance, plain data.
    """

    cost: Cost
    source: str
    profile: str
    validated: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


def agreement(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Compare predictions with measurements.

    Returns:
        `n`, the shares `within_5_percent` and `within_10_percent`, `rmspe` (root mean squared relative error) and
        `spearman`.
    """
    guess, truth = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    relative = guess / truth - 1.0
    rank = stats.spearmanr(guess, truth).statistic if len(truth) > 2 else float("nan")
    return {
        "n": float(len(truth)),
        "within_5_percent": float((np.abs(relative) <= 0.05).mean()),
        "within_10_percent": float((np.abs(relative) <= 0.10).mean()),
        "rmspe": float(np.sqrt((relative**2).mean())),
        "spearman": float(rank) if np.isfinite(rank) else 0.0,
    }


def fit_correction(sums: npt.ArrayLike, counts: npt.ArrayLike, measured: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Fit measured ~ a + b * sum + c * blocks by least squares of the relative error.

    Args:
        sums: (n,) sums of block latencies.
        counts: (n,) numbers of blocks.
        measured: (n,) latencies of whole networks.

    Returns:
        (a, b, c); with fewer than six networks (0, b, 0).
    """
    x, n, y = (np.asarray(values, dtype=float) for values in (sums, counts, measured))
    if len(y) < 6:
        return np.asarray([0.0, float((y / x).mean()) if len(y) else 1.0, 0.0])
    rows = np.stack([np.ones_like(x), x, n], axis=1) / y[:, None]
    ridge = np.diag([1e-6, 0.0, 1e-6])
    solution: npt.NDArray[np.float64] = np.linalg.solve(rows.T @ rows + ridge, rows.T @ np.ones_like(y))
    return solution
