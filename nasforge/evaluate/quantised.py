"""What a network is worth in INT8: exported, quantised on training images, and judged by ONNX Runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import nn

from nasforge.build import export_onnx
from nasforge.tasks import DataSource, Loader, Task
from nasforge.tasks.dataset import SplitName
from nasforge.training import evaluate

CALIBRATION_IMAGES: Final = 256
BATCH: Final = 32
INT8_METRIC: Final = "accuracy_int8_valid"


def calibration_feeds(source: DataSource) -> Iterator[dict[str, Any]]:
    """Yield batches of unaugmented training images, (32, C, H, W) by input name, as ONNX Runtime takes them."""
    loader = Loader(source, "train", BATCH, seed=0, shuffle=True, channels_last=False)
    for number in range(min(len(loader), CALIBRATION_IMAGES // BATCH)):
        yield {"image": loader.batch(number)[0].contiguous().numpy()}


def run_onnx(path: str | Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function from images to logits that runs an ONNX file."""
    from nasforge.targets.ort_session import file_function

    function = file_function(path)

    def run(images: torch.Tensor) -> torch.Tensor:
        (logits,) = function(images.contiguous().numpy())
        return torch.from_numpy(logits)

    return run


def evaluate_int8(
    network: nn.Module, source: DataSource, task: Task, split: SplitName = "valid", limit: int | None = None
) -> dict[str, float]:
    """Return the task's metrics of a network's INT8 file over a split, as `evaluate` does of the network.

    Raises:
        EvaluationError: the network cannot be exported or quantised.
    """
    from nasforge.build.quantize import quantise

    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        exact, rounded = Path(folder) / "model.onnx", Path(folder) / "model.int8.onnx"
        export_onnx(network, tuple(source.input_shape), exact)
        quantise(exact, rounded, calibration_feeds(source))
        return evaluate(run_onnx(rounded), source, task, split, limit=limit)


@final
@dataclass(frozen=True, slots=True)
class QuantisedJudge:
    """Judges the INT8 file of a network, as a run for INT8 would deliver it, on valid.

    Attributes:
        task: gives the metrics.
        source: the data; calibration images are of its train split.
        limit: judge on only so many validation images.
    """

    task: Task
    source: DataSource
    limit: int | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return `accuracy_int8_valid`.

        Raises:
            EvaluationError: the network cannot be exported or quantised.
        """
        return {INT8_METRIC: evaluate_int8(network, self.source, self.task, "valid", self.limit)["accuracy"]}
