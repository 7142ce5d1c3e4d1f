"""What a task is: a loss to learn by and metrics to judge by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch


class Task(Protocol):
    """A task; plug-ins are made without arguments, or with options as keyword arguments."""

    @property
    def name(self) -> str:
        """The name, as on the command line."""

    def loss(self, outputs: Any, targets: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the mean loss of a batch."""

    def metrics(self, outputs: Any, targets: torch.Tensor) -> Mapping[str, float]:
        """Return metrics of a batch, means over its images."""
