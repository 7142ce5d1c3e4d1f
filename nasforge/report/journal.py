"""Reading evaluations from a run's journal without opening it as a study.

Opening a study locks, repairs and appends; a report of a folder that somebody sent must change nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from nasforge.errors import DamagedError
from nasforge.run.store import STUDY


@final
@dataclass(frozen=True, slots=True)
class Told:
    """One evaluation as the journal holds it."""

    number: int
    metrics: Mapping[str, float]
    error: str | None
    seconds: float
    fidelity: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Journal:
    """All evaluations in the order they were told, and how many lines could not be read."""

    told: tuple[Told, ...]
    unreadable: int = 0


def read_journal(folder: Path) -> Journal:
    """Read `study.log`.

    Raises:
        DamagedError: it is missing, cannot be opened, or holds no evaluation.
    """
    path = folder / STUDY
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DamagedError(f"{STUDY} cannot be read ({error.strerror}).") from error
    told: list[Told] = []
    unreadable = 0
    for line in lines:
        try:
            entry = json.loads(line)
            attributes = entry.get("user_attrs") or {}
            if "number" in attributes:
                told.append(_told(attributes))
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
            unreadable += 1
    if not told:
        raise DamagedError(f"{STUDY} holds no evaluation that can be read.")
    return Journal(tuple(told), unreadable)


def _told(attributes: Mapping[str, Any]) -> Told:
    metrics = {str(key): float(value) for key, value in attributes["metrics"].items() if value is not None}
    error = attributes["error"]
    fidelity = attributes.get("fidelity")
    return Told(
        int(attributes["number"]),
        metrics,
        None if error is None else str(error),
        float(attributes["seconds"]),
        None if fidelity is None else float(fidelity),
    )


def comparable(told: Sequence[Told]) -> tuple[Told, ...]:
    """Return those of the highest fidelity that succeeded at all: others say less of what they evaluated."""
    spent = [math.inf if each.fidelity is None else each.fidelity for each in told]
    most = max((much for much, each in zip(spent, told, strict=True) if each.error is None), default=math.inf)
    return tuple(each for much, each in zip(spent, told, strict=True) if much >= most)
