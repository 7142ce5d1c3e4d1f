"""The sandwich step with in-place distillation (Yu and Huang 2019; BigNAS, Yu et al. 2020): one update, many children.

The biggest child learns labels, with dropout; its outputs, detached, teach all others of the step, without dropout.
Gradients of all passes add up unscaled before the weights move once. Which children run is the strategy's business: so
uniform sampling, cost bins and populations train shared weights by the same few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch

from nasforge.build import Supernet
from nasforge.build.modes import without_dropout
from nasforge.space import Architecture
from nasforge.strategy.weight_sharing import Batch, Context
from nasforge.training.distillation import soft_cross_entropy
from nasforge.training.path_sgd import merge_views

ChildLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From a child's logits and its teacher's, both (N, classes), to the mean loss."""
ChildInputs = Callable[[torch.Tensor, Architecture], torch.Tensor]
"""From the images of the step (N, C, H, W) and an architecture to what that architecture sees of them."""


@final
@dataclass(frozen=True, slots=True)
class Sandwich:
    """The losses of a step: of the biggest child on labels, and of each other child on what it learnt from."""

    biggest: float
    children: tuple[float, ...]

    def figures(self) -> dict[str, float]:
        """Return `loss` of the biggest and, where there are any, `children_loss`, the mean over the others."""
        mean = {"children_loss": sum(self.children) / len(self.children)} if self.children else {}
        return {"loss": self.biggest, **mean}


def sandwich_gradients(
    context: Context,
    net: Supernet,
    biggest: Architecture,
    children: Sequence[Architecture],
    batch: Batch,
    *,
    smoothing: float = 0.0,
    distil: ChildLoss | None = soft_cross_entropy,
    inputs: ChildInputs | None = None,
) -> Sandwich:
    """Add the gradients of the biggest child and of all others to those of the parameters; move nothing.

    Slices are merged into their parameters, so what reads `parameter.grad` afterwards sees the sum of all passes.

    Args:
        context: of the step.
        net: the shared weights.
        biggest: learns the labels, with dropout, and teaches.
        children: the others, in the order in which they run.
        batch: images and labels that all of them see.
        smoothing: of the labels of the biggest.
        distil: loss of a child against the biggest one's detached logits; None: children learn the labels, unsmoothed.
        inputs: what each architecture sees of the images; None: all the same.

    Raises:
        DivergedError: a loss is NaN or infinite.
    """

    def run(architecture: Architecture) -> torch.Tensor:
        seen = batch.images if inputs is None else inputs(batch.images, architecture)
        logits: torch.Tensor = net(seen, architecture)
        return logits

    with net.recording() as views:
        outputs = run(biggest)
        first = context.loss(outputs, batch.targets, smoothing)
        context.backward(first)
        teacher = outputs.detach()
        losses = []
        with without_dropout(net):
            for child in children:
                logits = run(child)
                loss = context.loss(logits, batch.targets) if distil is None else distil(logits, teacher)
                context.backward(loss)
                losses.append(loss.detach())
    merge_views(views)
    return Sandwich(float(first.detach()), tuple(float(loss) for loss in losses))


def sandwich_step(
    context: Context,
    net: Supernet,
    biggest: Architecture,
    children: Sequence[Architecture],
    *,
    smoothing: float = 0.0,
    distil: ChildLoss | None = soft_cross_entropy,
    inputs: ChildInputs | None = None,
    optimiser: str = "weights",
    rate: float = 1.0,
) -> Sandwich:
    """Take a train batch, gather `sandwich_gradients`, and move the weights once.

    Where the biggest child is the largest of the space, it has a gradient for every weight, and weight decay in the
    optimiser acts as if it were a part of that child's loss alone: once a step, whatever the others are.

    Args:
        context: of the step.
        net: the shared weights.
        biggest: see `sandwich_gradients`, as for all up to `inputs`.
        children: the others.
        smoothing: of the labels of the biggest.
        distil: loss of a child; None: labels.
        inputs: what each architecture sees.
        optimiser: name of the one that moves the weights.
        rate: factor of its learning rate.

    Raises:
        DivergedError: a loss is NaN or infinite.
    """
    images, targets = context.train_batch()
    found = sandwich_gradients(
        context, net, biggest, children, Batch(images, targets), smoothing=smoothing, distil=distil, inputs=inputs
    )
    context.update(optimiser, rate)
    return found
