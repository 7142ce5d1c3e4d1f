"""The order in which a joint run computes: depth first over the architectures, and when each value is read.

Architectures that share a beginning follow each other, so it is fresh in memory when the second comes, and is dropped
after the last that reads it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import final

from nasforge.build.joint_graph import Course
from nasforge.build.joint_units import Unit


@final
class Schedule:
    """What is computed anew for each architecture, and the times at which values are read.

    Args:
        courses: of the architectures.
        units: by number.
        wanted: which numbers are computed at all.
        results: which numbers are read when an architecture is done.

    Attributes:
        visits: the place of an architecture, and what is new there.
    """

    def __init__(
        self,
        courses: Sequence[Course],
        units: Sequence[Unit | None],
        wanted: Callable[[int], bool],
        results: Callable[[Course], Sequence[int]],
    ) -> None:
        """Fix the order."""
        self.visits: list[tuple[int, tuple[int, ...]]] = []
        self._uses: list[list[int]] = [[] for _ in units]
        done: set[int] = set()
        time = 0
        for place in sorted(range(len(courses)), key=lambda place: courses[place].numbers):
            fresh = (number for number in courses[place].numbers if number not in done and wanted(number))
            new = tuple(number for number in dict.fromkeys(fresh) if units[number] is not None)
            done.update(new)
            for number in new:
                unit = units[number]
                for source in unit.reads if unit is not None else ():
                    self._uses[source].append(time)
                time += 1
            for number in results(courses[place]):
                self._uses[number].append(time)
            time += 1
            self.visits.append((place, new))

    def next_use(self, number: int, time: int) -> float:
        """Return when a value is read next after a time, infinity where it is not."""
        uses = self._uses[number]
        place = bisect_right(uses, time)
        return uses[place] if place < len(uses) else float("inf")
