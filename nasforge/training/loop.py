"""Training a network from scratch, and judging one."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import nn

from nasforge.errors import DivergedError
from nasforge.tasks import DataSource, Loader, Task
from nasforge.tasks.dataset import SplitName
from nasforge.training.config import TrainConfig
from nasforge.training.meter import Meter
from nasforge.training.optimiser import make_sgd
from nasforge.training.processor import prepare_processor
from nasforge.training.schedule import warmup_cosine

OnStep = Callable[[float, Mapping[str, float]], bool | None]


@final
@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training cost and where it ended."""

    steps: int
    images: int
    seconds: float
    loss: float
    stopped: bool = False


LossOfImages = Callable[[torch.Tensor, Any, torch.Tensor], torch.Tensor]


@final
class Training:
    """The training of one network, which may stop after any step and go on from there, in another process too.

    Args:
        module: trained in place; (N, C, H, W) -> the task's outputs.
        source: the data; the train split is used.
        task: gives the loss.
        config: how.
        seed: of order, augmentation and dropout.
        loss: of (images, outputs, targets) in the place of the task's, for distillation.
    """

    def __init__(
        self,
        module: nn.Module,
        source: DataSource,
        task: Task,
        config: TrainConfig,
        seed: int = 0,
        loss: LossOfImages | None = None,
    ) -> None:
        """Make loader and optimiser; nothing is trained yet."""
        prepare_processor()
        self.module, self._task, self._config, self._loss = module, task, config, loss
        self._loader = Loader(
            source, "train", config.batch_size, seed, training=config.augment, shuffle=True, cutout=config.cutout,
            channels_last=config.channels_last,
        )  # fmt: skip
        self.steps_per_epoch = len(self._loader)
        self.total = max(1, math.ceil(config.epochs * self.steps_per_epoch))
        self.step = 0
        if config.channels_last:
            module.to(memory_format=torch.channels_last)
        self._optimiser = make_sgd(module, config)
        self._random = torch.Generator().manual_seed(seed).get_state()

    def run(self, until: int | None = None, on_step: OnStep | None = None) -> TrainReport:
        """Train until a step, the last without; the module is left in training mode.

        Args:
            until: the number of steps done at which to stop.
            on_step: hears (share done, figures) after each step; returning True stops the training.

        Raises:
            DivergedError: the loss, or the gradient where it is clipped, became NaN or infinite.
        """
        meter = Meter()
        self.module.train()
        value, stopped = float("nan"), False
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._random)
            while self.step < (self.total if until is None else min(until, self.total)):
                value, images = self._one_step()
                self.step += 1
                meter.count(images)
                if on_step is not None and on_step(self.step / self.total, {"loss": value}):
                    stopped = self.step < self.total
                    break
            self._random = torch.get_rng_state()
        return TrainReport(meter.steps, meter.images, meter.seconds, value, stopped)

    def _one_step(self) -> tuple[float, int]:
        config, step, total = self._config, self.step, self.total
        for group in self._optimiser.param_groups:
            group["lr"] = config.lr * warmup_cosine((step + 0.5) / total, config.warmup)
        images, targets = self._loader.batch(step)
        outputs = self.module(images)
        if self._loss is None:
            found = self._task.loss(outputs, targets, config.label_smoothing)
        else:
            found = self._loss(images, outputs, targets)
        value = float(found.detach())
        _check_finite("loss", value, step, total, config)
        self._optimiser.zero_grad(set_to_none=True)
        found.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        if config.clip:
            norm = float(nn.utils.clip_grad_norm_(self.module.parameters(), config.clip))
            _check_finite("gradient", norm, step, total, config)
        self._optimiser.step()
        return value, len(targets)

    def state(self) -> dict[str, Any]:
        """Return what another process needs to go on: tensors and plain data."""
        return {
            "module": self.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": self._random,
            "step": self.step,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.module.load_state_dict(state["module"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._random, self.step = state["random"], int(state["step"])


def train(
    module: nn.Module,
    source: DataSource,
    task: Task,
    config: TrainConfig,
    seed: int = 0,
    on_step: OnStep | None = None,
    loss: LossOfImages | None = None,
) -> TrainReport:
    """Train on the train split, from the first step to the last; arguments and errors as of `Training`."""
    return Training(module, source, task, config, seed, loss).run(on_step=on_step)


def _check_finite(what: str, value: float, step: int, total: int, config: TrainConfig) -> None:
    if not math.isfinite(value):
        raise DivergedError(
            f"the {what} is {value} in step {step} of {total}; lower the learning rate (training.lr={config.lr})."
        )


@torch.no_grad()
def evaluate(
    module: nn.Module | Callable[[torch.Tensor], Any],
    source: DataSource,
    task: Task,
    split: SplitName = "valid",
    batch_size: int = 256,
    limit: int | None = None,
) -> dict[str, float]:
    """Return the task's metrics over a split, means over its images.

    Args:
        module: in evaluation mode while it is judged; a plain callable is called as it is.
        source: the data; a sealed one refuses `test`.
        task: gives the metrics.
        split: which split.
        batch_size: images at once.
        limit: only so many of the first images.
    """
    sums: dict[str, float] = {}
    count, wanted = 0, len(source.split(split)) if limit is None else min(limit, len(source.split(split)))
    with _judged(module):
        for images, targets in Loader(source, split, batch_size):
            part = min(len(targets), wanted - count)
            for name, value in task.metrics(module(images[:part]), targets[:part]).items():
                sums[name] = sums.get(name, 0.0) + value * part
            count += part
            if count >= wanted:
                break
    return {name: total / count for name, total in sums.items()}


@contextlib.contextmanager
def _judged(module: nn.Module | Callable[[torch.Tensor], Any]) -> Iterator[None]:
    """Put a module into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = [(part, part.training) for part in module.modules()] if isinstance(module, nn.Module) else []
    if isinstance(module, nn.Module):
        module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
