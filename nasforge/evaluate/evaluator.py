"""What an evaluator is: something that says what an architecture is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from torch import nn

from nasforge.errors import DivergedError
from nasforge.space import Architecture


class Evaluator(Protocol):
    """Evaluates architectures; the same arguments give the same metrics."""

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return metrics by name, units in the names."""


class Judge(Protocol):
    """Says more of a trained network than an evaluator does of itself."""

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return further metrics on valid, units in the names; the network stays as it is."""


def check_finite(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """Return metrics of a network if all are finite.

    Raises:
        DivergedError: names the first that is not.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} of the trained network is {value}; lower the learning rate.")
    return metrics
