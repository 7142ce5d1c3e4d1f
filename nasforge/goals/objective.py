"""A metric to improve, with its direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final


@final
@dataclass(frozen=True, slots=True)
class Objective:
    """Improve `metric` in `direction`; `value` turns it into a number of which less is better."""

    metric: str
    direction: Literal["maximize", "minimize"] = "maximize"

    def loss(self, metrics: Mapping[str, float]) -> float:
        """Return the metric as a number of which less is better; infinity where it is missing or not finite."""
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.direction == "maximize" else value
