"""Processes that train shared weights as one: what they do together, and the team of a single one.

The loop of `nasforge.run.shared_training` is the same for both; `nasforge.run.distributed` has the team of several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, final

import numpy as np
import torch
from torch import nn

from nasforge.errors import DivergedError
from nasforge.rng import generator, integer_seed


class Team(Protocol):
    """What processes that train as one do together; all of them call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def begin(self, seed: int, step: int, phase: str) -> np.random.Generator:
        """Begin a step: seed torch's own generator, and return the one that the strategy draws from."""

    def diverged(self, loss: float) -> None:
        """Note a loss that is not finite: all processes raise DivergedError before anything is stepped by it."""

    def metrics(self, own: Mapping[str, float], count: int) -> dict[str, float]:
        """Return the means over all processes of metrics of `count` images."""

    def average(self, optimiser: torch.optim.Optimizer) -> None:
        """Average the gradients that an optimiser is about to use."""

    def agree(self, seconds: float, save: bool) -> tuple[float, bool, bool]:
        """End a step: how long it took, whether a checkpoint is due, whether to stop."""

    def total(self, own: Sequence[float]) -> list[float]:
        """Return the sums over all processes of what each has counted."""

    def settle(self, modules: Mapping[str, nn.Module]) -> None:
        """Average what each process gathers by itself: the running statistics of normalisations."""


@final
class Alone:
    """The team of one process."""

    rank: Final = 0
    size: Final = 1

    def __init__(self) -> None:
        """Start before the first step."""
        self._place = ""

    def begin(self, seed: int, step: int, phase: str) -> np.random.Generator:
        """Seed torch, and return the generator of (seed, "step", step)."""
        self._place = place_of(step, phase)
        seed_torch(integer_seed(seed, "torch", step))
        return generator(seed, "step", step)

    def diverged(self, loss: float) -> None:
        """Raise at once."""
        raise diverged_error(loss, self._place)

    def metrics(self, own: Mapping[str, float], count: int) -> dict[str, float]:
        """Return them."""
        return dict(own)

    def average(self, optimiser: torch.optim.Optimizer) -> None:
        """Leave the gradients."""

    def agree(self, seconds: float, save: bool) -> tuple[float, bool, bool]:
        """Agree."""
        return seconds, save, False

    def total(self, own: Sequence[float]) -> list[float]:
        """Return it."""
        return list(own)

    def settle(self, modules: Mapping[str, nn.Module]) -> None:
        """Leave the statistics."""


def seed_torch(seed: int) -> None:
    """Seed torch's generators, without the half millisecond that asking for others takes where only the CPU has one."""
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def place_of(step: int, phase: str) -> str:
    """Return how a sentence names a step."""
    return f"in step {step} of phase '{phase}'"


def diverged_error(loss: float, place: str) -> DivergedError:
    """Return the error of a loss that is not finite."""
    return DivergedError(f"the loss is {loss} {place}; lower the learning rate.")
