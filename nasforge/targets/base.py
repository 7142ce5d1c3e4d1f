"""What a target is: something that measures a network's latency and predicts it for a whole space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import numpy as np

from nasforge.errors import TargetError
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.hardware.profile import Profile
from nasforge.space import SearchSpace

Progress = Callable[[float, float], None]


@final
@dataclass(frozen=True, slots=True)
class Measurement:
    """A measured latency of one run: the minimum over visits separated in time, with its spread.

    A run takes one image, or the batch that `source` names. On a host that is seldom at its best, times are relative
    to a reference network's and the first three figures are medians over visits (`noise` says so).

    Attributes:
        latency_ms: the quiet latency (minimum).
        p10_ms: least tenth percentile of a visit.
        median_ms: median over all runs, what a user of a busy host sees.
        visits: how many visits were counted.
        spread: second-best visit / best visit - 1.
        source: where and with what it was measured.
        noise: what to know of the host's noise; empty where it was quiet.
        quantised: how many convolutions of an INT8 file stayed float, and why; empty for float networks.
        reference_ms: best of the reference network that was visited between; 0 where there was none.
    """

    latency_ms: float
    p10_ms: float
    median_ms: float
    visits: int
    spread: float
    source: str
    noise: str = ""
    quantised: str = ""
    reference_ms: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the measurement as plain data."""
        return asdict(self)


class Target(ABC):
    """Base of targets. A plug-in can be made without arguments; keyword parameters are its options (`target.x=1`).

    `precision` is what its networks compute in; a run for an `int8` target delivers a quantised file too.
    """

    name: ClassVar[str]
    precision: ClassVar[str] = "float32"

    @abstractmethod
    def available(self) -> str | None:
        """Return None where this machine can measure, else the reason why not, as a sentence."""

    @property
    def caution(self) -> str:
        """What to know of this machine as this target; empty where there is nothing."""
        return ""

    @abstractmethod
    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return a predictor for the space; it may be measured first, with progress as (done, total)."""

    @abstractmethod
    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure float32 ONNX files, interleaved, so that a slow minute hits all alike.

        Raises:
            TargetError: this machine cannot measure this target.
        """

    def make_profile(
        self, space: SearchSpace, out: Path | None, progress: Progress | None = None
    ) -> tuple[Path, Profile]:
        """Measure a profile of a space with the full protocol and write it, where searches find it or to `out`.

        Raises:
            TargetError: this machine cannot measure this target, or the target has no profiles.
            ProfileError: the machine is too noisy.
        """
        raise TargetError(f"target '{self.name}' has no profiles of this machine; profile cpu or int8.")

    def measure(self, path: str | Path) -> Measurement:
        """Measure one ONNX file."""
        return self.measure_many([path])[0]

    def measure_beside(self, path: str | Path, float_file: str | Path) -> tuple[Measurement, Measurement | None]:
        """Measure a delivered file and, interleaved with it, the float32 file that it was made from.

        The default measures the first alone: the device runs no float networks, or the file is one.
        """
        return self.measure(path), None


def measurement(readings: Sequence[Sequence[float]], source: str, noise: str = "") -> Measurement:
    """Summarise readings in milliseconds by visit."""
    best = sorted(min(visit) for visit in readings)
    return Measurement(
        float(best[0]),
        float(min(np.percentile(visit, 10) for visit in readings)),
        float(np.median(np.concatenate([np.asarray(visit) for visit in readings]))),
        len(readings),
        float(best[1] / best[0] - 1.0) if len(best) > 1 else 0.0,
        source,
        noise,
    )
