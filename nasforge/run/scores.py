"""The settings `scores` and `filter`, as plain data: which zero-cost scores a strategy may ask for and must reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from nasforge.errors import UsageError
from nasforge.run.budget import plain_number

LEAST_SHARE: Final = 0.01


@final
@dataclass(frozen=True, slots=True)
class Filter:
    """Look only at the best `share` of architectures, by a score: `naswot:0.5`."""

    score: str
    share: float

    @classmethod
    def read(cls, given: Any) -> Filter | None:
        """Read `SCORE:SHARE`; None stays None.

        Raises:
            UsageError: another form, or a share that is none.
        """
        if given is None:
            return None
        score, _, share = str(given).partition(":")
        try:
            kept = float(share)
        except ValueError:
            kept = math.nan
        if not isinstance(given, str) or not score or not LEAST_SHARE <= kept < 1:
            raise UsageError(
                f"filter was given {given!r}; expected SCORE:SHARE with a share from {LEAST_SHARE} to below 1, such as "
                "naswot:0.5 for the better half."
            )
        return cls(score, kept)

    def __str__(self) -> str:
        return f"{self.score}:{plain_number(self.share)}"


def read_scores(given: Any) -> tuple[str, ...]:
    """Read names, as a list or as a text with commas; repeated ones count once.

    Raises:
        UsageError: another value.
    """
    listed = given.split(",") if isinstance(given, str) else given
    if listed is None:
        return ()
    if not isinstance(listed, Sequence) or not all(isinstance(each, str) and each.strip() for each in listed):
        raise UsageError(f"scores was given {given!r}; expected names of scores, such as naswot,synflow.")
    return tuple(dict.fromkeys(each.strip() for each in listed))
