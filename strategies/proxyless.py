"""`proxyless`: ProxylessNAS by gradient (Cai, Zhu, Han 2019).

    warm-up: weights alone, paths drawn from p = softmax(alpha)
    search:  weight step  - a train batch, one drawn path; operators not drawn keep grad None
             every k-th   - architecture step on a valid batch, weights frozen:
                            binarise the gates, loss = CE (+ or x) expected latency,
                            alpha.grad += p (dL/dg - sum p dL/dg)  [equation 4], Adam with beta1 = 0, rescale
    derive:  the likeliest architecture within the limits

Symbols: alpha logits, p probabilities, g binary gates, E expected latency, ref its reference.
Defaults are for searches of a minute; `arch_lr=1e-3 arch_every=5 lr=0.05` are the paper's (which warms up for
40 of 160 epochs and searches with half the learning rate, as here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics
from nasforge.errors import UsageError
from nasforge.layers import Mixture
from nasforge.rng import generator
from nasforge.space import Architecture
from nasforge.strategy import Context, Phase, Problem, WeightSharing
from nasforge.strategy.expected_cost import expected_cost
from nasforge.strategy.most_probable import most_probable
from nasforge.strategy.path_logits import PathLogits, zero_options
from nasforge.training import TrainConfig, make_sgd

MODES = ("two", "full", "full_v2")
LATENCY_LOSSES = ("mul_log", "mul_pow", "add", "none")


@final
@dataclass
class Proxyless(WeightSharing):
    """Differentiable search over binarised paths.

    Attributes:
        mode: gates: `two` paths (the paper), `full` (all, outputs kept), `full_v2` (all, recomputed in backward;
            the default of the released code).
        latency_loss: `mul_log` = a CE (ln E / ln ref)^beta (released code; E and ref in microseconds for a latency),
            `mul_pow` = a CE (E / ref)^beta, `add` = CE + lambda (E - ref) / ref, or `none`.
        a, beta: of the multiplicative losses.
        lam: lambda of the additive loss.
        ref: reference cost in the cost's unit (ms); without it the limit, or the median of 100 random architectures.
        lr: peak learning rate of the weights (SGD, Nesterov 0.9, cosine; half of it in the search phase).
        weight_decay: of the weights.
        label_smoothing: of the weight step.
        arch_lr: learning rate of alpha (Adam, betas 0 and 0.999).
        arch_every: weight steps between two architecture steps, from the second epoch of the phase on.
        warmup: share of the steps spent on warm-up.
        finalists: derived architectures, likeliest first.
    """

    mode: str = "two"
    latency_loss: str = "mul_log"
    a: float = 0.2
    beta: float = 0.3
    lam: float = 0.1
    ref: float | None = None
    lr: float = 0.1
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    arch_lr: float = 0.05
    arch_every: int = 2
    warmup: float = 0.4
    finalists: int = 4
    handles: ClassVar[frozenset[str] | None] = frozenset({"operator"})

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value, known in (("mode", self.mode, MODES), ("latency_loss", self.latency_loss, LATENCY_LOSSES)):
            if value not in known:
                raise UsageError(f"proxyless was given {name}='{value}'; expected one of {', '.join(known)}.")
        if not 0 <= self.warmup < 1 or self.arch_every < 1:
            raise UsageError(
                f"proxyless was given warmup={self.warmup} and arch_every={self.arch_every}; expected 0 <= warmup < 1 and arch_every >= 1."
            )

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet and alpha."""
        self._cost = problem.costs[problem.reference_cost]
        self._scale = (
            1000.0 if self._cost.metric.endswith("_ms_predicted") or self._cost.metric.endswith("_ms") else 1.0
        )
        self._reference = reference_cost(problem) if self.ref is None else self.ref
        self._zeros = zero_options(problem.space)
        self._net, self._paths = Supernet(problem.space, seed), PathLogits(problem.space, seed)
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
        """Do one weight step and, every k-th time in the search, one architecture step."""
        searching = context.phase.name == "search"
        peak = 0.5 if searching and self.warmup else 1.0
        rate = peak * 0.5 * (1.0 + math.cos(math.pi * context.progress))
        images, targets = context.train_batch()
        outputs = self._net(images, self._paths.draw(context.rng))
        loss = context.loss(outputs, targets, self.label_smoothing)
        context.backward(loss)
        context.update("weights", rate)
        figures = {"loss": float(loss.detach())}
        first = min(context.steps_per_epoch, 20)
        if searching and context.phase_step >= first and context.phase_step % self.arch_every == 0:
            figures |= self._architecture_step(context)
        return figures

    def _architecture_step(self, context: Context) -> dict[str, float]:
        images, targets = context.valid_batch()
        gates = [self._binarise(choice, context.rng) for choice in range(len(self._paths.alphas))]
        names = [str(read.name) for read in self._paths.space.choices]
        mixtures = {
            name: Mixture(gate.g, gate.support, frozenset(gate.support) - {gate.active}, self.mode == "full_v2")
            for name, gate in zip(names, gates, strict=True)
        }
        architecture = self._paths.space.from_decisions([gate.active for gate in gates])
        self._net.requires_grad_(False)
        try:
            with frozen_statistics(self._net):
                entropy = context.loss(self._net(images, architecture, mixtures), targets)
            expected = expected_cost(
                self._cost, {i: gate.p_now for i, gate in enumerate(gates)}, architecture.decisions
            )
            context.backward(self._combined(entropy, expected))
        finally:
            self._net.requires_grad_(True)
        before = [alpha.detach().clone() for alpha in self._paths.alphas]
        for choice, gate in enumerate(gates):
            self._set_gradient(choice, gate)
        context.update("paths")
        if self.mode == "two":
            for alpha, old, gate in zip(self._paths.alphas, before, gates, strict=True):
                rescale(alpha.data, old, gate.support)
        return {"expected_cost": float(expected.detach()), "entropy": self._paths.entropy()}

    def _binarise(self, choice: int, rng: np.random.Generator) -> Gate:
        """Draw the gates of one choice (section 3.2): two paths without replacement, or one out of all."""
        logits = self._paths.logits(choice)
        p = torch.softmax(logits.detach().double(), 0).numpy()
        options = [int(option) for option in np.flatnonzero(p > 0)]
        if self.mode == "two" and len(options) > 2:
            options = sorted(int(option) for option in rng.choice(len(p), 2, replace=False, p=p / p.sum()))
        support = tuple(options)
        q = torch.softmax(logits[options], 0)
        weights = q.detach().double().numpy()
        active = int(rng.choice(support, p=weights / weights.sum()))
        g = torch.zeros(len(p))
        g[active] = 1.0
        return Gate(
            g.requires_grad_(True),
            support,
            active,
            torch.zeros(len(p)).index_put((torch.tensor(options),), q),
            q.detach(),
        )

    def _combined(self, entropy: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        e, ref = expected * self._scale, self._reference * self._scale
        if self.latency_loss == "add":
            return entropy + self.lam * (e - ref) / ref
        if self.latency_loss == "mul_pow":
            return self.a * entropy * (e / ref) ** self.beta
        if self.latency_loss == "mul_log":
            if float(e.detach()) <= 1.0 or ref <= 1.0:
                raise UsageError(
                    f"mul_log needs costs above 1, and got {float(e):g} against {ref:g}; use latency_loss=mul_pow."
                )
            return self.a * entropy * (torch.log(e) / math.log(ref)) ** self.beta
        return entropy + 0.0 * e

    def _set_gradient(self, choice: int, gate: Gate) -> None:
        """Add the path gradient to alpha.grad, which holds the latency term's already (equation 4)."""
        alpha = self._paths.alphas[choice]
        if gate.active in self._zeros[choice] and self.mode == "two":
            alpha.grad = None  # the released code leaves a layer alone whose active operator is Zero
            return
        if gate.g.grad is None:
            return
        support = list(gate.support)
        gradient = gate.g.grad[support]
        local = gate.q * (gradient - (gate.q * gradient).sum())
        if alpha.grad is None:
            alpha.grad = torch.zeros_like(alpha)
        alpha.grad[support] += local

    def derive(self) -> list[Architecture]:
        """Return the likeliest architectures within the limits."""
        return most_probable(self.problem, self._paths.log_probabilities(), self.finalists)


@final
@dataclass(frozen=True, slots=True)
class Gate:
    """The drawn gates of one choice: g one-hot over all options, q the probabilities of the support."""

    g: torch.Tensor
    support: tuple[int, ...]
    active: int
    p_now: torch.Tensor
    q: torch.Tensor


def rescale(alpha: torch.Tensor, old: torch.Tensor, support: tuple[int, ...]) -> None:
    """Shift the stepped logits so that their total probability, and every other one, is what it was before."""
    chosen = list(support)
    offset = torch.logsumexp(alpha[chosen].double(), 0) - torch.logsumexp(old[chosen].double(), 0)
    alpha[chosen] = (alpha[chosen].double() - offset).to(alpha.dtype)


def reference_cost(problem: Problem) -> float:
    """Return the limit on the reference cost, or the median of 100 random architectures."""
    for limit in problem.constraints:
        if limit.metric == problem.reference_cost:
            return limit.bound
    rows: Any = problem.space.sample_batch(100, generator(0, "reference"))
    return float(np.median(problem.costs[problem.reference_cost].batch(rows)))
