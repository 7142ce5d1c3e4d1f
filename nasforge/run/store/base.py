"""What a store is, and the one that forgets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, final

from nasforge.strategy.base import Evaluation


class Store(Protocol):
    """Keeps evaluations in the order they were told."""

    def append(self, evaluation: Evaluation) -> None:
        """Keep one more; it outlives this process when this returns."""

    def load(self) -> list[Evaluation]:
        """Return all, in the order they were appended."""

    def close(self) -> None:
        """Let go of files and connections."""


class Trials(Protocol):
    """Keeps Optuna's finished trials of one study: what a `StudyStore` is over."""

    repaired: bool

    def append(self, trial: Any) -> None:
        """Keep one more; it outlives this process when this returns."""

    def attributes(self) -> Iterator[Mapping[str, Any]]:
        """Give the user attributes of every trial that counts, in the order they were appended."""

    def close(self) -> None:
        """Let go of files and connections."""


@final
class MemoryStore:
    """Keeps evaluations in memory only."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: list[Evaluation] = []

    def append(self, evaluation: Evaluation) -> None:
        """Keep one more."""
        self._kept.append(evaluation)

    def load(self) -> list[Evaluation]:
        """Return all."""
        return list(self._kept)

    def close(self) -> None:
        """Do nothing."""


def directions_of(objectives: Sequence[Any]) -> dict[str, str]:
    """Return the direction by metric of objectives."""
    return {objective.metric: objective.direction for objective in objectives}
