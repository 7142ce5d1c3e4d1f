"""An upper bound on a metric that holds in every family of strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric` must not exceed `bound` (same unit as the metric's name says)."""

    metric: str
    bound: float

    def holds(self, metrics: Mapping[str, float]) -> bool:
        """Say whether the bound is met; a missing or NaN metric does not meet it."""
        value = metrics.get(self.metric, math.nan)
        return value <= self.bound

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Return by which share of the bound the metric exceeds it: 0 where it holds, infinity where it is unknown."""
        value = metrics.get(self.metric, math.inf)
        if math.isnan(value):
            return math.inf
        return max(0.0, (value - self.bound) / max(self.bound, 1e-12))
