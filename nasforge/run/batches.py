"""An endless stream of batches whose place is one number, so that a resumed training goes on with the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import torch

from nasforge.strategy import Batch

Epoch = Callable[[int], Iterator[tuple[torch.Tensor, torch.Tensor]]]


@final
class BatchStream:
    """Epoch after epoch of batches.

    Args:
        epoch: gives the batches of an epoch by its number, the same ones whenever it is asked.
        batches_per_epoch: how many that are.
        device: where batches go.

    Attributes:
        taken: how many batches were taken; set it to go on elsewhere.
    """

    def __init__(self, epoch: Epoch, batches_per_epoch: int, device: str = "cpu") -> None:
        """Start before the first batch."""
        self.batches_per_epoch = batches_per_epoch
        self.taken = 0
        self._epoch, self._device = epoch, device
        self._open: Iterator[tuple[torch.Tensor, torch.Tensor]] | None = None
        self._place = -1

    def take(self) -> Batch:
        """Return the next batch."""
        number, offset = divmod(self.taken, self.batches_per_epoch)
        if self._open is None or self._place != self.taken or offset == 0:
            self._open = self._epoch(number)
            for _ in range(offset):
                next(self._open)
        images, targets = next(self._open)
        self.taken += 1
        self._place = self.taken
        return Batch(images.to(self._device), targets.to(self._device))
