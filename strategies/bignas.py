"""`bignas`: a single-stage supernet whose children need no retraining (Yu et al. 2020).

    step:   biggest child  - cross-entropy with label smoothing on labels, dropout, dropped paths
            teacher        - its softmax, detached
            smallest child and n random ones - soft cross-entropy to the teacher, no labels, nothing dropped
            one optimiser step on the sum of all gradients (the sandwich rule)
    select: coarse - a grid over global settings of depth, width, kernel, expansion and resolution
            fine   - the best within a budget, one of its stages mutated; costs are looked at before anything is rated

Gamma = 0 at the end of each residual block is part of the space, as is the resolution: biggest and smallest child have
its extremes, others any. The learning rate falls to a constant (constant ending).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.errors import UsageError
from nasforge.layers.conv import ElasticBatchNorm
from nasforge.ranges import Finite, NonNegative, Positive, Share
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Evaluation, Phase, Problem, Proposal, WeightSharing
from nasforge.strategy.coarse_to_fine import budgeted, coarse_grid, mutate_stage, parse_levels, without_options
from nasforge.strategy.preset import resolve
from nasforge.strategy.refusal import refuse_unknown
from nasforge.strategy.sandwich import ChildLoss, sandwich_step
from nasforge.training import TrainConfig, adaptive_alpha_divergence, make_sgd, soft_cross_entropy
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
    label_smoothing: float = 0.1
    drop_path: float = 0.0
    coarse: int = 24
    fine: int = 24
    parents: int = 3
    levels: tuple[str, ...] = ()


PAPER_LEVELS: Final = ("resolution:5", "depth:4", "width:2", "kernel:2x2")
"""5 resolutions x 4 depths x 2 widths x 4 kernels = 160: how four kernel configurations come about is a guess.

A choice with fewer options than levels has a level for each: with the four resolutions that the space has by default
the grid has 128 points, and random architectures fill the phase up to 160.
"""
PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(),
    "paper": Constants(
        "rmsprop", "epochs", 0.004, 1e-5, 0.05, 0.0, drop_path=0.2, coarse=160, fine=160, parents=1, levels=PAPER_LEVELS
    ),
    "attentive": Constants("sgd", "cosine", 0.025, 1e-5, 0.0, drop_path=0.2, coarse=160, fine=160),
}
CHOICES: Final = {"optimiser": ("sgd", "rmsprop"), "schedule": ("cosine", "progress", "epochs")}


@final
@dataclass
class BigNAS(WeightSharing):
    """Sandwich rule, in-place distillation, coarse-to-fine selection.

    `preset` sets what follows it down to `levels`; an option given beside it goes before. `quick` is for searches of
    minutes. `paper` holds the article's constants as they are remembered, not re-checked (RMSProp, learning rate for a
    batch of 64, 0.97 every 2.4 epochs with a constant ending, 160 coarse children); `attentive` those of the related
    AttentiveNAS code (SGD, cosine, gradients clipped), for a batch of 64. Dropout is an option of the space.

    Attributes:
        preset: `quick`, `paper` or `attentive`.
        optimiser: `sgd` (Nesterov, normalisation and biases not decayed) or `rmsprop`.
        schedule: of the learning rate, never below the floor: `cosine` and `progress` = exp(-6 x share done), both of
            any length and after `warmup`, `epochs` = decay^(epoch / decay_epochs) after `warmup_epochs`.
        lr: peak learning rate.
        weight_decay: acts through the biggest child, once a step.
        floor: the constant ending, as a share of `lr`.
        clip: largest absolute value of a gradient, 0 for none.
        label_smoothing: of the biggest child's loss.
        drop_path: chance that the deepest path that the space marks is dropped in the biggest child, others in
            proportion to their depth (stochastic depth).
        coarse: architectures rated in the coarse phase, at most.
        fine: mutations rated in the fine phase.
        parents: so many of the best are mutated; 1 climbs from the best alone.
        levels: how finely the coarse grid looks at choices, by the last part of their names (`depth:4`; `kernel:2x2`
            sets early and late stages apart); at others, and where there are fewer, in each of their options.
        momentum: of the optimiser.
        rms_decay: of RMSProp's mean of squares.
        epsilon: added to the root of that mean.
        norm_momentum: share of a batch in running statistics of normalisation (the paper's 0.99 is 0.01 here); None:
            that of the space's layers. Networks are judged with statistics taken anew, so it matters little.
        warmup: share of the training in which the learning rate rises.
        warmup_epochs: the same in epochs.
        decay: of the learning rate in `decay_epochs`.
        decay_epochs: see there.
        children: n, random children of a step.
        teaching: what children learn from: the biggest's probabilities by cross-entropy (`soft`) or by AlphaNet's
            adaptive alpha-divergence (`alpha`), or `labels`.
        temperature: that the biggest's and a child's logits are divided by, with `soft`.
        alpha_low: the smaller alpha of that divergence.
        alpha_high: the larger one.
        alpha_clip: the largest power of a ratio of probabilities in it.
        sandwich: whether biggest and smallest are in every step (otherwise n + 2 random ones).
        untrained: options that are searched and not trained, such as `resolution:256`.
        budgets: limits on MACs; the fine phase improves the best within each in turn, and `result.json` lists them all.
    """

    preset: Literal["quick", "paper", "attentive"] = "quick"
    optimiser: str | None = None
    schedule: str | None = None
    lr: Positive | None = None
    weight_decay: NonNegative | None = None
    floor: Share | None = None
    clip: NonNegative | None = None
    label_smoothing: Share | None = None
    drop_path: float | None = None
    coarse: int | None = None
    fine: int | None = None
    parents: int | None = None
    levels: tuple[str, ...] | None = None
    momentum: Share = 0.9
    rms_decay: Share = 0.9
    epsilon: Positive = 1e-3
    norm_momentum: float | None = None
    warmup: Share = 0.05
    warmup_epochs: NonNegative = 5.0
    decay: Positive = 0.97
    decay_epochs: Positive = 2.4
    children: int = 2
    teaching: Literal["soft", "alpha", "labels"] = "soft"
    temperature: Positive = 1.0
    alpha_low: Finite = -1.0
    alpha_high: Finite = 1.0
    alpha_clip: Positive = 5.0
    sandwich: bool = True
    untrained: tuple[str, ...] = ()
    budgets: tuple[Positive, ...] = ()
    retrain: ClassVar[bool] = False
    different_paths: ClassVar[bool] = True
    _queue: list[Architecture] = field(default_factory=list, init=False, repr=False)
    _rated: list[tuple[float, Architecture]] = field(default_factory=list, init=False, repr=False)
    _asked: set[Architecture] = field(default_factory=set, init=False, repr=False)
    _unrated: set[Architecture] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = found = resolve(PRESETS, self)
        self._levels = parse_levels(found.levels)
        if self.children < 0 or found.coarse < 1 or found.fine < 0 or found.parents < 1:
            raise UsageError(
                f"bignas was given children={self.children}, coarse={found.coarse}, fine={found.fine} and "
                f"parents={found.parents}; expected children >= 0, coarse >= 1, fine >= 0 and parents >= 1."
            )
        if not 0 <= found.drop_path < 1:
            raise UsageError(f"drop_path of bignas was given {found.drop_path}; expected at least 0 and less than 1.")
        if self.temperature <= 0 or self.epsilon <= 0 or not 0 < (self.norm_momentum or 1.0) <= 1:
            raise UsageError(
                f"bignas was given temperature={self.temperature:g}, epsilon={self.epsilon:g} and "
                f"norm_momentum={self.norm_momentum}; expected the first two above 0, and a share above 0 up to 1."
            )
        given = {"optimiser": found.optimiser, "schedule": found.schedule, "teaching": self.teaching}
        refuse_unknown("bignas", given, {**CHOICES, "teaching": tuple(self._teachings())})

    def _teachings(self) -> Mapping[str, ChildLoss | None]:
        alpha = partial(adaptive_alpha_divergence, low=self.alpha_low, high=self.alpha_high, clip=self.alpha_clip)
        soft = partial(soft_cross_entropy, temperature=self.temperature)
        return {"soft": soft, "alpha": alpha, "labels": None}

    def check_space(self, space: SearchSpace) -> None:
        """Leave out what is not trained; refuse options that the space does not have."""
        self._trained = without_options(space, self.untrained, "untrained of bignas")

    def setup(self, problem: Problem) -> None:
        """Prepare the coarse phase."""
        super().setup(problem)
        self._largest, self._smallest = self._trained.largest(), self._trained.smallest()
        self._within = budgeted(problem, self.budgets)
        self._queue = coarse_grid(problem, self._set.coarse, self._levels)
        self._rated, self._asked, self._unrated = [], set(), set(self._queue)

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet."""
        self._net = Supernet(problem.space, seed)
        self._net.dropping.chance = self._set.drop_path
        if self.norm_momentum is not None:
            for part in (each for each in self._net.modules() if isinstance(each, ElasticBatchNorm)):
                part.momentum = self.norm_momentum
        return {"supernet": self._net}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD or RMSProp; as every weight has a gradient through the biggest child, all decay once a step."""
        net, found, decay = modules["supernet"], self._set, self._set.weight_decay
        optimiser: torch.optim.Optimizer
        if found.optimiser == "sgd":
            optimiser = make_sgd(net, TrainConfig(lr=found.lr, momentum=self.momentum, weight_decay=decay))
        else:
            optimiser = torch.optim.RMSprop(
                net.parameters(), found.lr, self.rms_decay, self.epsilon, weight_decay=decay, momentum=self.momentum
            )
        if found.clip:
            optimiser.register_step_pre_hook(lambda *_: torch.nn.utils.clip_grad_value_(net.parameters(), found.clip))
        return {"weights": optimiser}

    def phases(self) -> list[Phase]:
        """Return the single stage."""
        return [Phase("train")]

    def step(self, context: Context) -> dict[str, float]:
        """Do one sandwich step."""
        draw = self._trained.sample
        random = [draw(context.rng) for _ in range(self.children if self.sandwich else self.children + 1)]
        biggest = self._largest if self.sandwich else draw(context.rng)
        children = [*random, self._smallest] if self.sandwich else random
        return sandwich_step(
            context,
            self._net,
            biggest,
            children,
            smoothing=self._set.label_smoothing,
            distil=self._teachings()[self.teaching],
            rate=self._rate(context),
        ).figures()

    def _rate(self, context: Context) -> float:
        found, rise = self._set, self.warmup
        if found.schedule == "cosine":
            started = context.progress / rise if rise else 1.0
            return max(warmup_cosine(context.progress, rise), min(found.floor, started))
        if found.schedule == "progress":
            return constant_ending(context.progress, rise, found.floor)
        epoch = (context.phase_step + 1) / context.steps_per_epoch
        risen = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        return float(risen * max(self.decay ** (epoch / self.decay_epochs), found.floor))

    def derive(self) -> list[Architecture]:
        """Return the rated architectures, best first."""
        rated = sorted((pair for pair in self._rated if math.isfinite(pair[0])), key=lambda pair: pair[0])
        return [architecture for _, architecture in rated]

    def winners(self) -> dict[str, Architecture]:
        """Return by budget, as `macs <= 2.42e+08`, the best that was rated within it, where there is any."""
        found: dict[str, Architecture] = {}
        for budget, problem in zip(self.budgets, self._within, strict=False):  # without budgets there is one problem
            for best in [each for each in self.derive() if problem.feasible(each)][:1]:
                found[f"macs <= {budget:.6g}"] = best
        return found

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Propose the coarse grid, then mutations of the best, none twice and none beyond the limits.

        Nothing while the last of the coarse phase are being rated: what the fine phase starts from does not depend on
        how many are rated at a time.
        """
        proposals: list[Proposal] = []
        while len(proposals) < n and len(self._asked) < self._set.coarse + self._set.fine:
            if not self._queue and self._unrated:
                break
            proposed = self._queue.pop(0) if self._queue else self._mutated(rng)
            if proposed is None:
                break
            self._asked.add(proposed)
            proposals.append(Proposal(proposed))
        return proposals

    def _mutated(self, rng: np.random.Generator) -> Architecture | None:
        """Return a new neighbour of the best within the budget whose turn it is; None where none was found."""
        problem = self._within[len(self._asked) % len(self._within)]
        best = [each for each in self.derive() if problem.feasible(each)][: self._set.parents]
        for attempt in range(200):
            child = best[int(rng.integers(len(best)))] if best else problem.sample(rng)
            for _ in range(1 + attempt // 50):  # further away where all neighbours are known or beyond the limits
                child = mutate_stage(problem.space, child, rng)
            if child not in self._asked and problem.feasible(child):
                return child
        return None

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Note the ratings."""
        self._unrated.difference_update(result.architecture for result in results)
        self._rated += [(self.problem.loss(result), result.architecture) for result in results]
