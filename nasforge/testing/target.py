"""A target without a device: latency is the size of the file, so that tests know what must come out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from nasforge.hardware.predictor import LatencyPredictor
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target, measurement

MS_PER_BYTE = 1e-3


@final
class MemoryTarget(Target):
    """Predicts a microsecond for each byte of weights, and measures a microsecond for each byte of the file.

    Args:
        factor: measured latency / size of the file.
        unavailable: why it cannot measure; None where it can.
    """

    name: ClassVar[str] = "memory"

    def __init__(self, factor: float = 1.0, unavailable: str | None = None) -> None:
        """Start with nothing measured."""
        self.factor, self.unavailable = factor, unavailable
        self.measured = 0

    def available(self) -> str | None:
        """Return the reason it was made with."""
        return self.unavailable

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return four bytes for each parameter."""
        cost = space.additive("latency_ms_predicted", lambda op, types: 4 * MS_PER_BYTE * op.params(types))
        return LatencyPredictor(cost, "predicted by size", "memory")

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Return the sizes of the files."""
        self.measured += len(paths)
        sizes = [Path(path).stat().st_size * MS_PER_BYTE * self.factor for path in paths]
        return [measurement([[size], [size]], "measured by size") for size in sizes]

    def measure_beside(self, path: str | Path, float_file: str | Path) -> tuple[Measurement, Measurement | None]:
        """Return the sizes of both files."""
        rounded, exact = self.measure_many([path, float_file])
        return rounded, exact
