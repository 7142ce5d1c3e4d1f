"""The moving average of rewards that REINFORCE and PPO subtract, so that what counts is better or worse than usual."""

from __future__ import annotations

from typing import final

import torch


@final
class Baseline(torch.nn.Module):
    """The moving average b of rewards; NaN before the first. A buffer, so that checkpoints keep it."""

    value: torch.Tensor

    def __init__(self) -> None:
        """Start without a value."""
        super().__init__()
        self.register_buffer("value", torch.tensor(float("nan"), dtype=torch.float64))

    def update(self, reward: float, decay: float) -> float:
        """Move b to decay x b + (1 - decay) x reward, at first to the reward, and return it."""
        old = float(self.value)
        self.value.fill_(reward if old != old else old + (1.0 - decay) * (reward - old))
        return float(self.value)
