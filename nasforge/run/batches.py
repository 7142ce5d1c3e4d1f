"""An endless stream of batches whose place is one number, so that a resumed training goes on with the next one."""

from __future__ import annotations

from typing import Protocol, final

import torch

from nasforge.strategy import Batch


class Numbered(Protocol):
    """Gives any batch by its number, counted over all epochs; `nasforge.tasks.Loader` is one."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and targets of a batch."""


@final
class BatchStream:
    """Batch after batch, epoch after epoch.

    Args:
        loader: gives batches by number.
        device: where batches go.

    Attributes:
        taken: how many batches were taken; set it to go on elsewhere.
    """

    def __init__(self, loader: Numbered, device: str = "cpu") -> None:
        """Start before the first batch."""
        self.taken = 0
        self._loader, self._device = loader, device

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches in which all images are seen once."""
        return len(self._loader)

    def take(self) -> Batch:
        """Return the next batch."""
        images, targets = self._loader.batch(self.taken)
        self.taken += 1
        return Batch(images.to(self._device), targets.to(self._device))
