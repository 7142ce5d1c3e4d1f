"""How far a phase of training has come: by steps, by the clock, or by steps cut down to fit the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

MEASURED_STEPS: Final = 12


@final
class Pace:
    """Turns a budget into progress of phases.

    With `steps` alone, progress depends on nothing but the step, and the result on nothing but the seed.
    With `seconds` alone, it is the share of the time gone. With both, the number of steps holds as long as
    they fit: after a few measured steps of each phase the rest is cut down to what the time allows.

    Args:
        shares: relative length of each phase.
        steps: of all phases together.
        seconds: of all phases together.
    """

    def __init__(self, shares: Sequence[float], steps: int | None, seconds: float | None) -> None:
        """Divide steps and seconds by the shares; every phase gets at least one step."""
        assert steps is not None or seconds is not None
        whole = sum(shares)
        self._steps = None if steps is None else [max(1, round(steps * share / whole)) for share in shares]
        self._seconds = None if seconds is None else [seconds * share / whole for share in shares]
        self._planned = sum(self._steps or ())
        self._measured = 0.0
        self._begun: dict[int, float] = {}

    def progress(self, phase: int, step: int, elapsed: float) -> float:
        """Return the share of the phase that is done before this step; 1 and more means that it has ended."""
        begun = self._begun.setdefault(phase, elapsed)
        if self._steps is not None:
            return step / self._steps[phase]
        assert self._seconds is not None
        return 0.0 if step == 0 else (elapsed - begun) / self._seconds[phase]

    def observe(self, phase: int, step: int, seconds: float) -> None:
        """Hear how long a step took; the first of a phase, which warms up, is not counted."""
        if self._steps is None or self._seconds is None or not 0 < step <= MEASURED_STEPS:
            return
        self._measured = seconds if step == 1 else self._measured + seconds
        if step == MEASURED_STEPS:
            fitting = int(self._seconds[phase] / (self._measured / MEASURED_STEPS))
            self._steps[phase] = min(self._steps[phase], max(MEASURED_STEPS + 1, fitting))

    def steps(self) -> tuple[int, int]:
        """Return the steps of all phases as they are now, and as they were planned; none where the clock decides."""
        return sum(self._steps or ()), self._planned

    def state(self) -> dict[str, Any]:
        """Return what a resumed training needs to go on at the same pace."""
        return {"steps": self._steps, "measured": self._measured, "begun": [list(pair) for pair in self._begun.items()]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self._steps = None if state["steps"] is None else [int(count) for count in state["steps"]]
        self._measured = float(state["measured"])
        self._begun = {int(phase): float(begun) for phase, begun in state["begun"]}
