"""How often each cost bin is trained: ShiftNAS's learned distribution, kept away from zero.

Bins that still teach the weights much get more of the training. What a bin teaches is either looked ahead
(`look_ahead`) or taken as a reward, the size of its validation gradient; see `gradient_size`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


@final
class BinDistribution(nn.Module):
    """B = (1 - floor) softmax(theta) + floor / K, and a moving average of each bin's gradient.

    Args:
        number: K, of bins.
        floor: share of the probability that is spread evenly.
        memory: of the moving average, 0 = the last value alone.
    """

    sizes: Tensor
    seen: Tensor
    turn: Tensor

    def __init__(self, number: int, floor: float, memory: float) -> None:
        """Start uniform."""
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(number))
        self.floor, self.memory = floor, memory
        self.register_buffer("sizes", torch.zeros(number))
        self.register_buffer("seen", torch.zeros(number))
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))

    def forward(self) -> Tensor:
        """Return B, (K,), with its gradient in theta."""
        found: Tensor = (1.0 - self.floor) * torch.softmax(self.theta, 0) + self.floor / len(self.theta)
        return found

    def entropy(self) -> float:
        """Return the entropy of B relative to that of the uniform distribution, 0..1."""
        with torch.no_grad():
            chances = self().double()
            most = math.log(len(chances))
            return float(-(chances * chances.clamp(min=1e-30).log()).sum()) / most if most else 1.0

    def draw(self, rng: np.random.Generator) -> int:
        """Draw a bin."""
        chances = self().detach().double().cpu().numpy()
        return int(rng.choice(len(chances), p=chances / chances.sum()))

    def one_hot(self, number: int) -> Tensor:
        """Return bin `number` as a one-hot vector (K,) with the gradient of B (straight-through)."""
        chances: Tensor = self()
        hard = functional.one_hot(torch.tensor(number, device=chances.device), len(chances)).to(chances)
        return hard - chances.detach() + chances

    def next_bins(self, count: int) -> list[int]:
        """Return the next `count` bins in turn."""
        first, number = int(self.turn), len(self.theta)
        self.turn.add_(count).remainder_(number)
        return [(first + place) % number for place in range(count)]

    @torch.no_grad()
    def note(self, number: int, size: float) -> None:
        """Take a bin's gradient size into its moving average, which starts at the first value."""
        kept = self.memory if self.seen[number] else 0.0
        self.sizes[number] = kept * self.sizes[number] + (1.0 - kept) * size
        self.seen[number] = 1.0

    def reward(self) -> Tensor:
        """Return (G_b - mean G) / mean G for each bin, (K,); 0 for bins not seen, and where all are 0."""
        seen = self.seen > 0
        mean = self.sizes[seen].mean() if bool(seen.any()) else self.sizes.new_zeros(())
        if float(mean) == 0.0:
            return torch.zeros_like(self.sizes)
        return torch.where(seen, self.sizes / mean - 1.0, 0.0)


def gradient_size(gradients: Iterable[Tensor]) -> float:
    """Return the root of the mean square of a gradient's entries: its norm, free of how many weights there are.

    A norm over few weights is small whatever they still have to learn, so without the count large bins always look
    worst.
    """
    total, count = 0.0, 0
    for gradient in gradients:
        total += float(gradient.detach().double().square().sum())
        count += gradient.numel()
    return (total / count) ** 0.5 if count else 0.0


def theta_optimiser(bins: nn.Module, estimator: str, rate: float, decay: float) -> torch.optim.Optimizer:
    """Return what moves theta: AdamW for `look_ahead`, whose gradients are small, plain steps for `reward`.

    Decay is kept apart from the gradient: inside of Adam's it would outweigh gradients of a thousandth at once.

    Args:
        bins: the distribution over bins.
        estimator: of what theta follows.
        rate: of learning.
        decay: each update takes `rate` x `decay` of theta away.
    """
    kind = torch.optim.AdamW if estimator == "look_ahead" else torch.optim.SGD
    return kind(bins.parameters(), rate, weight_decay=decay)
