"""`nasnet_rl`: an LSTM controller trained by proximal policy optimisation (Zoph et al. 2018; Schulman et al. 2017).

ask:  an architecture, one softmax after another; log p_old <- its log-probability now
tell: R <- accuracy x (cost / limit)^w; every `batch` results
          A <- R - b, then b <- decay b + (1 - decay) R for each R
          `epochs` times: r <- exp(log p - log p_old)
              Adam step on -mean min(r A, clip(r, 1 - eps, 1 + eps) A) - entropy x mean entropy
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import numpy as np
import torch

from nasforge.errors import IncompatibleError, UsageError, unknown_name_sentence
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Evaluation, Problem, Proposal, Strategy
from nasforge.strategy.preset import resolve
from nasforge.strategy.reinforcement.baseline import Baseline
from nasforge.strategy.reinforcement.controller import HEADS, Controller
from nasforge.strategy.reinforcement.reward import cost_aware_reward


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `NASNetRL` for what they are."""

    batch: int = 20
    epochs: int = 4
    lr: float = 0.00035
    entropy: float = 0.00001
    decay: float = 0.95
    scale: Literal["none", "deviation"] = "none"
    heads: Literal["kind", "choice"] = "kind"
    redraws: int = 0


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(10, 8, 0.003, 0.05, decay=0.9, scale="deviation", heads="choice", redraws=20),
    "paper": Constants(),
}
SCALES: Final = ("none", "deviation")


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """An evaluated architecture, its log-probability when it was drawn, and its reward."""

    architecture: Architecture
    log_old: float
    reward: float


def ppo_loss(logs: torch.Tensor, logs_old: torch.Tensor, advantages: torch.Tensor, clip: float) -> torch.Tensor:
    """Return -mean min(r A, clip(r, 1 - eps, 1 + eps) A), r = exp(logs - logs_old); all of shape (n,).

    Schulman et al. 2017, equation 7.
    """
    ratios = torch.exp(logs - logs_old)
    return -torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + clip) * advantages).mean()


@final
@dataclass
class NASNetRL(Strategy):
    """Reinforcement learning of a controller over the decisions of any space.

    `preset` sets what follows it down to `redraws`; an option given beside it goes before. `paper` holds the article's
    constants as they are remembered, not re-checked (its controller was not released): one layer of 100 units, weights
    from U(-0.1, 0.1), learning rate 0.00035, entropy weight 0.00001, baseline 0.95, 20 children an update. Clip range,
    epochs and Adam are choices made here. `quick` is for some hundred evaluations: higher learning rate and
    entropy weight, advantages in units of their deviation, a head for each choice, nothing proposed twice.

    The reward is the first objective (1 / (1 + value) where less is better), times (cost / limit)^w for each limit on a
    known cost, and times value^w (its inverse where more is better) for each further objective. A failed evaluation has
    the least reward seen so far. Draws beyond the limits are drawn again, and after `tries` an architecture within them
    is taken that the controller did not draw; its log-probability is still the controller's, no importance weight.

    Attributes:
        preset: `quick` or `paper`.
        batch: children of an update.
        epochs: steps on each batch.
        lr: learning rate (Adam).
        entropy: weight of the mean entropy of a step, in nats.
        decay: of the baseline b, once for every reward; b starts as the mean of the first batch.
        scale: `none`, or `deviation`: advantages are divided by the standard deviation of the batch's rewards.
        heads: softmax and embeddings for each `kind` of decision and number of options, or for each `choice`.
        redraws: draws of known architectures before one is proposed again.
        w: exponent of costs in the reward, that of MnasNet; 0 rewards the first objective alone.
        clip: eps, by which the ratio of probabilities may leave 1 with gain.
        units: of the LSTM layer and of embeddings.
        span: initial weights are uniform within +-span.
        tries: draws beyond the limits before an architecture within them is taken.
    """

    preset: Literal["quick", "paper"] = "quick"
    batch: int | None = None
    epochs: int | None = None
    lr: float | None = None
    entropy: float | None = None
    decay: float | None = None
    scale: str | None = None
    heads: str | None = None
    redraws: int | None = None
    w: float = -0.07
    clip: float = 0.2
    units: int = 100
    span: float = 0.1
    tries: int = 20
    _controller: Controller | None = field(default=None, init=False, repr=False)
    _waiting: dict[Architecture, deque[float]] = field(default_factory=dict, init=False, repr=False)
    _samples: list[Sample] = field(default_factory=list, init=False, repr=False)
    _known: set[Architecture] = field(default_factory=set, init=False, repr=False)
    _least: float = field(default=math.inf, init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the options."""
        self._set = found = resolve(PRESETS, self)
        for option, value, known in (("scale", found.scale, SCALES), ("heads", found.heads, HEADS)):
            if value not in known:
                raise UsageError(unknown_name_sentence(f"{option} of nasnet_rl", str(value), known))
        if min(found.batch - 1, found.epochs, self.units, self.tries, found.redraws + 1) < 1:
            raise UsageError(
                f"nasnet_rl was given batch={found.batch}, epochs={found.epochs}, units={self.units}, "
                f"tries={self.tries} and redraws={found.redraws}; expected a batch of at least two, redraws from 0, "
                "and one of each other."
            )
        if not (0 < self.clip < 1 and 0 <= found.decay < 1 and found.lr > 0 and found.entropy >= 0 and self.span > 0):
            raise UsageError(
                f"nasnet_rl was given clip={self.clip}, decay={found.decay}, lr={found.lr}, entropy={found.entropy} "
                f"and span={self.span}; expected 0 < clip < 1, 0 <= decay < 1, lr and span above 0, entropy from 0."
            )

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that decides nothing."""
        if not any(len(options) > 1 for options in space.allowed):
            raise IncompatibleError(
                f"strategy 'nasnet_rl' cannot search space '{space.name}': every choice has one option, so its "
                "controller has nothing to decide; give it a space with at least two architectures."
            )

    def setup(self, problem: Problem) -> None:
        """Start without a controller, which the first `ask` makes."""
        super().setup(problem)
        self._controller, self._baseline, self._least = None, Baseline(), math.inf
        self._waiting, self._samples, self._known = {}, [], set()

    def ask(self, n: int, rng: np.random.Generator) -> list[Proposal]:
        """Let the controller draw."""
        if self._controller is None:
            self._begin(rng)
        return [Proposal(self._draw(rng)) for _ in range(n)]

    def _begin(self, rng: np.random.Generator) -> Controller:
        heads: Any = self._set.heads
        self._controller = made = Controller(self.problem.space, self.units, self.span, heads, rng)
        self._adam = torch.optim.Adam(made.parameters(), self._set.lr)
        self._policy = made.policy()
        return made

    def _draw(self, rng: np.random.Generator) -> Architecture:
        """Return an architecture within the limits, and keep its log-probability until its result is told."""
        outside = again = 0
        while outside < self.tries:
            drawn, log_old = self._policy.draw(rng)
            if not self.problem.feasible(drawn):
                outside += 1
            elif drawn in self._known and again < self._set.redraws:
                again += 1
            else:
                break
        else:
            drawn = self.problem.sample(rng)
            log_old = self._policy.log_probability(drawn)
        self._known.add(drawn)
        self._waiting.setdefault(drawn, deque()).append(log_old)
        return drawn

    def tell(self, results: Sequence[Evaluation]) -> None:
        """Collect rewards, and learn from each full batch."""
        for result in results:
            logs = self._waiting[result.architecture]
            log_old = logs.popleft()
            if not logs:
                del self._waiting[result.architecture]
            self._samples.append(Sample(result.architecture, log_old, self._rewarded(result)))
            if len(self._samples) >= self._set.batch:
                self._update()

    def _rewarded(self, result: Evaluation) -> float:
        found = math.nan if result.error is not None else self.reward(result)
        if math.isfinite(found):
            self._least = min(self._least, found)
            return found
        return self._least if math.isfinite(self._least) else 0.0

    def reward(self, result: Evaluation) -> float:
        """Return R of a successful evaluation; NaN or infinity where an objective is missing."""
        problem, metrics = self.problem, {**self.problem.cost_metrics(result.architecture), **result.metrics}
        first, *others = problem.objectives
        quality = metrics.get(first.metric, math.nan)
        if first.direction == "minimize":
            quality = 1.0 / (1.0 + max(quality, 0.0))
        bounds = {limit.metric: limit.bound for limit in problem.constraints if limit.metric in problem.costs}
        ratios = [problem.costs[metric](result.architecture) / max(bound, 1e-12) for metric, bound in bounds.items()]
        for objective in others:
            value = max(metrics.get(objective.metric, math.nan), 1e-12)
            if objective.metric not in bounds:
                ratios.append(value if objective.direction == "minimize" else 1.0 / value)
        return cost_aware_reward(quality, ratios, self.w)

    def _update(self) -> None:
        """Do `epochs` steps of PPO on the batch at hand."""
        assert self._controller is not None
        batch = self._controller.encode([each.architecture for each in self._samples])
        logs_old = torch.tensor([each.log_old for each in self._samples])
        advantages = self._advantages([each.reward for each in self._samples])
        for _ in range(self._set.epochs):
            logs, entropies = self._controller(batch)
            loss = ppo_loss(logs, logs_old, advantages, self.clip) - self._set.entropy * entropies.mean()
            self._adam.zero_grad()
            loss.backward()
            self._adam.step()
        self._samples, self._policy = [], self._controller.policy()

    def _advantages(self, rewards: Sequence[float]) -> torch.Tensor:
        """Return R - b with the b before these rewards, then let each of them move b."""
        if math.isnan(float(self._baseline.value)):
            self._baseline.update(float(np.mean(rewards)), self._set.decay)
        found = np.asarray(rewards) - float(self._baseline.value)
        for reward in rewards:
            self._baseline.update(reward, self._set.decay)
        deviation = float(np.std(rewards))
        if self._set.scale == "deviation" and deviation > 0:
            found = found / deviation
        return torch.tensor(found, dtype=torch.float32)

    def snapshot(self) -> dict[str, Any]:
        """Return the controller, its optimiser, the baseline, and what waits for results or for a full batch."""
        if self._controller is None:
            return {"begun": False}
        return {
            "begun": True,
            "controller": {name: value.numpy().copy() for name, value in self._controller.state_dict().items()},
            "adam": [
                {name: value.numpy().copy() if value.ndim else float(value) for name, value in state.items()}
                for state in self._adam.state_dict()["state"].values()
            ],
            "baseline": float(self._baseline.value) if self._baseline.value == self._baseline.value else None,
            "least": self._least if math.isfinite(self._least) else None,
            "waiting": [[list(each.decisions), list(logs)] for each, logs in self._waiting.items()],
            "samples": [[list(each.architecture.decisions), each.log_old, each.reward] for each in self._samples],
            "known": np.asarray(sorted(each.decisions for each in self._known)),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `snapshot` gave."""
        self.setup(self.problem)
        if not state["begun"]:
            return
        of = self.problem.space.from_decisions
        controller = self._begin(np.random.default_rng(0))
        controller.load_state_dict({name: torch.as_tensor(value) for name, value in state["controller"].items()})
        self._policy = controller.policy()
        moments = [{name: torch.as_tensor(value) for name, value in each.items()} for each in state["adam"]]
        self._adam.load_state_dict({**self._adam.state_dict(), "state": dict(enumerate(moments))})
        if state["baseline"] is not None:
            self._baseline.update(float(state["baseline"]), 0.0)
        self._least = math.inf if state["least"] is None else float(state["least"])
        self._waiting = {of(decisions): deque(map(float, logs)) for decisions, logs in state["waiting"]}
        self._samples = [Sample(of(decisions), float(log), float(r)) for decisions, log, r in state["samples"]]
        self._known = {of(row) for row in np.asarray(state["known"])}
