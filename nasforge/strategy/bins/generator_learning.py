"""What teaches an architecture generator: the cost it missed, and the task's loss through the masks of its choices.

L = L_task + lambda L_RC (Zhang et al. 2023, section 3.3). The masked pass runs everything that a share might have more
of, so it costs several plain ones; that is why it is a separate call, which a strategy may make less often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics, without_dropout
from nasforge.errors import IncompatibleError
from nasforge.hardware.cost import Cost
from nasforge.space import Architecture
from nasforge.strategy.bins.cost_bins import CostBins
from nasforge.strategy.bins.distribution import BinDistribution
from nasforge.strategy.bins.generator import ArchitectureGenerator, Drawn
from nasforge.strategy.bins.teaching import ThroughCost
from nasforge.strategy.paths.expected_cost import expected_costs
from nasforge.strategy.weight_sharing import Batch, Context


def cost_error(cost: Cost, bins: CostBins, drawn: Drawn, aims: Tensor) -> Tensor:
    """Return L_RC: the mean squared difference of cost and target over the squared greatest cost, a scalar.

    Args:
        cost: additive over tables; differentiable in the shares.
        bins: the range that targets are normalised by.
        drawn: for the targets.
        aims: targets, 0 = `bins.least` .. 1 = `bins.most`, (batch,).
    """
    targets = bins.least + (bins.most - bins.least) * aims
    costs = expected_costs(cost, drawn.shares, drawn.rest)
    error: Tensor = ((costs - targets) / bins.most).square().mean()
    return error


@final
class MaskedTask:
    """Runs generated architectures by masks, so that the loss has a gradient in their shares.

    Choices that no mask can express (resolution, stride, groups) keep the option that was drawn and get none; which
    they are is tried out once.

    Args:
        supernet: whose weights are used and left alone.
    """

    def __init__(self, supernet: Supernet) -> None:
        """Nothing is tried yet."""
        self._net = supernet
        self._maskable: frozenset[str] | None = None

    def __call__(self, images: Tensor, architecture: Architecture, shares: Mapping[str, Tensor]) -> Any:
        """Return the supernet's outputs for one architecture, with gradients to the shares alone.

        Args:
            images: (batch, ...).
            architecture: as drawn.
            shares: by name of the choice, (options,), one-hot.
        """
        with fixed_weights(self._net):
            known = self.maskable(images, architecture, shares)
            return self._net.run_masked(images, [architecture], {n: s for n, s in shares.items() if n in known})

    def maskable(self, images: Tensor, architecture: Architecture, shares: Mapping[str, Tensor]) -> frozenset[str]:
        """Return the names of choices that masks can express together."""
        if self._maskable is None:
            found: list[str] = []
            groups = (
                [list(shares)] if self._works(images, architecture, shares, list(shares)) else [[n] for n in shares]
            )
            for names in groups:
                if self._works(images, architecture, shares, [*found, *names]):
                    found += names
            self._maskable = frozenset(found)
        return self._maskable

    def _works(
        self, images: Tensor, architecture: Architecture, shares: Mapping[str, Tensor], names: list[str]
    ) -> bool:
        try:
            with torch.no_grad():
                spread = {name: torch.full_like(shares[name], 1.0 / len(shares[name])) for name in names}
                self._net.run_masked(images[:2].detach(), [architecture], spread)
        except IncompatibleError:
            return False
        return True


@final
class GeneratorTeacher:
    """Losses of a generator; the weights of the supernet are left alone.

    Args:
        net: the generator.
        supernet: for the task's loss.
        cost: additive over tables; the one that the generator is taught, which may approximate another.
        bins: the range of targets.
        lam: lambda, weight of L_RC.
        bonus: weight of the entropy of decisions, which keeps architectures of one cost apart.
        temperature: of the Gumbel-softmax gradient.
    """

    def __init__(
        self,
        net: ArchitectureGenerator,
        supernet: Supernet,
        cost: Cost,
        bins: CostBins,
        lam: float,
        bonus: float,
        temperature: float,
    ) -> None:
        """Take the parts."""
        self._net, self._cost, self._bins, self._lam, self._temperature = net, cost, bins, lam, temperature
        self._bonus = bonus
        self._masked = MaskedTask(supernet)

    def loss(
        self, context: Context, aims: Sequence[float], batch: Batch | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Return lambda L_RC - bonus of normalised targets, + L_task of the first where there is a batch; and figures.

        Args:
            context: of the step.
            aims: 0 = `bins.least` .. 1 = `bins.most`.
            batch: images and targets for the masked pass.
        """
        targets = torch.tensor(aims, dtype=self._net.bias.dtype, device=self._net.bias.device)
        drawn = self._net(targets, context.rng, self._temperature)
        error = cost_error(self._cost, self._bins, drawn, targets)
        figures = {"cost_error": float(error.detach()) ** 0.5, "generator_entropy": float(drawn.entropy.detach())}
        loss = self._lam * error - self._bonus * drawn.entropy
        if batch is None:
            return loss, figures
        task = self._task(context, drawn, batch)
        return loss + task, figures | {"task_loss": float(task.detach())}

    def through_cost(self, context: Context, distribution: BinDistribution) -> ThroughCost:
        """Return L_train of (batch, bin, seed), with its gradient in theta: B . centres -> target -> masks -> loss."""
        bias = self._net.bias
        centres = (torch.arange(self._bins.number).to(bias) + 0.5) / self._bins.number

        def loss(batch: Batch, number: int, seed: int) -> Tensor:
            aim = distribution.one_hot(number) @ centres
            drawn = self._net(aim[None], np.random.default_rng([seed, number]), self._temperature)
            return self._task(context, drawn, batch)

        return loss

    def _task(self, context: Context, drawn: Drawn, batch: Batch) -> Tensor:
        outputs = self._masked(batch.images, drawn.architectures[0], drawn.named(self._net.space, 0))
        return context.loss(outputs, batch.targets)


@contextmanager
def fixed_weights(net: Supernet) -> Iterator[None]:
    """While open, weights and running statistics of a supernet are constants, and nothing is dropped out."""
    net.requires_grad_(False)
    try:
        with frozen_statistics(net), without_dropout(net):
            yield
    finally:
        net.requires_grad_(True)
