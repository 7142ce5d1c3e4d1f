"""Latency predictors: a cost model over architectures, with its source and its validated error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
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
    varies = len(truth) > 2 and np.ptp(guess) > 0.0 and np.ptp(truth) > 0.0
    rank = stats.spearmanr(guess, truth).statistic if varies else float("nan")
    return {
        "n": float(len(truth)),
        "within_5_percent": float((np.abs(relative) <= 0.05).mean()),
        "within_10_percent": float((np.abs(relative) <= 0.10).mean()),
        "rmspe": float(np.sqrt((relative**2).mean())),
        "spearman": float(rank) if np.isfinite(rank) else 0.0,
    }


def intervals(found: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of the shares (Wilson) and of Spearman's coefficient (Fisher, Bonett and Wright 2000).

    Args:
        found: what `agreement` returned.
    """
    n = round(found["n"])
    shares = {}
    for name in ("within_5_percent", "within_10_percent"):
        interval = stats.binomtest(round(found[name] * n), n).proportion_ci(method="wilson")
        shares[name] = (float(interval.low), float(interval.high))
    rank = min(max(found["spearman"], -0.9999), 0.9999)
    half = 1.96 * float(np.sqrt((1.0 + rank**2 / 2.0) / max(n - 3, 1)))
    low, high = np.tanh([np.arctanh(rank) - half, np.arctanh(rank) + half])
    return {**shares, "spearman": (float(low), float(high))}
