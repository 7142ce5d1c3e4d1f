"""Training shared weights: the loop drives the phases of a `WeightSharing` strategy, step by step.

The strategy says what one step does; here are the data, the clock, the random numbers and the
checkpoints. Every step has its own generators, so a resumed training draws what an undisturbed one
would have drawn. One process trains alone, or several as one (see `nasforge.run.distributed`): what they have to do
together is a `Team`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import nn

from nasforge.run.batch_length import workers_of
from nasforge.run.batches import BatchStream
from nasforge.run.interrupt import Interruption
from nasforge.run.pace import Pace
from nasforge.run.plan import Plan, training_config
from nasforge.run.progress import Listener
from nasforge.run.setup import Setup
from nasforge.run.team import Alone, Team
from nasforge.strategy import Batch, Phase, Problem, WeightSharing
from nasforge.tasks import Loader, Task
from nasforge.tasks.view import ViewMaker
from nasforge.training.meter import NAMES, RATING, TRAINING, Counts, Meter, counting_now

CHECKPOINT_SECONDS: Final = 20.0
Save = Callable[[str, dict[str, Any]], object]


@final
@dataclass(slots=True)
class StepContext:
    """What one step may use; implements `nasforge.strategy.Context` for one process of a team."""

    problem: Problem
    modules: Mapping[str, nn.Module]
    optimisers: Mapping[str, torch.optim.Optimizer]
    task: Task
    train: BatchStream
    valid: BatchStream
    phase: Phase
    step: int
    phase_step: int
    steps_per_epoch: int
    progress: float
    rng: np.random.Generator
    team: Team
    counts: Counts = field(default_factory=Counts)
    weight: float = 1.0

    def train_batch(self) -> Batch:
        """Return this process's part of the next augmented batch of the train split."""
        return self._take(self.train)

    def valid_batch(self) -> Batch:
        """Return this process's part of the next batch of the valid split."""
        return self._take(self.valid)

    def train_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return views of this process's part of the next batch of the train split."""
        return self._take_views(self.train, makers)

    def valid_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return views of this process's part of the next batch of the valid split."""
        return self._take_views(self.valid, makers)

    def _take_views(self, stream: BatchStream, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        views = stream.take_views(makers)
        self._drew(len(views[0]) if views else 0, len(views))
        self.weight = stream.weight
        return views

    def _take(self, stream: BatchStream) -> Batch:
        batch = stream.take()
        self._drew(len(batch.targets))
        self.weight = stream.weight
        return batch

    def _drew(self, images: int, views: int = 0) -> None:
        """Count a batch for the part that is open: what a strategy does under `counted_as(RATING)` is no training."""
        (counting_now() or self.counts).drew(images, views)

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the task's loss."""
        return self.task.loss(outputs, targets, smoothing)

    def metrics(self, outputs: Any, targets: torch.Tensor) -> dict[str, float]:
        """Return the task's metrics of one batch, whole."""
        return self.team.metrics(self.task.metrics(outputs, targets), len(targets))

    def mean(self, figures: Mapping[str, float], count: int) -> dict[str, float]:
        """Return the means of figures over all processes."""
        return self.team.metrics(figures, count)

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients of a finite loss, weighted by the length of the part it is a mean of."""
        if not torch.isfinite(loss):
            self.team.diverged(float(loss.detach()))
            return
        weighted = loss if self.weight == 1.0 else loss * self.weight
        weighted.backward()  # type: ignore[no-untyped-call]  # torch has no types here

    def update(self, optimiser: str, rate: float = 1.0) -> None:
        """Step an optimiser with its learning rates scaled, by gradients averaged first, and forget them."""
        stepped = self.optimisers[optimiser]
        self.team.average(stepped)
        full = [group["lr"] for group in stepped.param_groups]
        for group in stepped.param_groups:
            group["lr"] *= rate
        stepped.step()
        for group, lr in zip(stepped.param_groups, full, strict=True):
            group["lr"] = lr
        stepped.zero_grad(set_to_none=True)


def make_shared_training(setup: Setup, plan: Plan, device: str = "cpu", team: Team | None = None) -> SharedTraining:
    """Return the untrained training of a search's strategy.

    Args:
        setup: of the search.
        plan: how long to train.
        device: where modules live.
        team: the processes that train as one; None: this one alone.
    """
    team = team or Alone()
    strategy, seed = setup.strategy, setup.settings.seed
    assert isinstance(strategy, WeightSharing)
    config = training_config(setup.settings.training, 1.0)
    train = Loader(
        setup.source, "train", config.batch_size, seed, training=config.augment, shuffle=True, cutout=config.cutout
    )
    valid = Loader(setup.source, "valid", config.batch_size, seed, shuffle=True)
    steps = None if plan.shared_epochs is None else max(1, round(plan.shared_epochs * len(train)))
    pace = Pace([phase.share for phase in strategy.phases()], steps, plan.shared_seconds)
    first, second = (BatchStream(loader, device, team.rank, team.size) for loader in (train, valid))
    return SharedTraining(strategy, setup.problem, setup.task, first, second, pace, seed, device, team)


def train_shared(
    setup: Setup, plan: Plan, training: SharedTraining, folder: Path, listener: Listener, save: Save
) -> None:
    """Train to the end, in this process or on as many workers of Ray as the settings say.

    Args:
        setup: of the search.
        plan: how long to train.
        training: where it stands; the end state afterwards.
        folder: of the run.
        listener: hears of every step.
        save: takes checkpoints.
    """
    if setup.settings.distributed and (setup.settings.engine.address or workers_of(setup.settings, setup.source) > 1):
        from nasforge.run.ray_train import train_on_ray

        train_on_ray(setup, plan, training, folder / "ray_train", listener, save)
    else:
        training.run(listener, save)


@final
class SharedTraining:
    """The training part of a run, resumable between any two steps.

    Args:
        strategy: set up already.
        problem: its problem.
        task: gives loss and metrics.
        train: batches of the train split.
        valid: batches of the valid split.
        pace: how many steps each phase may take.
        seed: of the run.
        device: where modules live.
        team: the processes that train as one; None: this one alone.

    Attributes:
        meter: what the training has cost on all processes, up to the last checkpoint; to its end once it has ended.
    """

    def __init__(
        self,
        strategy: WeightSharing,
        problem: Problem,
        task: Task,
        train: BatchStream,
        valid: BatchStream,
        pace: Pace,
        seed: int,
        device: str = "cpu",
        team: Team | None = None,
    ) -> None:
        """Make modules and optimisers; nothing is trained yet."""
        self._team: Team = team or Alone()
        self._strategy, self._problem, self._task = strategy, problem, task
        self._train, self._valid, self._pace, self._seed = train, valid, pace, seed
        self.modules = {name: module.to(device) for name, module in strategy.modules(problem, seed).items()}
        self.optimisers = strategy.optimisers(self.modules)
        self.phases = strategy.phases()
        self.phase, self.phase_step, self.step, self.elapsed = 0, 0, 0, 0.0
        self.meter, self._own, self._before = Meter(), Meter(), Meter()

    @property
    def done(self) -> bool:
        """Whether every phase has ended."""
        return self.phase >= len(self.phases)

    def run(self, listener: Listener, save: Save, save_every: float | None = None) -> None:
        """Train from the current state to the end, or until the team stops.

        Args:
            listener: hears of every step.
            save: takes checkpoints, now and then, after every phase, and before an interruption is obeyed.
            save_every: seconds between two of them; None: 20.

        Raises:
            KeyboardInterrupt: Ctrl-C, between two steps.
        """
        every = CHECKPOINT_SECONDS if save_every is None else save_every
        with Interruption() as interruption:
            while not self.done:
                phase = self.phases[self.phase]
                if self.phase_step == 0:
                    self._strategy.start_phase(phase, self.modules)
                listener.stage(phase.name, 1.0)
                if not self._run_phase(phase, listener, save, every, interruption):
                    return
                self.phase, self.phase_step = self.phase + 1, 0
                self._save(save)
                interruption.obey()

    def _run_phase(
        self, phase: Phase, listener: Listener, save: Save, every: float, interruption: Interruption
    ) -> bool:
        """Run the steps of a phase that are left; return whether it got to its end."""
        saved = time.monotonic()
        for module in self.modules.values():
            module.train()
        while (progress := self._pace.progress(self.phase, self.phase_step, self.elapsed)) < 1.0:
            begun = time.monotonic()
            figures = self._one_step(phase, progress)
            now = time.monotonic()
            seconds, due, stop = self._team.agree(now - begun, now - saved > every)
            self.elapsed += seconds
            listener.figures("shared_training", self.step, figures)
            listener.progress(progress, figures)
            self._pace.observe(self.phase, self.phase_step, seconds)
            self.step += 1
            self.phase_step += 1
            if due or stop or interruption.asked:
                self._save(save)
                saved = time.monotonic()
                interruption.obey()
            if stop:
                return False
        return True

    def epochs(self) -> tuple[float, float]:
        """Return how many epochs of the train split are trained in all phases, and how many were planned."""
        made, planned = self._pace.steps()
        return made / self._train.batches_per_epoch, planned / self._train.batches_per_epoch

    def _save(self, save: Save) -> None:
        self._team.settle(self.modules)
        self._sum_up()
        save("training", self.state())

    def _sum_up(self) -> None:
        """Take what all processes have cost since they began into `meter`, beside what was loaded."""
        for part in (TRAINING, RATING):  # the same ones on every worker
            own = self._own.of(part)
            summed = dict(zip(NAMES, self._team.total(own.values()), strict=True))
            self.meter.parts[part] = counts = Counts.of({**summed, "steps": own.steps, "seconds": own.seconds})
            counts.add(self._before.of(part))

    def _one_step(self, phase: Phase, progress: float) -> dict[str, float]:
        with self._own.counting(TRAINING) as counts:
            counts.steps += 1
            return self._step(phase, progress, counts)

    def _step(self, phase: Phase, progress: float, counts: Counts) -> dict[str, float]:
        rng = self._team.begin(self._seed, self.step, phase.name)
        context = StepContext(
            problem=self._problem,
            modules=self.modules,
            optimisers=self.optimisers,
            task=self._task,
            train=self._train,
            valid=self._valid,
            phase=phase,
            step=self.step,
            phase_step=self.phase_step,
            steps_per_epoch=self._train.batches_per_epoch,
            progress=progress,
            rng=rng,
            team=self._team,
            counts=counts,
        )
        return self._strategy.step(context)

    def state(self) -> dict[str, Any]:
        """Return everything a resumed training needs: tensors, and plain data."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "strategy": self._strategy.snapshot(),
            "place": [self.phase, self.phase_step, self.step, self.elapsed],
            "batches": [self._train.taken, self._valid.taken],
            "pace": self._pace.state(),
            "cost": self.meter.to_json(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned; tensors are loaded in place."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        if state["strategy"]:
            self._strategy.restore(state["strategy"])
        phase, phase_step, step, elapsed = state["place"]
        self.phase, self.phase_step, self.step, self.elapsed = int(phase), int(phase_step), int(step), float(elapsed)
        self._train.taken, self._valid.taken = map(int, state["batches"])
        self._pace.load_state(state["pace"])
        cost = state.get("cost", {})
        self.meter, self._own, self._before = Meter.read(cost), Meter(), Meter.read(cost)
