"""Training a network from scratch, and judging one."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import nn

from nasforge.build import AuxiliaryNetwork, WithAuxiliary, recalibrate
from nasforge.build.network import tell_network
from nasforge.errors import DivergedError, UsageError
from nasforge.layers.drop_path import schedule_drop_path
from nasforge.tasks import DataSource, Loader, Task
from nasforge.tasks.dataset import SplitName
from nasforge.training.config import TrainConfig
from nasforge.training.distillation import soft_targets
from nasforge.training.ema import EMATwin, warmed_up
from nasforge.training.heads import learning_from_own_heads
from nasforge.training.learner import dropping_features, learner_of
from nasforge.training.meter import TRAINING, counted_as
from nasforge.training.optimiser import make_sgd
from nasforge.training.processor import prepare_processor
from nasforge.training.schedule import SCHEDULES

OnStep = Callable[[float, Mapping[str, float]], bool | None]
RECALIBRATED: Final = 2048
"""Images of the train split over which statistics of averaged weights are taken."""


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
Teacher = Callable[[torch.Tensor], torch.Tensor]


@final
class Training:
    """The training of one network, which may stop after any step and go on from there, in another process too.

    Where a network has several heads, each layer learns from the mean loss of those that it leads to; a loss that is
    given in the place of the task's is taken as it is.

    Args:
        module: trained in place; (N, C, H, W) -> the task's outputs.
        source: the data; the train split is used.
        task: gives the loss.
        config: how.
        seed: of order, augmentation and dropout.
        loss: of (images, outputs, targets) in the place of the task's.
        teacher: of images (N, C, H, W), as the module sees them -> probabilities (N, classes) in the place of labels.

    Raises:
        UsageError: labels are smoothed although a teacher is followed.
        IncompatibleError: the module has no place for what the configuration puts around it.
    """

    def __init__(
        self,
        module: nn.Module,
        source: DataSource,
        task: Task,
        config: TrainConfig,
        seed: int = 0,
        loss: LossOfImages | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """Make loader and optimiser; nothing is trained yet."""
        prepare_processor()
        if teacher is not None and config.label_smoothing:
            raise UsageError(
                f"training.label_smoothing={config.label_smoothing} was given with a teacher, whose probabilities are "
                "soft already; give training.label_smoothing=0."
            )
        self.module, self._task, self._config, self._loss, self._teacher = module, task, config, loss, teacher
        self._loader = Loader(
            source, "train", config.batch_size, seed, training=config.augment, shuffle=True, cutout=config.cutout,
            channels_last=config.channels_last,
        )  # fmt: skip
        self.steps_per_epoch = len(self._loader)
        self.total = max(1, math.ceil(config.epochs * self.steps_per_epoch))
        self.step = 0
        self._learner = learner_of(module, len(source.classes), config, seed)
        if config.channels_last:
            self._learner.to(memory_format=torch.channels_last)
        schedule_drop_path(module, 0.0, 1.0)
        self._optimiser = make_sgd(self._learner, config)
        self._twin = EMATwin(module, config.ema_decay) if config.ema_decay else None
        self._random = torch.Generator().manual_seed(seed).get_state()

    def run(self, until: int | None = None, on_step: OnStep | None = None) -> TrainReport:
        """Train until a step, the last without; the module is left in training mode.

        With the last step a module whose weights are averaged gets the average, and statistics that fit it.

        Args:
            until: the number of steps done at which to stop.
            on_step: hears (share done, figures) after each step; returning True stops the training.

        Raises:
            DivergedError: the loss, or the gradient where it is clipped, became NaN or infinite.
        """
        begun, steps, images = time.perf_counter(), 0, 0
        self._learner.train()
        value, stopped = float("nan"), False
        with (
            counted_as(TRAINING) as counts,
            torch.random.fork_rng(devices=[]),
            dropping_features(self.module, self._config.dropout),
            learning_from_own_heads(self.module) if self._loss is None else contextlib.nullcontext(),
        ):
            torch.set_rng_state(self._random)
            while self.step < (self.total if until is None else min(until, self.total)):
                value, seen = self._one_step()
                self.step += 1
                steps, images = steps + 1, images + seen
                if counts is not None:
                    counts.stepped(seen)
                if on_step is not None and on_step(self.step / self.total, {"loss": value}):
                    stopped = self.step < self.total
                    break
            self._random = torch.get_rng_state()
        if self._twin is not None and self.step == self.total:
            self.module.load_state_dict(self.judged().state_dict())
        return TrainReport(steps, images, time.perf_counter() - begun, value, stopped)

    def judged(self) -> nn.Module:
        """Return what the training has come to: the module, or its averaged weights with statistics that fit them.

        The average is another module, which the next step changes. Its BatchNorm statistics are those of the network
        that ran, so they are taken anew, over batches of the train split as they are trained on.
        """
        if self._twin is None:
            return self.module
        batches = min(self.steps_per_epoch, math.ceil(RECALIBRATED / self._loader.batch_size))
        recalibrate(self._twin.module, (self._loader.batch(number)[0] for number in range(batches)))
        return self._twin.module.eval()

    def _one_step(self) -> tuple[float, int]:
        config, progress = self._config, self.step / self.total
        middle = (self.step + 0.5) / self.total
        factor = SCHEDULES[config.schedule](middle, config.warmup, config.decay, config.decay_every)
        for group in self._optimiser.param_groups:
            group["lr"] = config.lr * factor
        if config.drop_path_keep < 1.0:
            schedule_drop_path(self.module, progress, config.drop_path_keep, config.drop_path_ramp)
        images, labels = self._loader.batch(self.step)
        found = self._loss_of(images, labels)
        value = float(found.detach())
        self._check_finite("loss", value)
        self._optimiser.zero_grad(set_to_none=True)
        found.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        if config.clip:
            self._check_finite("gradient", float(nn.utils.clip_grad_norm_(self._learner.parameters(), config.clip)))
        self._optimiser.step()
        if self._twin is not None:
            self._twin.update(self.module, warmed_up(config.ema_decay, self.step))
        return value, len(labels)

    def _loss_of(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch: of the outputs, and weighted of the auxiliary head's."""
        targets = labels
        if self._teacher is not None:
            targets = soft_targets(self._teacher(images), labels, self._config.hard_weight)
        found = self._learner(images)
        tell_network(self.module, images, found)
        if not isinstance(found, WithAuxiliary):
            return self._measured(images, found, targets)
        auxiliary = self._measured(images, found.auxiliary, targets)
        return self._measured(images, found.outputs, targets) + self._config.auxiliary_weight * auxiliary

    def _measured(self, images: torch.Tensor, outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        if self._loss is not None:
            return self._loss(images, outputs, targets)
        return self._task.loss(outputs, targets, self._config.label_smoothing)

    def _check_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise DivergedError(
                f"the {what} is {value} in step {self.step} of {self.total}; lower the learning rate "
                f"(training.lr={self._config.lr})."
            )

    def state(self) -> dict[str, Any]:
        """Return what another process needs to go on: tensors and plain data."""
        around = self._learner.head.state_dict() if isinstance(self._learner, AuxiliaryNetwork) else {}
        return {
            "module": self.module.state_dict(),
            "auxiliary": around,
            "average": {} if self._twin is None else self._twin.module.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": self._random,
            "step": self.step,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.module.load_state_dict(state["module"])
        if isinstance(self._learner, AuxiliaryNetwork):
            self._learner.head.load_state_dict(state["auxiliary"])
        if self._twin is not None:
            self._twin.module.load_state_dict(state["average"])
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
    teacher: Teacher | None = None,
) -> TrainReport:
    """Train on the train split, from the first step to the last; arguments and errors as of `Training`."""
    return Training(module, source, task, config, seed, loss, teacher).run(on_step=on_step)


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
            outputs = module(images[:part])
            tell_network(module, images[:part], outputs)
            for name, value in task.metrics(outputs, targets[:part]).items():
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
