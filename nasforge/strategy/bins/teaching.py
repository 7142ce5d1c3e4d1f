"""What a cost bin still has to teach the shared weights: the two estimators of ShiftNAS's objective.

The paper minimises the validation gradient over the bins' distribution B. With the weights held fixed that would move B
to bins that are trained already; what is meant is the effect of training by B. So either the dependence of the weights
on B is kept (`look_ahead`), or the gradient's size is a reward, of which more draws more training (`measure`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from nasforge.build import Supernet
from nasforge.build.modes import frozen_statistics, without_dropout
from nasforge.space import Architecture
from nasforge.strategy.bins.distribution import BinDistribution, gradient_size
from nasforge.strategy.bins.look_ahead import look_ahead_gradient
from nasforge.strategy.weight_sharing import Batch, Context

Draw = Callable[[Sequence[int], np.random.Generator], list[Architecture]]
ThroughCost = Callable[[Batch, int, int], Tensor]


@final
class BinTeacher:
    """Sets the gradient of theta; everything else is left as it was.

    Args:
        supernet: the shared weights.
        distribution: B.
        draw: an architecture of each of some bins.
    """

    def __init__(self, supernet: Supernet, distribution: BinDistribution, draw: Draw) -> None:
        """Take the parts."""
        self._net, self._bins, self._draw = supernet, distribution, draw

    def measure(self, context: Context, numbers: Sequence[int]) -> int:
        """Note the size of the validation gradient of some bins, each on a batch of its own; return the passes.

        On several workers it is the mean of the sizes that each finds on its part, so all learn the same reward.
        """
        for number, child in zip(numbers, self._draw(numbers, context.rng), strict=True):
            images, targets = context.valid_batch()
            with frozen_statistics(self._net), without_dropout(self._net), self._net.recording() as views:
                outputs = self._net(images, child)
                context.backward(context.loss(outputs, targets))
            leaves = [leaf.grad for _, _, leaf in views.used.values() if leaf.grad is not None]
            whole = [parameter.grad for parameter in self._net.parameters() if parameter.grad is not None]
            size = context.mean({"size": gradient_size([*leaves, *whole])}, len(targets))["size"]
            self._bins.note(number, size)
            self._forget()
        self._bins.theta.grad = -self._bins.reward()
        return len(numbers)

    def look_ahead(
        self, context: Context, numbers: Sequence[int], xi: float, through: ThroughCost | None = None
    ) -> int:
        """Set theta's gradient of the validation loss after one training step; return the passes with a gradient.

        The step trains one architecture of each bin in `numbers`, and the validation loss is theirs too.

        Args:
            context: of the step.
            numbers: the bins that are looked at.
            xi: length of the step.
            through: L_train(w, theta) of a batch for (bin, seed) through the target cost; None: sum of B_b L_train of
                an architecture of each bin.
        """
        batch, rng = context.train_batch(), context.rng
        children = self._draw(numbers, rng)
        every = self._draw(range(len(self._bins.theta)), rng) if through is None else []
        valid, seed = context.valid_batch(), int(rng.integers(2**31))

        def train() -> Tensor:
            return torch.stack([self._loss(context, batch, child) for child in children]).mean()

        def valid_gradient() -> list[Tensor | None]:
            for child in children:
                context.backward(self._loss(context, valid, child) / len(children))
            found = [parameter.grad for parameter in self._net.parameters()]
            self._forget()
            return found

        def train_again() -> Tensor:
            if through is not None:
                return torch.stack([through(batch, number, seed) for number in numbers]).mean()
            with torch.no_grad():
                losses = torch.stack([self._loss(context, batch, child) for child in every])
            expected: Tensor = (self._bins() * losses).sum()
            return expected

        with frozen_statistics(self._net), without_dropout(self._net):
            weights = list(self._net.parameters())
            (gradient,) = look_ahead_gradient(weights, [self._bins.theta], train, valid_gradient, train_again, xi)
        self._bins.theta.grad = gradient
        return 2 * len(numbers)

    def _loss(self, context: Context, batch: Batch, child: Architecture) -> Tensor:
        return context.loss(self._net(batch.images, child), batch.targets)

    def _forget(self) -> None:
        """Drop the gradients of weights and views, which belong to a loss that must not teach them."""
        for parameter in self._net.parameters():
            parameter.grad = None
        for _, _, leaf in self._net.views.used.values():
            leaf.grad = None
        self._net.views.used.clear()
