"""An exponential moving average of a module's weights, as a twin."""

from __future__ import annotations

import copy
import math
from typing import Literal, final

import torch
from torch import nn


def warmed_up(decay: float, step: int) -> float:
    """Return the decay of step number `step`, counted from 0: min(decay, (1 + step) / (10 + step)).

    As TensorFlow's average does where it knows the step: without it a short training would keep its first weights.

    >>> [round(warmed_up(0.9, step), 3) for step in (0, 10, 1000)]
    [0.1, 0.55, 0.9]
    """
    return min(decay, (1 + step) / (10 + step))


def rising_momentum(start: float, progress: float) -> float:
    """Return the decay 1 - (1 - start)(cos(pi p) + 1) / 2, from `start` to 1 as a cosine (BYOL, section 3.3).

    >>> [round(rising_momentum(0.99, progress), 4) for progress in (0.0, 0.5, 1.0)]
    [0.99, 0.995, 1.0]
    """
    return 1.0 - (1.0 - start) * (math.cos(math.pi * progress) + 1.0) / 2.0


@final
class EMATwin:
    """A copy of a module that follows it: twin <- decay x twin + (1 - decay) x module.

    Args:
        module: to follow.
        decay: of the average.
        buffers: `copied` from the module, or the twin's `own`, which its own forward passes in training mode fill
            (BYOL, BossNAS).
    """

    def __init__(self, module: nn.Module, decay: float = 0.999, buffers: Literal["copied", "own"] = "copied") -> None:
        """Start at the module's weights."""
        self.module = copy.deepcopy(module)
        self.decay = decay
        self._copied = buffers == "copied"
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, decay: float | None = None) -> None:
        """Take one step towards the module, with the twin's decay or, where it warms up, another."""
        own: list[torch.Tensor] = list(self.module.parameters())
        other: list[torch.Tensor] = list(module.parameters())
        if not own:
            return
        torch._foreach_lerp_(own, other, 1.0 - (self.decay if decay is None else decay))
        if not self._copied:
            return
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
