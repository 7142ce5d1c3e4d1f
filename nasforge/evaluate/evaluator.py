"""What an evaluator is: something that says what an architecture is worth."""

from __future__ import annotations

from typing import Protocol

from nasforge.space import Architecture


class Evaluator(Protocol):
    """Evaluates architectures; the same arguments give the same metrics."""

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return metrics by name, units in the names."""
