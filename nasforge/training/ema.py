"""An exponential moving average of a module's weights, as a twin."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import nn


@final
class EMATwin:
    """A copy of a module that follows it: twin <- decay x twin + (1 - decay) x module; buffers are copied."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        """Start at the module's weights."""
        self.module = copy.deepcopy(module)
        self.decay = decay
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one step towards the module."""
        own: list[torch.Tensor] = list(self.module.parameters())
        other: list[torch.Tensor] = list(module.parameters())
        torch._foreach_lerp_(own, other, 1.0 - self.decay)
        for mine, theirs in zip(self.module.buffers(), module.buffers(), strict=True):
            mine.copy_(theirs)
