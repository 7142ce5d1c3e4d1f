"""Learning rate schedules as factors of the peak rate, by progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final


def warmup_cosine(progress: float, warmup: float = 0.1) -> float:
    """Rise linearly over the first `warmup` of the training, then fall as a cosine to 0.

    >>> [round(warmup_cosine(p, 0.1), 3) for p in (0.05, 0.1, 0.55, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (progress - warmup) / max(1e-9, 1.0 - warmup))))


def steps_down(progress: float, warmup: float = 0.0, decay: float = 0.1, every: float = 0.5) -> float:
    """Rise linearly over the first `warmup` of the training, then multiply by `decay` after each share `every` of it.

    >>> [steps_down(p, 0.0, 0.1, 0.5) for p in (0.0, 0.49, 0.5, 0.99)]
    [1.0, 1.0, 0.1, 0.1]
    """
    if progress < warmup:
        return progress / warmup
    return float(decay ** math.floor(progress / every))


def constant_ending(progress: float, warmup: float = 0.05, floor: float = 0.05, decay: float = 6.0) -> float:
    """Fall exponentially to a constant floor (BigNAS): exp(-decay x progress), never below `floor`."""
    if progress < warmup:
        return progress / warmup
    return max(floor, math.exp(-decay * (progress - warmup)))


Schedule = Callable[[float, float, float, float], float]
"""From (progress, warmup, decay, every) to the factor of the peak rate."""
SCHEDULES: Final[Mapping[str, Schedule]] = {
    "cosine": lambda progress, warmup, decay, every: warmup_cosine(progress, warmup),
    "steps": steps_down,
}
"""What `training.schedule` may be."""
