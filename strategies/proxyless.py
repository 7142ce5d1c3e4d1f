"""`proxyless`: ProxylessNAS by gradient (Cai, Zhu, Han 2019).

    warm-up: weights alone, paths drawn from p = softmax(alpha)
    search:  weight step  - a train batch, one drawn path; operators not drawn keep grad None
             every k-th   - architecture step on a valid batch, weights frozen:
                            binarise the gates, loss = CE (+ or x) expected latency,
                            alpha.grad += p (dL/dg - sum p dL/dg)  [equation 4], Adam with beta1 = 0, rescale
    derive:  the likeliest architecture within the limits

Symbols: alpha logits, p probabilities, g binary gates, E expected latency, ref its reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics
from nasforge.errors import IncompatibleError, UsageError
from nasforge.layers import Mixture
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy import Context, Phase, Problem, WeightSharing
from nasforge.strategy.paths.expected_cost import expected_cost
from nasforge.strategy.paths.logits import PathLogits, zero_options
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

MODES = ("two", "full", "full_v2")
LATENCY_LOSSES = ("mul_log", "mul_pow", "add", "none")


@final
@dataclass(frozen=True, slots=True)
class Constants:
    """The options that a preset sets; see `Proxyless` for what they are."""

    mode: str = "two"
    latency_loss: str = "mul_log"
    a: float = 0.2
    beta: float = 0.3
    lam: float = 0.1
    only_above: bool = False
    lr: float = 0.05
    weight_decay: float = 4e-5
    label_smoothing: float = 0.1
    arch_lr: float = 1e-3
    arch_every: int = 5
    arch_after: float = 1.0
    warmup: float = 0.25


PRESETS: Final[Mapping[str, Constants]] = {
    "quick": Constants(only_above=True, lr=0.2, arch_lr=0.05, arch_every=2, arch_after=0.0, warmup=0.4),
    "paper": Constants(latency_loss="add", arch_lr=6e-3),
    "released": Constants(mode="full_v2"),
}


@final
@dataclass
class Proxyless(WeightSharing):
    """Differentiable search over binarised paths.

    `preset` sets what follows it down to `warmup`; an option given beside it goes before. `quick` is for searches of
    minutes. `released` is the authors' released ImageNet search (which has batches of 256): all gates recomputed, CE x
    log latency. `paper` takes what the article writes where the two differ: two paths and a latency term that is added;
    its `arch_lr` is the one of the article's CIFAR-10 search, what the article leaves open is as released.

    Attributes:
        preset: `quick`, `paper` or `released`.
        mode: gates: `two` paths, `full` (all, outputs kept), or `full_v2` (all, recomputed in backward).
        latency_loss: `mul_log` = a CE (ln E / ln ref)^beta (E and ref in microseconds for a latency), `mul_pow` =
            a CE (E / ref)^beta, `add` = CE + lambda (E - ref) / ref, or `none`.
        a: factor of the multiplicative losses.
        beta: exponent of the multiplicative losses.
        lam: lambda of the additive loss.
        only_above: leave the latency term out while the expectation under p is within ref, so that nothing is given up
            for a network faster than asked for (as MnasNet's hard reward; not in the article, whose factor is tuned).
        lr: peak learning rate of the weights (SGD, Nesterov 0.9, cosine; half of it in a search after a warm-up).
        weight_decay: of all weights of the drawn path.
        label_smoothing: of the weight step; the architecture step has none.
        arch_lr: learning rate of alpha (Adam, betas 0 and 0.999).
        arch_every: weight steps between two architecture steps.
        arch_after: epochs of the search before the first architecture step.
        warmup: share of the steps spent on warm-up.
        ref: reference cost in the cost's unit (ms); without it the limit, or the median of 100 random architectures.
        finalists: derived architectures, likeliest first (the article derives one).
    """

    preset: Literal["quick", "paper", "released"] = "quick"
    mode: str | None = None
    latency_loss: str | None = None
    a: float | None = None
    beta: float | None = None
    lam: float | None = None
    only_above: bool | None = None
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
        for name, value, known in (("mode", found.mode, MODES), ("latency_loss", found.latency_loss, LATENCY_LOSSES)):
            if value not in known:
                raise UsageError(f"proxyless was given {name}='{value}'; expected one of {', '.join(known)}.")
        if not 0 <= found.warmup < 1 or found.arch_every < 1 or self.finalists < 1:
            raise UsageError(
                f"proxyless was given warmup={found.warmup}, arch_every={found.arch_every} and "
                f"finalists={self.finalists}; expected 0 <= warmup < 1, arch_every >= 1 and finalists >= 1."
            )

    def check_space(self, space: SearchSpace) -> None:
        """Refuse spaces that are not made of paths."""
        check_paths(space, "proxyless")

    def setup(self, problem: Problem) -> None:
        """Refuse costs that have no expectation."""
        super().setup(problem)
        self._cost = problem.costs[problem.reference_cost]
        if not self._cost.tables and self._set.latency_loss != "none":
            raise IncompatibleError(
                f"strategy 'proxyless' cannot search space '{problem.space.name}': its cost '{self._cost.metric}' is "
                "no sum of tables, so it has no expectation; use latency_loss=none or another strategy."
            )

    def modules(self, problem: Problem, seed: int) -> dict[str, torch.nn.Module]:
        """Return the supernet and alpha."""
        self._scale = 1000.0 if "_ms" in self._cost.metric else 1.0
        self._reference = reference_cost(problem) if self.ref is None else self.ref
        self._zeros = zero_options(problem.space)
        self._net, self._paths = Supernet(problem.space, seed), PathLogits(problem.space, seed)
        return {"supernet": self._net, "paths": self._paths}

    def optimisers(self, modules: Mapping[str, torch.nn.Module]) -> dict[str, torch.optim.Optimizer]:
        """Return SGD for the weights and Adam without first moment for alpha."""
        return path_optimisers(modules, self._set.lr, self._set.weight_decay, self._set.arch_lr)

    def phases(self) -> list[Phase]:
        """Return warm-up and search."""
        return path_phases(self._set.warmup)

    def step(self, context: Context) -> dict[str, float]:
        """Do one weight step and, every k-th time in the search, one architecture step."""
        found = self._set
        figures = {"loss": weight_step(context, self._net, self._paths, found.label_smoothing, found.warmup)}
        if is_architecture_turn(context, found.arch_after, found.arch_every):
            figures |= self._architecture_step(context)
        return figures

    def _architecture_step(self, context: Context) -> dict[str, float]:
        images, targets = context.valid_batch()
        gates = [self._binarise(choice, context.rng) for choice in range(len(self._paths.alphas))]
        names = [str(read.name) for read in self._paths.space.choices]
        recompute = self._set.mode == "full_v2"
        mixtures = {
            names[number]: Mixture(gates[number].g, support, frozenset(support) - {gates[number].active}, recompute)
            for number, support in ((number, gates[number].support) for number in self._paths.open)
        }
        architecture = self._paths.space.from_decisions([gate.active for gate in gates])
        with torch.no_grad():
            whole = float(self._expected([torch.softmax(self._paths.logits(i), 0) for i in range(len(gates))]))
        self._net.requires_grad_(False)
        try:
            with frozen_statistics(self._net):
                entropy = context.loss(self._net(images, architecture, mixtures), targets)
            context.backward(self._combined(entropy, self._expected([gate.p_now for gate in gates]), whole))
        finally:
            self._net.requires_grad_(True)
        before = [alpha.detach().clone() for alpha in self._paths.alphas]
        for choice, gate in enumerate(gates):
            self._set_gradient(choice, gate)
        context.update("paths")
        if self._set.mode == "two":
            for choice, gate in enumerate(gates):
                if gate.active not in self._zeros[choice]:
                    rescale(self._paths.alphas[choice].data, before[choice], gate.support)
        return {"expected_cost": whole, "entropy": self._paths.entropy()}

    def _binarise(self, choice: int, rng: np.random.Generator) -> Gate:
        """Draw the gates of one choice (section 3.2): two paths without replacement, or one out of all."""
        logits = self._paths.logits(choice)
        p = torch.softmax(logits.detach().double(), 0).cpu().numpy()
        options = [int(option) for option in np.flatnonzero(p > 0)]
        if self._set.mode == "two" and len(options) > 2:
            options = sorted(int(option) for option in rng.choice(len(p), 2, replace=False, p=p / p.sum()))
        q = torch.softmax(logits[options], 0)
        weights = q.detach().double().cpu().numpy()
        active = int(rng.choice(options, p=weights / weights.sum()))
        g = torch.zeros_like(logits.detach())
        g[active] = 1.0
        p_now = torch.zeros_like(g).index_put((torch.tensor(options, device=g.device),), q)
        return Gate(g.requires_grad_(True), tuple(options), active, p_now, q.detach())

    def _expected(self, probabilities: list[torch.Tensor]) -> torch.Tensor:
        if not self._cost.tables:
            return probabilities[0].new_zeros(())
        return expected_cost(self._cost, dict(enumerate(probabilities)), [0] * len(probabilities))

    def _combined(self, entropy: torch.Tensor, expected: torch.Tensor, whole: float) -> torch.Tensor:
        """Return the loss of an architecture step (section 3.3).

        Args:
            entropy: the cross-entropy.
            expected: E, the cost expected of the drawn gates.
            whole: the cost expected under p.
        """
        found, e, ref = self._set, expected * self._scale, self._reference * self._scale
        if found.only_above and whole <= self._reference:
            e = torch.full_like(e, ref)
        if found.latency_loss == "add":
            return entropy + found.lam * (e - ref) / ref
        if found.latency_loss == "mul_pow":
            return found.a * entropy * (e / ref) ** found.beta
        if found.latency_loss == "mul_log":
            if float(e.detach()) <= 1.0 or ref <= 1.0:
                raise UsageError(
                    f"mul_log needs costs above 1, and got {float(e.detach()):g} against {ref:g}; "
                    "use latency_loss=mul_pow."
                )
            return found.a * entropy * (torch.log(e) / math.log(ref)) ** found.beta
        return entropy

    def _set_gradient(self, choice: int, gate: Gate) -> None:
        """Add the path gradient to alpha.grad, which holds the latency term's already (equation 4)."""
        alpha = self._paths.alphas[choice]
        if gate.active in self._zeros[choice]:
            alpha.grad = None  # the released code leaves a layer alone, latency and all, whose active operator is Zero
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
