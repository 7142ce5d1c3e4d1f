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
