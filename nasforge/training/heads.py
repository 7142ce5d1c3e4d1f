"""Heads of an ensemble learn beside each other: what one of them alone uses is not taught by a share of its loss.

The task's loss of K heads is the mean of theirs, so that its size says something whatever K is. Its gradient would
teach a branch K times more slowly than the network of that branch alone learns. NEAS adds the K losses up instead, and
divides the gradient by K where the paths split; for any number of splits that is: each layer learns from the mean of
the losses of those heads that it leads to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from nasforge.build.network import Network


@contextmanager
def learning_from_own_heads(module: nn.Module) -> Iterator[None]:
    """While open, gradients of the mean loss of K heads are scaled by K / m where a layer leads to m of them.

    Nothing happens to modules that are no `Network`, and to networks of a single head or of several outputs.
    """
    hooks = [
        parameter.register_hook(partial(torch.mul, other=factor))  # type: ignore[no-untyped-call]  # torch has no types here
        for layer, factor in head_factors(module)
        for parameter in layer.parameters()
        if parameter.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def head_factors(module: nn.Module) -> list[tuple[nn.Module, float]]:
    """Return the layers that lead to some of K heads and not to all, m of them, each with K / m."""
    if not isinstance(module, Network) or len(module.plan.outputs) != 1:
        return []
    (heads,) = module.plan.outputs.values()
    led: dict[int, set[int]] = {}
    for number, value in enumerate(heads):
        led.setdefault(value, set()).add(number)
    for step in reversed(module.plan.steps):
        for value in step.inputs:
            led.setdefault(value, set()).update(led.get(step.output, ()))
    counts = [len(led.get(step.output, ())) for step in module.plan.steps]
    return [(module.module_of(place), len(heads) / m) for place, m in enumerate(counts) if 0 < m < len(heads)]
