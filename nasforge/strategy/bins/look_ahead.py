"""The gradient of a validation loss after one training step, in what decided that step, without second derivatives.

What the step depended on (a distribution over architectures) reaches the validation loss only through the weights that
the step made. Dropping that dependence, with the weights held fixed, asks which architectures are good already, and
not which training is still worth doing; for ShiftNAS the answers are opposite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

RADIUS: Final = 0.01
Loss = Callable[[], Tensor]


def look_ahead_gradient(
    weights: Sequence[Tensor],
    theta: Sequence[Tensor],
    train: Loss,
    valid_gradient: Callable[[], Sequence[Tensor | None]],
    train_again: Loss,
    xi: float,
    radius: float = RADIUS,
) -> list[Tensor]:
    """Return d L_valid(w - xi d L_train(w, theta) / dw) / d theta by central differences (DARTS, equations 7 and 8).

    With v the gradient of L_valid at the stepped weights and eps = radius / ||v||, it is
    -xi (d L_train(w + eps v, theta) - d L_train(w - eps v, theta)) / d theta / (2 eps).

    Args:
        weights: w; moved in place, and put back exactly.
        theta: what the train loss depends on beside w.
        train: L_train(w), for the step; need not depend on theta.
        valid_gradient: gradient of L_valid in `weights` as they are, None for unused ones; theta held fixed.
        train_again: L_train(w, theta) with a graph to theta; called twice, and must draw the same both times.
        xi: length of the step.
        radius: of the difference.
    """
    before = [weight.detach().clone() for weight in weights]
    try:
        step = torch.autograd.grad(train(), list(weights), allow_unused=True)
        _moved(weights, before, step, -xi)
        v = valid_gradient()
        norm = _norm(v)
        if norm == 0.0:
            return [torch.zeros_like(each) for each in theta]
        epsilon = radius / norm
        sides = []
        for sign in (1.0, -1.0):
            _moved(weights, before, v, sign * epsilon)
            sides.append(torch.autograd.grad(train_again(), list(theta), allow_unused=True))
    finally:
        _moved(weights, before, [None] * len(before), 0.0)
    return [
        torch.zeros_like(each) if above is None or below is None else -xi * (above - below) / (2 * epsilon)
        for each, above, below in zip(theta, *sides, strict=True)
    ]


@torch.no_grad()
def _moved(weights: Sequence[Tensor], before: Sequence[Tensor], along: Sequence[Tensor | None], factor: float) -> None:
    for weight, start, direction in zip(weights, before, along, strict=True):
        weight.copy_(start if direction is None else torch.add(start, direction, alpha=factor))


def _norm(gradients: Sequence[Tensor | None]) -> float:
    return math.sqrt(sum(float(each.detach().double().square().sum()) for each in gradients if each is not None))
