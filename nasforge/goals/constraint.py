"""An upper bound on a metric that holds in every family of strategies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

FLAGS: Final = {"latency_ms_predicted": "--max-latency", "params": "--max-params", "macs": "--max-macs"}


@final
@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric` must not exceed `bound` (same unit as the metric's name says)."""

    metric: str
    bound: float

    def __str__(self) -> str:
        """Return the limit in the words it was given in, such as `--max-latency 5 ms`."""
        flag = FLAGS.get(self.metric)
        return f"{self.metric} <= {self.bound:g}" if flag is None else f"{flag} {self.told(self.bound)}"

    def told(self, value: float) -> str:
        """Return a value of the metric with its unit.

        >>> Constraint("latency_ms_predicted", 5.0).told(0.04812), Constraint("params", 3.0).told(1650123)
        ('0.04812 ms', '1,650,123')
        """
        if "_ms" in self.metric:
            return f"{value:.4g} ms" if value < 1000 else f"{value:,.0f} ms"
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"

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
