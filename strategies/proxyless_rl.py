"""`proxyless_rl`: ProxylessNAS by REINFORCE (Cai, Zhu, Han 2019, section 3.3.2).

warm-up and weight steps: paths drawn from p = softmax(alpha)
update: draw M networks; R = accuracy x (ref / cost)^w on one valid batch, without gradients
        b <- b + (1 - decay) (mean R - b), alpha.grad = mean of (R - b) x gradient of -log p, Adam step
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.supernet import frozen_statistics
from nasforge.errors import UsageError
from nasforge.rng import generator
from nasforge.space import Architecture
from nasforge.strategy import Context, Phase, Problem, WeightSharing
from nasforge.strategy.most_probable import most_probable
from nasforge.strategy.path_logits import PathLogits
from nasforge.training import TrainConfig, make_sgd


@final
@dataclass
class ProxylessRL(WeightSharing):
    """REINFORCE over paths; needs no differentiable cost.

    Attributes:
        networks: M, drawn per update (10 in the paper).
        w: exponent of the cost in the reward.
        decay: of the baseline; 0.01 is what the released code does (its baseline is nearly this batch's mean), 0.99 a
            conventional slow one.
        lr: peak learning rate of the weights.
        weight_decay: of the weights.
        label_smoothing: of the weight step.
        arch_lr: learning rate of alpha (Adam, betas 0 and 0.999).
        arch_every: weight steps between two updates.
        warmup: share of the steps spent on warm-up.
        finalists: derived architectures, likeliest first.
    """

    networks: int = 6
    w: float = 0.1
    decay: float = 0.01
    lr: float = 0.1
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    arch_lr: float = 0.05
    arch_every: int = 3
    warmup: float = 0.4
    finalists: int = 4
    handles: ClassVar[frozenset[str] | None] = frozenset({"operator"})

    def __post_init__(self) -> None:
        """Check the options."""
        if self.networks < 2 or not 0 <= self.decay < 1 or not 0 <= self.warmup < 1:
            raise UsageError(
                "proxyless_rl was given networks, decay or warmup out of range; expected networks >= 2 and shares below 1."
            )

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet, alpha and the baseline."""
        self._cost = problem.costs[problem.reference_cost]
        bounds = [limit.bound for limit in problem.constraints if limit.metric == problem.reference_cost]
        rows: Any = problem.space.sample_batch(100, generator(0, "reference"))
        self._reference = bounds[0] if bounds else float(np.median(self._cost.batch(rows)))
        self._net, self._paths = Supernet(problem.space, seed), PathLogits(problem.space, seed)
        self._baseline: float | None = None
        return {"supernet": self._net, "paths": self._paths}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD for the weights and Adam without first moment for alpha."""
        config = TrainConfig(lr=self.lr, weight_decay=self.weight_decay)
        adam = torch.optim.Adam(modules["paths"].parameters(), self.arch_lr, betas=(0.0, 0.999))
        return {"weights": make_sgd(modules["supernet"], config), "paths": adam}

    def phases(self) -> list[Phase]:
        """Return warm-up and search."""
        search = Phase("search", 1.0 - self.warmup)
        return [Phase("warmup", self.warmup), search] if self.warmup else [search]

    def step(self, context: Context) -> dict[str, float]:
        """Do one weight step and, every k-th time in the search, one update of alpha."""
        searching = context.phase.name == "search"
        rate = (0.5 if searching and self.warmup else 1.0) * 0.5 * (1.0 + math.cos(math.pi * context.progress))
        images, targets = context.train_batch()
        loss = context.loss(self._net(images, self._paths.draw(context.rng)), targets, self.label_smoothing)
        context.backward(loss)
        context.update("weights", rate)
        if searching and context.phase_step % self.arch_every == self.arch_every - 1:
            return {"loss": float(loss.detach()), "reward": self._update(context)}
        return {"loss": float(loss.detach())}

    def _update(self, context: Context) -> float:
        images, targets = context.valid_batch()
        drawn = [self._paths.draw(context.rng) for _ in range(self.networks)]
        with torch.no_grad(), frozen_statistics(self._net):
            rewards = [self._reward(context.metrics(self._net(images, a), targets)["accuracy"], a) for a in drawn]
        mean = float(np.mean(rewards))
        self._baseline = (
            mean if self._baseline is None else self._baseline + (1.0 - self.decay) * (mean - self._baseline)
        )
        advantage = torch.tensor([reward - self._baseline for reward in rewards])
        logs = torch.stack([self._paths.log_probability(a.decisions) for a in drawn])
        context.backward(-(advantage * logs).mean())
        context.update("paths")
        return mean

    def _reward(self, accuracy: float, architecture: Architecture) -> float:
        return accuracy * (self._reference / max(self._cost(architecture), 1e-12)) ** self.w

    def snapshot(self) -> dict[str, Any]:
        """Return the baseline."""
        return {"baseline": getattr(self, "_baseline", None)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take the baseline back."""
        self._baseline = state["baseline"]

    def derive(self) -> list[Architecture]:
        """Return the likeliest architectures within the limits."""
        return most_probable(self.problem, self._paths.log_probabilities(), self.finalists)
