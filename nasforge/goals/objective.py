"""A metric to improve, with its direction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

from nasforge.errors import UsageError, unknown_name_sentence

DIRECTIONS: Final = ("maximize", "minimize")


OBJECTIVES: Final = {
    "accuracy": "accuracy_valid",
    "int8_accuracy": "accuracy_int8_valid",
    "nll": "nll_valid",
}
"""What may be asked for, and the metric of evaluations that it is; all are measured on valid."""
_MINIMISED: Final = ("nll_valid",)


@final
@dataclass(frozen=True, slots=True)
class Objective:
    """Improve `metric` in `direction`; `value` turns it into a number of which less is better."""

    metric: str
    direction: Literal["maximize", "minimize"] = "maximize"

    def __post_init__(self) -> None:
        """Check both."""
        if not isinstance(self.metric, str) or not self.metric:
            raise UsageError(f"an objective was given the metric {self.metric!r}; expected a name.")
        if self.direction not in DIRECTIONS:
            raise UsageError(
                f"objective '{self.metric}' was given the direction {self.direction!r}; expected maximize or minimize."
            )

    def loss(self, metrics: Mapping[str, float]) -> float:
        """Return the metric as a number of which less is better; infinity where it is missing or not finite."""
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return math.inf
        return -value if self.direction == "maximize" else value


def objective_of(name: str) -> Objective:
    """Return the objective of a name, or of the metric's own name.

    >>> objective_of("int8_accuracy").metric, objective_of("nll_valid").direction
    ('accuracy_int8_valid', 'minimize')

    Raises:
        UsageError: another name; the nearest is named.
    """
    metric = OBJECTIVES.get(name, name)
    if metric not in OBJECTIVES.values():
        raise UsageError(unknown_name_sentence("objective", name, OBJECTIVES))
    return Objective(metric, "minimize" if metric in _MINIMISED else "maximize")
