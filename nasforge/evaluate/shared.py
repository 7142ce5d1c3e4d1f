"""`shared`: what an architecture is worth with the weights of a supernet, after recalibration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, final

import torch
from torch import nn

from nasforge.build import JointRun, Supernet, extract, recalibrate
from nasforge.build.joint_run import MEMORY
from nasforge.errors import IncompatibleError
from nasforge.evaluate.evaluator import Judge, check_finite
from nasforge.space import Architecture
from nasforge.tasks import DataSource, Loader, Task
from nasforge.training import evaluate

BATCH: Final = 256


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
        memory: bytes of activations that `evaluate_many` may keep.
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
        memory: int = MEMORY,
    ) -> None:
        """Take what every evaluation shares."""
        self._supernet, self._task, self._source, self._images, self._limit = supernet, task, source, images, limit
        self._augment, self._judge, self._memory = augment, judge, memory

    def network(self, architecture: Architecture) -> nn.Module:
        """Return the extracted and recalibrated network, in evaluation mode."""
        network = extract(self._supernet, architecture)
        network.to(memory_format=torch.channels_last)
        if self._images:
            recalibrate(network, self._batches())
        return network.eval()

    def _batches(self) -> Iterator[torch.Tensor]:
        loader = Loader(self._source, "train", BATCH, seed=0, training=self._augment, shuffle=True)
        for number in range(min(len(loader), -(-self._images // BATCH))):
            yield loader.batch(number)[0]

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return `accuracy_valid`, `nll_valid`, `params`, `macs`, and what the judge says; all else changes nothing.

        Raises:
            DivergedError: the network's outputs are NaN.
        """
        network = self.network(architecture)
        found = evaluate(network, self._source, self._task, "valid", limit=self._limit)
        said = check_finite(self._judge(network)) if self._judge is not None else {}
        return self._metrics(architecture, check_finite(found), said)

    def _metrics(
        self, architecture: Architecture, found: Mapping[str, float], said: Mapping[str, float]
    ) -> dict[str, float]:
        space = self._supernet.space
        return {
            **{f"{name}_valid": value for name, value in found.items()},
            **said,
            "params": float(space.params(architecture)),
            "macs": float(space.macs(architecture)),
        }

    def evaluate_many(self, architectures: Sequence[Architecture]) -> list[dict[str, float]]:
        """Return what `evaluate` gives for each, up to rounding, computing what several of them share once.

        Networks whose outputs are NaN have metrics that are. Where a judge wants networks, or a layer keeps statistics
        of its own, they are evaluated one by one.
        """
        try:
            run = None if self._judge is not None else JointRun(self._supernet, architectures, self._memory)
        except IncompatibleError:
            run = None
        if run is None:
            return [self.evaluate(architecture) for architecture in architectures]
        for images in self._batches() if self._images else ():
            run.calibrate(images)
        sums: list[dict[str, float]] = [{} for _ in architectures]
        for images, targets in _limited(Loader(self._source, "valid", BATCH), self._limit):
            for place, outputs in run.outputs(images):
                for name, value in self._task.metrics(outputs, targets).items():
                    sums[place][name] = sums[place].get(name, 0.0) + value * len(targets)
        wanted = len(self._source.split("valid"))
        count = wanted if self._limit is None else min(self._limit, wanted)
        return [
            self._metrics(architecture, {name: total / count for name, total in found.items()}, {})
            for architecture, found in zip(architectures, sums, strict=True)
        ]


def _limited(
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]], limit: int | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield images and targets up to a number of images."""
    left = math.inf if limit is None else limit
    for images, targets in batches:
        if left <= 0:
            return
        part = int(min(len(targets), left))
        yield images[:part], targets[:part]
        left -= part
