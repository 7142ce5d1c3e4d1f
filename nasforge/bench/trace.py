"""What one search on a suite came to: how good its choice was, and when it changed its mind.

Between two changes nothing changes, so a search of hundreds of evaluations is kept in a few numbers.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final


@final
@dataclass(frozen=True, slots=True)
class Step:
    """What holds from an evaluation on.

    Attributes:
        evaluations: told by then, this one included.
        seconds: of training by then, in the table's account.
        truth: of the architecture that the search would choose; None before any was evaluated.
        volume: share of the hypervolume of the table's own front; None with one objective.
    """

    evaluations: int
    seconds: float
    truth: float | None
    volume: float | None = None


@final
@dataclass(frozen=True, slots=True)
class Trace:
    """One search.

    Attributes:
        steps: in order; the first is at nothing.
        evaluations: told, failed and repeated ones among them.
        seconds: of training, in the table's account.
        distinct: evaluations that were no repetition of an earlier one.
        partial: evaluations of less than the full fidelity.
        failures: evaluations that failed.
        first_failure: why the first of them did.
        exhausted: whether the strategy proposed nothing more before its budget was spent.
        chosen: decisions of the architecture chosen at the end.
    """

    steps: tuple[Step, ...]
    evaluations: int
    seconds: float
    distinct: int
    partial: int = 0
    failures: int = 0
    first_failure: str | None = None
    exhausted: bool = False
    chosen: tuple[int, ...] | None = None

    def at_evaluations(self, budget: float) -> Step:
        """Return what held after a number of evaluations; of a search that ended sooner, what it ended with."""
        return _at(self.steps, [each.evaluations for each in self.steps], budget)

    def at_seconds(self, budget: float) -> Step:
        """Return what held after so many seconds of training."""
        return _at(self.steps, [each.seconds for each in self.steps], budget)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        rows = [[each.evaluations, each.seconds, each.truth, each.volume] for each in self.steps]
        return {**asdict(self), "steps": rows}

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Trace:
        """Read what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        values = dict(given)
        steps = tuple(Step(int(row[0]), float(row[1]), *row[2:4]) for row in values.pop("steps"))
        chosen = values.pop("chosen")
        if not steps or not math.isfinite(float(values["seconds"])):
            raise ValueError("no step")
        return cls(steps, chosen=None if chosen is None else tuple(map(int, chosen)), **values)


def _at(steps: Sequence[Step], places: Sequence[float], budget: float) -> Step:
    return steps[max(0, bisect.bisect_right(places, budget) - 1)]
