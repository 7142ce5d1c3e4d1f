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


def train(
    module: nn.Module,
    source: DataSource,
    task: Task,
    config: TrainConfig,
    seed: int = 0,
    on_step: OnStep | None = None,
    loss: Callable[[torch.Tensor, Any, torch.Tensor], torch.Tensor] | None = None,
) -> TrainReport:
    """Train on the train split.

    Args:
        module: trained in place and left in training mode; (N, C, H, W) -> the task's outputs.
        source: the data.
        task: gives the loss.
        config: how.
        seed: of order, augmentation and dropout.
        on_step: hears (share done, figures) after each step; returning True stops the training.
        loss: of (images, outputs, targets) in the place of the task's, for distillation.

    Raises:
        DivergedError: the loss, or the gradient where it is clipped, became NaN or infinite.
    """
    prepare_processor()
    loader = Loader(
        source, "train", config.batch_size, seed, training=config.augment, shuffle=True, cutout=config.cutout,
        channels_last=config.channels_last,
    )  # fmt: skip
    total = max(1, math.ceil(config.epochs * len(loader)))
    if config.channels_last:
        module.to(memory_format=torch.channels_last)
    optimiser = make_sgd(module, config)
    meter = Meter()
    module.train()
    value, stopped = float("nan"), False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(total):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * warmup_cosine((step + 0.5) / total, config.warmup)
            images, targets = loader.batch(step)
            outputs = module(images)
            found = loss(images, outputs, targets) if loss else task.loss(outputs, targets, config.label_smoothing)
            value = float(found.detach())
            _check_finite("loss", value, step, total, config)
            optimiser.zero_grad(set_to_none=True)
            found.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            if config.clip:
                norm = float(nn.utils.clip_grad_norm_(module.parameters(), config.clip))
                _check_finite("gradient", norm, step, total, config)
            optimiser.step()
            meter.count(len(targets))
            if on_step is not None and on_step((step + 1) / total, {"loss": value}):
                stopped = step + 1 < total
                break
    return TrainReport(meter.steps, meter.images, meter.seconds, value, stopped)


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
