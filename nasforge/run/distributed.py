"""Data-parallel training of shared weights: the team of several processes, over `torch.distributed`.

Every process has the whole supernet and its part of every batch. Gradients are averaged where the optimiser is about
to use them, so a strategy may take any number of forward and backward passes before, and a step costs two collectives
whatever it does: which parameters have a gradient on anybody, and these gradients in one flat piece. Nobody raises
alone over something that depends on its part of the data, for the others would wait for it: a loss that is not finite
is noted, and told with the next collective.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, final

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from nasforge.errors import UsageError
from nasforge.rng import generator, integer_seed
from nasforge.run.engine import Engine, Paths
from nasforge.run.team import diverged_error, place_of, seed_torch
from nasforge.strategy import Strategy, WeightSharing
from nasforge.training.path_sgd import PathSGD

STATISTICS: Final = ("running_mean", "running_var")
LEAST_IMAGES: Final = 2  # of a process in a batch: normalising by the statistics of one image fails
USUAL_IMAGES: Final = 16  # of a process in a batch, where nobody says how many processes: fewer make poor statistics


class RankLostError(RuntimeError):
    """Another process of the team is gone; Ray starts all of them again from the newest checkpoint."""


@final
class Ranks:
    """The team of the processes of torch's default group.

    Args:
        paths: whether all draw the same from the strategy's generator, or each its own.
        device: where modules and gradients live.

    Attributes:
        stop: set on any process: all of them stop after the step.
    """

    def __init__(self, paths: Paths = "same", device: str = "cpu") -> None:
        """Find the process's place in the group."""
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.stop = False
        self._paths, self._device, self._place = paths, device, ""
        self._loss: float | None = None

    def begin(self, seed: int, step: int, phase: str) -> np.random.Generator:
        """Begin a step: dropout falls anew on every process, the strategy draws the same on all unless asked not to.

        Process 0 has the generators of a training alone.
        """
        self._place = place_of(step, phase)
        own = f".{self.rank}" if self.rank else ""
        seed_torch(integer_seed(seed, f"torch{own}", step))
        return generator(seed, f"step{own}" if self._paths == "different" else "step", step)

    def diverged(self, loss: float) -> None:
        """Note a loss that is not finite; the next collective of all processes raises."""
        self._loss = loss if self._loss is None else self._loss

    def metrics(self, own: Mapping[str, float], count: int) -> dict[str, float]:
        """Return the means over the images of all processes."""
        names = sorted(own)
        summed = self._sum([count, *(own[name] * count for name in names)])
        return {name: value / summed[0] for name, value in zip(names, summed[1:], strict=True)}

    def average(self, optimiser: torch.optim.Optimizer) -> None:
        """Average gradients over all processes.

        A parameter that has a gradient on nobody keeps none, so that the optimiser leaves it alone; where it has one
        on some, the others count as zero.
        """
        held = _holders(optimiser, merged=self._paths == "different")
        counts = self._sum([float(tensor.grad is not None) for tensor in held])
        used = [tensor for tensor, count in zip(held, counts, strict=True) if count]
        for kind in dict.fromkeys(tensor.dtype for tensor in used):
            self._average([tensor for tensor in used if tensor.dtype == kind])

    @torch.no_grad()
    def _average(self, used: Sequence[torch.Tensor]) -> None:
        """Average gradients of one type in one flat piece, of which they become views."""
        flat = torch.zeros(sum(tensor.numel() for tensor in used), dtype=used[0].dtype, device=used[0].device)
        pieces = list(_pieces(flat, used))
        own = [(piece, tensor.grad) for piece, tensor in zip(pieces, used, strict=True) if tensor.grad is not None]
        if own:
            torch._foreach_copy_([piece for piece, _ in own], [gradient for _, gradient in own])
        with self._collective():
            dist.all_reduce(flat)
        flat /= self.size
        for piece, tensor in zip(pieces, used, strict=True):
            tensor.grad = piece

    def agree(self, seconds: float, save: bool) -> tuple[float, bool, bool]:
        """End a step by the clock of process 0."""
        first = self.rank == 0
        summed = self._sum([seconds * first, float(save and first), float(self.stop)])
        return summed[0], summed[1] > 0, summed[2] > 0

    @torch.no_grad()
    def settle(self, modules: Mapping[str, nn.Module]) -> None:
        """Average running statistics; what a process normalises by in training are those of its own images."""
        found = {
            id(buffer): buffer
            for module in modules.values()
            for name, buffer in module.named_buffers()
            if name.rpartition(".")[2] in STATISTICS
        }
        if not found:
            return
        flat = torch.cat([buffer.reshape(-1).double() for buffer in found.values()])
        with self._collective():
            dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for buffer in found.values():
            buffer.copy_(flat[start : start + buffer.numel()].view_as(buffer))
            start += buffer.numel()

    def total(self, own: Sequence[float]) -> list[float]:
        """Return the sums over all processes."""
        return self._sum(own)

    def any(self, asked: bool) -> bool:
        """Say whether any process asks."""
        return self._sum([float(asked)])[0] > 0

    def given_by_first(self, content: bytes | None) -> bytes | None:
        """Return what process 0 gives."""
        carried: list[bytes | None] = [content]
        with self._collective():
            dist.broadcast_object_list(carried, src=0)
        return carried[0]

    def _sum(self, values: Sequence[float]) -> list[float]:
        """Add up numbers over all processes, and raise on all of them where one noted that its loss is not finite."""
        nan = self._loss is not None and math.isnan(self._loss)
        infinite = self._loss is not None and not nan
        tensor = torch.tensor([float(nan), float(infinite), *values], dtype=torch.float64, device=self._device)
        with self._collective():
            dist.all_reduce(tensor)
        nans, infinities, *summed = tensor.tolist()
        if nans or infinities:
            raise diverged_error(math.nan if nans else math.inf, self._place)
        return summed

    @contextmanager
    def _collective(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, ValueError) as error:  # the latter where Ray has dissolved the group meanwhile
            raise RankLostError(f"process {self.rank} lost another one ({error}).") from error


def _holders(optimiser: torch.optim.Optimizer, merged: bool) -> list[torch.Tensor]:
    """Return the tensors whose gradients an optimiser uses, in the same order on every process.

    Processes on the same path recorded the same views; where each had its own, views go to their parameters first.
    """
    held = [tensor for group in optimiser.param_groups for tensor in group["params"]]
    if isinstance(optimiser, PathSGD):
        if merged:
            optimiser.merge()
        held += optimiser.leaves()
    return held


def _pieces(flat: torch.Tensor, tensors: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield views of a flat tensor in the shapes, and the layout in memory, of tensors."""
    start = 0
    for tensor in tensors:
        piece = flat[start : start + tensor.numel()]
        last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
        yield flat.as_strided(tensor.shape, tensor.stride(), start) if last else piece.view(tensor.shape)
        start += tensor.numel()


def check_paths_differ(strategy: Strategy, name: str, paths: Paths) -> None:
    """Refuse different paths for a strategy that cannot learn from them.

    Raises:
        UsageError: names the strategy.
    """
    if paths == "different" and not (isinstance(strategy, WeightSharing) and strategy.different_paths):
        raise UsageError(
            f"engine.paths is 'different', but strategy '{name}' needs all workers on the same path in a step; "
            "use engine.paths=same."
        )


def number_of_workers(engine: Engine, workers: int, lengths: Mapping[str, int]) -> int:
    """Return how many workers train: those asked for, or as many as evaluate while each has enough images.

    Args:
        engine: may say how many.
        workers: evaluations at a time.
        lengths: images of a batch, by split.

    Raises:
        UsageError: more were asked for than a batch of some split has images for.
    """
    if engine.train_workers is None:
        return max(1, min(workers, *(length // USUAL_IMAGES for length in lengths.values())))
    for split, length in lengths.items():
        if 1 < engine.train_workers > length // LEAST_IMAGES:
            raise UsageError(
                f"engine.train_workers={engine.train_workers} would share batches of {length} images of the {split} "
                f"split; expected at least {LEAST_IMAGES} images for each: lower it or raise training.batch_size."
            )
    return engine.train_workers
