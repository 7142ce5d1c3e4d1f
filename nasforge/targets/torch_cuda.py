"""`gpu`: measured with CUDA events where there is a GPU; elsewhere a named analytic model, and it says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, final

from nasforge.errors import TargetError
from nasforge.hardware import roofline
from nasforge.hardware.predictor import LatencyPredictor
from nasforge.space import SearchSpace
from nasforge.targets.base import Measurement, Progress, Target, measurement


@final
class TorchCuda(Target):
    """A GPU. Without one, predictions are those of `card` by the roofline model, and results stay unverified.

    Args:
        card: short name of the modelled card, see `nasforge.hardware.roofline.CARDS`.
        batch: images at once.
    """

    name: ClassVar[str] = "gpu"

    def __init__(self, card: str = roofline.DEFAULT_CARD, batch: int = 1) -> None:
        """Look the card up."""
        self.card, self.batch = roofline.card(card), batch

    def available(self) -> str | None:
        """Return None where torch sees a CUDA device."""
        import torch

        return None if torch.cuda.is_available() else "no CUDA device is visible to torch on this machine"

    def predictor(self, space: SearchSpace, progress: Progress | None = None) -> LatencyPredictor:
        """Return the roofline model over the space; with a GPU, scaled to networks measured on it."""
        cost = space.additive(
            "latency_ms_predicted", lambda op, types: roofline.node_ms(self.card, op, types, self.batch)
        )
        if progress is not None:
            progress(1.0, 1.0)
        source = (
            f"analytic roofline of {self.card.name} at batch {self.batch}, from published peak figures; "
            "not measured, no validated error"
        )
        return LatencyPredictor(
            cost, source, f"roofline:{self.card.name}", {}, roofline.provenance(self.card, self.batch)
        )

    def measure_many(self, paths: Sequence[str | Path], progress: Progress | None = None) -> list[Measurement]:
        """Measure with CUDA events: ONNX files are run through ONNX Runtime's CUDA provider."""
        reason = self.available()
        if reason is not None:
            raise TargetError(
                f"target 'gpu' cannot be measured here: {reason}; use the prediction, or a machine with a GPU."
            )
        return [self._measure(path) for path in paths]

    def _measure(self, path: str | Path, visits: int = 4, runs: int = 30) -> Measurement:
        import torch

        from nasforge.targets.ort_session import cuda_session

        session, feed = cuda_session(path, self.batch)
        readings: list[list[float]] = []
        for _ in range(visits):
            for _ in range(10):
                session.run(None, feed)
            times = []
            for _ in range(runs):
                begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                begin.record()
                session.run(None, feed)
                end.record()
                torch.cuda.synchronize()
                times.append(begin.elapsed_time(end) / self.batch)
            readings.append(times)
        return measurement(
            readings, f"measured here: {torch.cuda.get_device_name()}, ONNX Runtime CUDA, batch {self.batch}"
        )
