"""The contract of strategies that train shared weights: how one step uses the supernet, and what comes out.

The loop owns data, clock, devices, random numbers and checkpoints, and hands them in as a `Context`.
The strategy owns the algorithm. So the same strategy runs in one process, resumes after a kill, and
later trains on several workers, without a line of its own for any of it. This module imports no torch.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, final

import numpy as np

from nasforge.space import Architecture
from nasforge.strategy.base import Evaluation, Problem, Proposal, Strategy

if TYPE_CHECKING:
    import torch

    from nasforge.goals import Objective
    from nasforge.tasks.view import ViewMaker


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the training: its name and its share of the steps the budget allows.

    Shares are relative: phases of shares 1 and 3 take a quarter and three quarters.
    """

    name: str
    share: float = 1.0


@final
class Batch(NamedTuple):
    """Images float32 [N, C, H, W], normalised, and targets int64 [N], on the context's device."""

    images: torch.Tensor
    targets: torch.Tensor


class Context(Protocol):
    """What one training step may use. The loop makes one for each step.

    Attributes:
        problem: space, goals and costs.
        modules: what `WeightSharing.modules` returned, on the device and in training mode.
        phase: the phase this step belongs to.
        step: number of the step, counted from 0 over all phases.
        phase_step: number of the step within its phase, counted from 0.
        steps_per_epoch: steps in which the training images are seen once.
        progress: share of the phase that is done, 0 <= progress < 1.
        rng: generator of (seed, "step", step): the same after a resume, and the same on every worker, unless the run
            asks for different paths and the strategy allows it.
    """

    problem: Problem
    modules: Mapping[str, torch.nn.Module]
    phase: Phase
    step: int
    phase_step: int
    steps_per_epoch: int
    progress: float
    rng: np.random.Generator

    def train_batch(self) -> Batch:
        """Return the next augmented batch of the `train` split; every call counts as one pass of images.

        On several workers it is this worker's part of the batch.
        """
        ...

    def valid_batch(self) -> Batch:
        """Return the next batch of the `valid` split, not augmented; counted apart."""
        ...

    def train_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return a view by each maker of the images of the next `train` batch: float32 [N, C, H, W], without labels.

        It takes the next batch as `train_batch` does, and counts as one pass of images for each view; views follow
        from the seed of the run, the number of the batch and the place of the maker.
        """
        ...

    def valid_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return views as `train_views` does, of the next batch of the `valid` split; counted apart."""
        ...

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the task's loss (mean over the batch) with label smoothing."""
        ...

    def metrics(self, outputs: Any, targets: torch.Tensor) -> dict[str, float]:
        """Return the task's metrics of one batch, such as `accuracy` and `nll`; on several workers, of all its parts.

        What is learnt from metrics (baselines, controllers) so stays equal on all workers.
        """
        ...

    def mean(self, figures: Mapping[str, float], count: int) -> dict[str, float]:
        """Return figures of `count` images as they are of the whole batch: on several workers, their means.

        What is learnt from figures that the strategy makes itself so stays equal on all workers.
        """
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Accumulate gradients of a loss that is a mean over the batch taken last.

        Raises:
            DivergedError: the loss is NaN or infinite. On several workers all of them raise, at the next `metrics` or
                `update`, or at the end of the step.
        """
        ...

    def update(self, optimiser: str, rate: float = 1.0) -> None:
        """Step the named optimiser with its learning rate scaled by `rate`, then set its gradients to None.

        On several workers the gradients are averaged first; parameters without a gradient are left alone. What changes
        gradients in other ways than linearly (clipping) belongs into a step hook of the optimiser
        (`register_step_pre_hook`), which sees the averaged ones.
        """
        ...


class WeightSharing(Strategy):
    """A strategy that trains shared weights first; `ask` and `tell` then search the trained supernet.

    The loop calls `setup`, `modules`, `optimisers`, then `step` for every step of every phase, then
    `ask`/`tell` until nothing is proposed. The default `ask` proposes what `derive` returns, once.
    All state of the training that must survive a kill is in `modules` and `optimisers` (a number goes into a buffer);
    `snapshot` is of `ask` and `tell`, as in any strategy. A strategy may keep references to the modules it returned:
    the loop loads checkpoints into them in place.

    Class attributes:
        retrain: whether finalists are trained from scratch; False: they keep the inherited weights.
        evaluator: `shared`, so proposals are evaluated with inherited, recalibrated weights.
        different_paths: whether each of several workers may draw its own paths in a step: `step` then sees another
            `rng` on each, and all that it does to modules beside gradients must not depend on what was drawn.
        rates_by: the metric of `rate` that the search goes by, where it gives one of its own; None: the run's.
        weight_modules: names of modules beside the supernets whose parameters are weights: they learn from train.

    Attributes:
        smallest_batch: images that a batch of the training needs at least; a run with smaller ones is refused. Two,
            as batch normalisation has no deviation of a single image where maps are one pixel large; an option of the
            same name says otherwise.
    """

    evaluator: ClassVar[str] = "shared"
    retrain: ClassVar[bool] = True
    different_paths: ClassVar[bool] = False
    rates_by: ClassVar[Objective | None] = None
    weight_modules: ClassVar[frozenset[str]] = frozenset()
    smallest_batch: int = 2
    _derived: list[Architecture] | None = None

    def setup(self, problem: Problem) -> None:
        """Take the problem; nothing is derived yet."""
        super().setup(problem)
        self._derived = None

    @abstractmethod
    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the trained modules by name; `supernet` is the one that `shared` evaluation uses.

        Where there are several supernets, `holders` says which.
        """

    @abstractmethod
    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name, each with its full learning rate (see `Context.update`)."""

    def phases(self) -> list[Phase]:
        """Return the phases in order; the default is one."""
        return [Phase("train")]

    def whole_progress(self, context: Context) -> float:
        """Return the share of the whole training that is done, over all phases, 0 <= share < 1."""
        phases = self.phases()
        place = [phase.name for phase in phases].index(context.phase.name)
        before = sum(phase.share for phase in phases[:place])
        return (before + context.progress * phases[place].share) / sum(phase.share for phase in phases)

    def start_phase(self, phase: Phase, modules: Mapping[str, torch.nn.Module]) -> None:
        """Prepare a phase (shrink the space, freeze a block); called once, not again on resume within it."""

    @abstractmethod
    def step(self, context: Context) -> dict[str, float]:
        """Do one training step and return figures worth logging (scalars; keys with units)."""

    @abstractmethod
    def derive(self) -> list[Architecture]:
        """Return the architectures the trained state stands for, best first, all within the cost limits."""

    def winners(self) -> dict[str, Architecture]:
        """Return further results beside the best, by what they are the best of, such as `macs <= 2.4e+08`.

        The default is none. `result.json` lists them, with their ratings; all of them were rated.
        """
        return {}

    def warnings(self) -> list[str]:
        """Return sentences that a reader of the result must know, such as that the training has collapsed.

        The default is none. It is asked when the search is done, so it has to follow from what is in the modules.
        """
        return []

    def holders(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the names of the supernets whose weights `shared` evaluation gives an architecture.

        The default is `supernet` alone. It is asked when the training is done. Of several the best rating counts; what
        is delivered without retraining has the weights of the first.
        """
        return ("supernet",)

    def rate(
        self, architectures: Sequence[Architecture], modules: Mapping[str, torch.nn.Module]
    ) -> list[dict[str, float]] | None:
        """Rate architectures in the strategy's own way; None (the default) means by `shared` evaluation."""
        return None

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose what `derive` returns, best first, then nothing."""
        if self._derived is None:
            self._derived = self.derive()
        given, self._derived = self._derived[:n], self._derived[n:]
        return [Proposal(architecture) for architecture in given]

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Learn nothing: the weights hold what was learnt."""
