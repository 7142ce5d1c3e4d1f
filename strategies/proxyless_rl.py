"""`proxyless_rl`: ProxylessNAS by REINFORCE (Cai, Zhu, Han 2019, section 3.3.2).

warm-up and weight steps: paths drawn from p = softmax(alpha)
update: draw M networks; R = accuracy x (ref / cost)^w on the same valid batch, without gradients
        b <- mean R at first, then b + (1 - decay) (mean R - b)
        alpha.grad = mean of (R - b) x gradient of -log p, Adam step
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics
from nasforge.errors import UsageError
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Batch, Context, Phase, Problem, WeightSharing
from nasforge.strategy.paths.logits import PathLogits
from nasforge.strategy.paths.most_probable import most_probable
from nasforge.strategy.paths.training import (
    check_paths,
    is_architecture_turn,
    path_optimisers,
    path_phases,
    reference_cost,
    weight_step,
)
from nasforge.strategy.preset import resolve
from nasforge.strategy.reinforcement.baseline import Baseline
from nasforge.strategy.reinforcement.reward import cost_aware_reward


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `ProxylessRL` for what they are."""

    networks: int = 10
    batches: int = 16
    w: float = 0.1
    decay: float = 0.01
    lr: float = 0.05
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    arch_lr: float = 1e-3
    arch_every: int = 16
    arch_after: float = 1.0
    warmup: float = 0.25


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(networks=6, batches=1, lr=0.2, arch_lr=0.05, arch_every=3, arch_after=0.0, warmup=0.4),
    "paper": Constants(decay=0.99, arch_lr=1e-2),
    "released": Constants(),
}


@final
@dataclass
class ProxylessRL(WeightSharing):
    """REINFORCE over paths; needs no differentiable cost.

    `preset` sets what follows it down to `warmup`; an option given beside it goes before. `quick` is for searches of
    minutes, `released` the authors' released ImageNet search, whose rewards see 1,000 images (16 batches of 64) and
    whose baseline is nearly the mean of the same draw; `paper` has the slow baseline that the article's words suggest,
    and the `arch_lr` of its CIFAR-10 search.

    Attributes:
        preset: `quick`, `paper` or `released`.
        networks: M, drawn per update.
        batches: of valid images that one update's networks are judged on, all on the same.
        w: exponent of the cost in the reward; 0 rewards accuracy alone.
        decay: of the baseline, whose update comes before the advantage is taken.
        lr: peak learning rate of the weights.
        weight_decay: of all weights of the drawn path.
        label_smoothing: of the weight step.
        arch_lr: learning rate of alpha (Adam, betas 0 and 0.999).
        arch_every: weight steps between two updates.
        arch_after: epochs of the search before the first update.
        warmup: share of the steps spent on warm-up.
        ref: reference cost in the cost's unit (ms); without it the limit, or the median of 100 random architectures.
        finalists: derived architectures, likeliest first.
    """

    preset: Literal["quick", "paper", "released"] = "quick"
    networks: int | None = None
    batches: int | None = None
    w: float | None = None
    decay: float | None = None
    lr: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    arch_lr: float | None = None
    arch_every: int | None = None
    arch_after: float | None = None
    warmup: float | None = None
    ref: float | None = None
    finalists: int = 4
    handles: ClassVar[frozenset[str] | None] = frozenset({"operator"})

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = found = resolve(PRESETS, self)
        if min(found.networks - 1, found.batches, found.arch_every, self.finalists) < 1:
            raise UsageError(
                f"proxyless_rl was given networks={found.networks}, batches={found.batches}, "
                f"arch_every={found.arch_every} and finalists={self.finalists}; expected at least two networks and one "
                "of each other."
            )
        if not 0 <= found.decay < 1 or not 0 <= found.warmup < 1:
            raise UsageError(
                f"proxyless_rl was given decay={found.decay} and warmup={found.warmup}; "
                "expected shares from 0 to below 1."
            )

    def check_space(self, space: SearchSpace) -> None:
        """Refuse spaces that are not made of paths."""
        check_paths(space, "proxyless_rl")

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet, alpha and the baseline."""
        self._cost = problem.costs[problem.reference_cost]
        self._reference = reference_cost(problem) if self.ref is None else self.ref
        self._net, self._paths = Supernet(problem.space, seed), PathLogits(problem.space, seed)
        self._baseline = Baseline()
        return {"supernet": self._net, "paths": self._paths, "baseline": self._baseline}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD for the weights and Adam without first moment for alpha."""
        return path_optimisers(modules, self._set.lr, self._set.weight_decay, self._set.arch_lr)

    def phases(self) -> list[Phase]:
        """Return warm-up and search."""
        return path_phases(self._set.warmup)

    def step(self, context: Context) -> dict[str, float]:
        """Do one weight step and, every k-th time in the search, one update of alpha."""
        found = self._set
        figures = {"loss": weight_step(context, self._net, self._paths, found.label_smoothing, found.warmup)}
        if is_architecture_turn(context, found.arch_after, found.arch_every):
            figures["reward"] = self._update(context)
        return figures

    def _update(self, context: Context) -> float:
        batches = [context.valid_batch() for _ in range(self._set.batches)]
        drawn = [self._paths.draw(context.rng) for _ in range(self._set.networks)]
        rewards = [self.reward(self._accuracy(context, each, batches), each) for each in drawn]
        mean = float(np.mean(rewards))
        baseline = self._baseline.update(mean, self._set.decay)
        logs = torch.stack([self._paths.log_probability(each.decisions) for each in drawn])
        advantage = logs.new_tensor([reward - baseline for reward in rewards])
        context.backward(-(advantage * logs).mean())
        context.update("paths")
        return mean

    def _accuracy(self, context: Context, architecture: Architecture, batches: list[Batch]) -> float:
        with torch.no_grad(), frozen_statistics(self._net):
            found = [context.metrics(self._net(images, architecture), targets) for images, targets in batches]
        return float(np.mean([metrics["accuracy"] for metrics in found]))

    def reward(self, accuracy: float, architecture: Architecture) -> float:
        """Return R = accuracy x (ref / cost)^w."""
        return cost_aware_reward(accuracy, [self._cost(architecture) / self._reference], -self._set.w)

    def derive(self) -> list[Architecture]:
        """Return the likeliest architectures within the limits."""
        return most_probable(self.problem, self._paths.log_probabilities(), self.finalists)
