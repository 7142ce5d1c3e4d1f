"""`shared`: what an architecture is worth with the weights of a supernet, after recalibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import nn

from nasforge.build import Supernet, extract, recalibrate
from nasforge.evaluate.evaluator import Judge, check_finite
from nasforge.space import Architecture
from nasforge.tasks import DataSource, Loader, Task
from nasforge.training import evaluate


@final
class SharedEvaluator:
    """Extracts each architecture, re-estimates its normalisation on training images, judges it on valid.

    Args:
        supernet: holds the weights.
        task: gives the metrics.
        source: the data.
        images: training images for recalibration; 0 keeps the supernet's statistics.
        limit: judge on only so many validation images.
        augment: whether they are augmented, as those were that the weights were trained on; with statistics of other
            images every child loses accuracy.
        judge: adds what it says of each network.
    """

    def __init__(
        self,
        supernet: Supernet,
        task: Task,
        source: DataSource,
        images: int = 1024,
        limit: int | None = None,
        augment: bool = True,
        judge: Judge | None = None,
    ) -> None:
        """Take what every evaluation shares."""
        self._supernet, self._task, self._source, self._images, self._limit = supernet, task, source, images, limit
        self._augment, self._judge = augment, judge

    def network(self, architecture: Architecture) -> nn.Module:
        """Return the extracted and recalibrated network, in evaluation mode."""
        network = extract(self._supernet, architecture)
        network.to(memory_format=torch.channels_last)
        if self._images:
            recalibrate(network, self._batches())
        return network.eval()

    def _batches(self) -> Iterator[torch.Tensor]:
        size = 256
        loader = Loader(self._source, "train", size, seed=0, training=self._augment, shuffle=True)
        for number in range(min(len(loader), -(-self._images // size))):
            yield loader.batch(number)[0]

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return `accuracy_valid`, `nll_valid`, `params`, `macs`, and what the judge says; all else changes nothing.

        Raises:
            DivergedError: the network's outputs are NaN.
        """
        network = self.network(architecture)
        found = check_finite(evaluate(network, self._source, self._task, "valid", limit=self._limit))
        space = self._supernet.space
        return {
            **{f"{name}_valid": value for name, value in found.items()},
            **(check_finite(self._judge(network)) if self._judge is not None else {}),
            "params": float(space.params(architecture)),
            "macs": float(space.macs(architecture)),
        }
