"""`bignas`: a single-stage supernet whose children need no retraining (Yu et al. 2020).

    step:   biggest child  - cross-entropy with label smoothing on labels
            teacher        - its softmax, detached
            smallest child and n random ones - soft cross-entropy to the teacher, no labels, no dropout
            one optimiser step on the sum of all gradients (the sandwich rule)
    select: coarse - a grid over global settings of depth, width, kernel, expansion and resolution
            fine   - mutations of the best within the limits; all rated after recalibration

Gamma = 0 at the end of each residual block is part of the space. The learning rate falls to a constant (constant
ending).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, final

import numpy as np
import numpy.typing as npt
import torch

from nasforge.build import Supernet
from nasforge.errors import UsageError, unknown_name_sentence
from nasforge.rng import generator
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Evaluation, Phase, Problem, Proposal, WeightSharing
from nasforge.strategy.preset import resolve
from nasforge.strategy.sandwich import sandwich_step
from nasforge.training import TrainConfig, make_sgd, soft_cross_entropy
from nasforge.training.schedule import constant_ending, warmup_cosine


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `BigNAS` for what they are."""

    optimiser: str = "sgd"
    schedule: str = "cosine"
    lr: float = 0.3
    weight_decay: float = 5e-4
    floor: float = 0.05
    clip: float = 1.0
    coarse: int = 24
    fine: int = 24
    parents: int = 3


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(),
    "paper": Constants("rmsprop", "epochs", 0.004, 1e-5, clip=0.0, coarse=160, fine=160, parents=1),
    "attentive": Constants("sgd", "cosine", 0.025, 1e-5, 0.0, coarse=160, fine=160),
}
OPTIMISERS: Final = ("sgd", "rmsprop")
SCHEDULES: Final = ("cosine", "progress", "epochs")


@final
@dataclass
class BigNAS(WeightSharing):
    """Sandwich rule, in-place distillation, coarse-to-fine selection.

    `preset` sets what follows it down to `parents`; an option given beside it goes before. `quick` is for searches of
    minutes. `paper` holds the article's constants as they are remembered, not re-checked (RMSProp, learning rate for a
    batch of 64, 0.97 every 2.4 epochs with a constant ending, 160 coarse children); `attentive` those of the related
    AttentiveNAS code (SGD, cosine, gradients clipped), for a batch of 64. Dropout is an option of the space; stochastic
    depth is not there.

    Attributes:
        preset: `quick`, `paper` or `attentive`.
        optimiser: `sgd` (Nesterov 0.9, normalisation and biases not decayed) or `rmsprop` (decay and momentum 0.9).
        schedule: of the learning rate, never below the floor: `cosine` and `progress` = exp(-6 x share done), both of
            any length and after 5 % of warm-up, `epochs` = 0.97^(epoch / 2.4) after 5 epochs of warm-up.
        lr: peak learning rate.
        weight_decay: acts through the biggest child, once a step.
        floor: the constant ending, as a share of `lr`.
        clip: largest absolute value of a gradient, 0 for none.
        coarse: architectures rated in the coarse phase, at most.
        fine: mutations rated in the fine phase.
        parents: so many of the best are mutated; 1 climbs from the best alone.
        children: n, random children of a step.
        label_smoothing: of the biggest child's loss.
        distil: whether children learn from the biggest (otherwise from labels).
        sandwich: whether biggest and smallest are in every step (otherwise n + 2 random ones).
    """

    preset: Literal["quick", "paper", "attentive"] = "quick"
    optimiser: str | None = None
    schedule: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    floor: float | None = None
    clip: float | None = None
    coarse: int | None = None
    fine: int | None = None
    parents: int | None = None
    children: int = 2
    label_smoothing: float = 0.1
    distil: bool = True
    sandwich: bool = True
    retrain: ClassVar[bool] = False
    different_paths: ClassVar[bool] = True
    _queue: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _rated: list[tuple[float, Architecture]] = field(default_factory=list, init=False, repr=False)
    _asked: set[Architecture] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = found = resolve(PRESETS, self)
        if self.children < 0 or found.coarse < 1 or found.fine < 0 or found.parents < 1:
            raise UsageError(
                f"bignas was given children={self.children}, coarse={found.coarse}, fine={found.fine} and "
                f"parents={found.parents}; expected children >= 0, coarse >= 1, fine >= 0 and parents >= 1."
            )
        for name, value, known in (("optimiser", found.optimiser, OPTIMISERS), ("schedule", found.schedule, SCHEDULES)):
            if value not in known:
                raise UsageError(unknown_name_sentence(f"{name} of bignas", value, known))

    def setup(self, problem: Problem) -> None:
        """Prepare the coarse phase."""
        super().setup(problem)
        self._largest, self._smallest = problem.space.largest(), problem.space.smallest()
        self._queue = coarse_grid(problem, self._set.coarse)
        self._rated, self._asked = [], set()

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet."""
        self._net = Supernet(problem.space, seed)
        return {"supernet": self._net}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD or RMSProp; as every weight has a gradient through the biggest child, all decay once a step."""
        net, found, decay = modules["supernet"], self._set, self._set.weight_decay
        optimiser: torch.optim.Optimizer
        if found.optimiser == "sgd":
            optimiser = make_sgd(net, TrainConfig(lr=found.lr, weight_decay=decay))
        else:
            optimiser = torch.optim.RMSprop(net.parameters(), found.lr, 0.9, 1e-3, weight_decay=decay, momentum=0.9)
        if found.clip:
            optimiser.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_value_(net.parameters(), found.clip))
        return {"weights": optimiser}

    def phases(self) -> list[Phase]:
        """Return the single stage."""
        return [Phase("train")]

    def step(self, context: Context) -> dict[str, float]:
        """Do one sandwich step."""
        draw = self.problem.space.sample
        random = [draw(context.rng) for _ in range(self.children if self.sandwich else self.children + 1)]
        biggest = self._largest if self.sandwich else draw(context.rng)
        children = [*random, self._smallest] if self.sandwich else random
        return sandwich_step(
            context,
            self._net,
            biggest,
            children,
            smoothing=self.label_smoothing,
            distil=soft_cross_entropy if self.distil else None,
            rate=self._rate(context),
        ).figures()

    def _rate(self, context: Context) -> float:
        found = self._set
        if found.schedule == "cosine":
            return max(warmup_cosine(context.progress, 0.05), min(found.floor, context.progress / 0.05))
        if found.schedule == "progress":
            return constant_ending(context.progress, floor=found.floor)
        return epochs_rate((context.phase_step + 1) / context.steps_per_epoch, found.floor)

    def derive(self) -> list[Architecture]:
        """Return the rated architectures, best first."""
        rated = sorted((pair for pair in self._rated if math.isfinite(pair[0])), key=lambda pair: pair[0])
        return [architecture for _, architecture in rated]

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose the coarse grid, then mutations of the best, none twice and none beyond the limits."""
        proposals: list[Proposal] = []
        while len(proposals) < n and len(self._asked) < self._set.coarse + self._set.fine:
            proposed = self._queue.pop(0) if self._queue else self._mutated(rng)
            if proposed is None:
                break
            self._asked.add(proposed)
            proposals.append(Proposal(proposed))
        return proposals

    def _mutated(self, rng: np.random.Generator) -> Architecture | None:
        best = sorted(self._rated, key=lambda pair: pair[0])[: self._set.parents]
        for attempt in range(200):
            child = best[int(rng.integers(len(best)))][1] if best else self.problem.sample(rng)
            for _ in range(1 + attempt // 50):  # further away where all neighbours are known or beyond the limits
                child = self.problem.space.mutate(child, rng)
            if child not in self._asked and self.problem.feasible(child):
                return child
        return None

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Note the ratings."""
        self._rated += [(self.problem.loss(result), result.architecture) for result in results]


def epochs_rate(epoch: float, floor: float) -> float:
    """Return the article's factor of the learning rate: 5 epochs of warm-up, then 0.97^(epoch / 2.4) or `floor`.

    >>> [round(epochs_rate(epoch, 0.05), 3) for epoch in (1, 5, 24, 300)]
    [0.197, 0.939, 0.737, 0.05]
    """
    return min(1.0, epoch / 5.0) * max(math.exp(math.log(0.97) * epoch / 2.4), floor)


def coarse_grid(problem: Problem, count: int) -> list[Architecture]:
    """Return different feasible architectures in which the choices of one name (`kernel`, ...) have one setting.

    A name has as many settings as its choices have options at most. A grid larger than `count` is thinned by drawing;
    what the limits leave short is filled up with random architectures within them.

    Raises:
        InfeasibleError: nothing within the limits was found.
    """
    space, rng = problem.space, generator(0, "coarse")
    groups = list(dict.fromkeys(_group(space, index) for index in range(len(space.choices))))
    numbers = [groups.index(_group(space, index)) for index in range(len(space.choices))]
    settings = [max(len(space.allowed[i]) for i, g in enumerate(numbers) if g == group) for group in range(len(groups))]
    found: dict[Architecture, None] = {}
    for levels in _grid(settings, 40 * count, rng):
        shares = [level / max(total - 1, 1) for level, total in zip(levels, settings, strict=True)]
        row = [options[round(shares[numbers[i]] * (len(options) - 1))] for i, options in enumerate(space.allowed)]
        architecture = space.repair(row, rng)
        if problem.feasible(architecture):
            found[architecture] = None
        if len(found) >= count:
            break
    for _ in range(20 * count):
        if len(found) >= count:
            break
        found[problem.sample(rng)] = None
    return list(found)


def _grid(settings: Sequence[int], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return up to `count` points of a grid, in random order; drawn one by one where it is too large to list."""
    total = math.prod(settings)
    if total > 100_000:
        return rng.integers(0, settings, size=(count, len(settings)))
    order = rng.permutation(total)[:count]
    return np.stack(np.unravel_index(order, settings), axis=1) if settings else np.zeros((1, 0), dtype=np.int64)


def _group(space: SearchSpace, index: int) -> str:
    return str(space.choices[index].name).rpartition(".")[2]
