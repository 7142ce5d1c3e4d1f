"""Fixed networks whose times tell whether a profile still holds here, and how busy the processor is otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from nasforge.errors import ProfileError
from nasforge.ops import Conv, GlobalPool, Linear, MBConv
from nasforge.space import Input, SearchSpace
from nasforge.targets.blocks import write_network
from nasforge.targets.timing import Protocol, Run, one_visit

WARNED: Final = 0.05
REFUSED: Final = 0.15
"""Shares by which a reference may be off before the profile is called stale, and refused."""
CHECKING: Final = Protocol(runs=8, visit_ms=8.0, warm_up=3)
CHECKS: Final = 12
SHORTEST_SECONDS: Final = 0.1
"""The system counts in hundredths of a second: of shorter times nothing can be said."""
CHECK_PAUSE_SECONDS: Final = 0.15


def reference_networks(folder: Path) -> dict[str, Path]:
    """Write two fixed networks of plain and of inverted-bottleneck convolutions, about four million MACs each."""
    node = Input(3, 32, 32)
    for channels, stride in ((32, 2), (64, 2), (64, 1)):
        node = Conv(channels, 3, stride)(node)
    other = Conv(16, 3, 2)(Input(3, 32, 32))
    for channels, kernel, stride in ((32, 3, 2), (32, 5, 1), (64, 3, 2)):
        other = MBConv(channels, kernel, 4, stride)(other)
    found = {}
    for name, last in (("plain", node), ("mbconv", other)):
        space = SearchSpace({"logits": Linear(10)(GlobalPool()(last))}, name=f"reference-{name}")
        found[name] = write_network(space.lower(space.architecture({})), folder / f"reference-{name}.onnx")
    return found


@final
class Busy:
    """How many cores other processes use from its making on, where the system tells (Linux)."""

    def __init__(self) -> None:
        """Begin to count."""
        self._begun, self._own, self._wall = _busy_seconds(), time.process_time(), time.monotonic()

    @property
    def cores(self) -> float:
        """Mean number of cores that others used; 0 where the system does not tell."""
        now, elapsed = _busy_seconds(), time.monotonic() - self._wall
        if now is None or self._begun is None or elapsed < SHORTEST_SECONDS:
            return 0.0
        return max(0.0, (now - self._begun - (time.process_time() - self._own)) / elapsed)


def busy_sentence(cores: float, allowed: float) -> str:
    """Say that others used the processor while something was measured; empty where they used little of it."""
    if cores <= allowed:
        return ""
    return f"not certified: other processes used {cores:.1f} cores while this was measured"


def _busy_seconds() -> float | None:
    """Return the seconds that all cores have worked since the machine started, stolen time with them."""
    try:
        words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (float(word) for word in words[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@final
@dataclass(frozen=True, slots=True)
class Check:
    """What the references said of a profile: the largest deviation of one, and how busy the cores were."""

    deviation: float
    busy_cores: float

    @property
    def warning(self) -> str:
        """What to say beside every figure of the profile; empty where it holds."""
        if abs(self.deviation) <= WARNED:
            return ""
        if self.busy_cores > CHECKING.busy_cores:
            return f"not certified: others use {self.busy_cores:.1f} cores, references are off by {self.deviation:+.0%}"
        return f"stale: references are off by {self.deviation:+.0%}; measure it again with `nasforge profile`"


def check_references(runs: Mapping[str, Run], best_ms: Mapping[str, float], name: str, usual: float = 1.0) -> Check:
    """Time references until they are as in the profile, or for two seconds.

    Args:
        runs: calls of the references by name.
        best_ms: what the profile says of them.
        name: of the profile, for the error.
        usual: how much slower than their best they usually were when the profile was measured; 1 on a quiet host.

    Raises:
        ProfileError: off by more than 15 %, beyond what was usual, on a quiet machine.
    """
    busy, found = Busy(), dict[str, float]()
    for turn in range(CHECKS):
        if turn:
            time.sleep(CHECK_PAUSE_SECONDS)
        for key, run in runs.items():
            found[key] = min(found.get(key, float("inf")), *one_visit(run, CHECKING))
        worst = max((found[key] / best_ms[key] - 1.0 for key in runs), key=abs, default=0.0)
        if abs(worst) <= WARNED:
            break
    check = Check(worst, busy.cores)
    beyond = worst if worst <= 0.0 else max(0.0, (1.0 + worst) / usual - 1.0)
    if abs(beyond) > REFUSED and check.busy_cores <= CHECKING.busy_cores:
        raise ProfileError(
            f"profile '{name}' no longer holds: reference networks are off by {worst:+.0%}; measure it again with "
            "`nasforge profile`, or remove it."
        )
    return check
