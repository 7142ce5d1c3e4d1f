"""The images that all architectures of a run are scored on: one batch, drawn once, so that scores compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from torch import Tensor
from torch.nn import functional

from nasforge.tasks import DataSource, Loader, Task

IMAGES: Final = 64


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Images with their labels.

    Attributes:
        images: float, (N, C, H, W), preprocessed.
        labels: int64, (N,), or whatever the loss compares with.
        loss: mean loss of outputs and labels; cross-entropy unless the task has another.
    """

    images: Tensor
    labels: Tensor
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy


def scoring_batch(source: DataSource, task: Task, seed: int = 0, images: int = IMAGES) -> Batch:
    """Return training images drawn by `seed`, not augmented, in the default memory layout.

    Args:
        source: the data; a small train split gives fewer images.
        task: gives the loss.
        seed: of the draw.
        images: how many; 64, with which the scores agree with the published ones (`benchmarks/zero_cost_ranks.py`).
    """
    loader = Loader(source, "train", images, seed, shuffle=True, channels_last=False)
    drawn, labels = loader.batch(0)
    return Batch(drawn, labels, task.loss)
