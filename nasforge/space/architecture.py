"""An architecture: one option for every active choice, as an immutable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Architecture:
    """A value without weights and without a reference to its space.

    Attributes:
        decisions: the option index of every choice of the root space, -1 where the choice is inactive.
        fingerprint: that of the root space; architectures of other spaces are refused by it.
    """

    decisions: tuple[int, ...]
    fingerprint: str
