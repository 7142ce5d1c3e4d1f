"""An endless stream of batches whose place is one number, so that a resumed training goes on with the next one.

Batches are those of the whole training, however many workers share each: a worker takes its part of every one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import torch

from nasforge.strategy import Batch
from nasforge.tasks.view import ViewMaker


class Numbered(Protocol):
    """Gives any batch by its number, counted over all epochs; `nasforge.tasks.Loader` is one."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def length(self, number: int) -> int:
        """Return the number of images of a batch."""

    def batch(self, number: int, begin: int = 0, end: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and targets of a batch, or of the part of it from one image up to another."""

    def views(
        self, number: int, makers: Sequence[ViewMaker], begin: int = 0, end: int | None = None
    ) -> list[torch.Tensor]:
        """Return views of the images of a batch, or of a part of it."""


@final
class BatchStream:
    """Batch after batch, epoch after epoch.

    Args:
        loader: gives batches by number.
        device: where batches go.
        rank: number of the worker that this stream is of.
        size: workers that share every batch. Their parts follow each other, and their lengths differ by one at most.

    Attributes:
        taken: how many batches were taken; set it to go on elsewhere.
        weight: length of the part taken last, as a multiple of an even share: means over parts that are weighted so
            average to the mean over the whole batch.
    """

    def __init__(self, loader: Numbered, device: str = "cpu", rank: int = 0, size: int = 1) -> None:
        """Start before the first batch."""
        self.taken, self.weight = 0, 1.0
        self._loader, self._device, self._rank, self._size = loader, device, rank, size

    @property
    def batches_per_epoch(self) -> int:
        """Return the number of batches in which all images are seen once."""
        return len(self._loader)

    def take(self) -> Batch:
        """Return this worker's part of the next batch."""
        number, begin, end = self._next()
        images, targets = self._loader.batch(number, begin, end)
        return Batch(images.to(self._device), targets.to(self._device))

    def take_views(self, makers: Sequence[ViewMaker]) -> list[torch.Tensor]:
        """Return a view by each maker of this worker's part of the next batch."""
        number, begin, end = self._next()
        return [view.to(self._device) for view in self._loader.views(number, makers, begin, end)]

    def _next(self) -> tuple[int, int, int]:
        """Go on by a batch; return its number, and where this worker's part begins and ends."""
        number, count = self.taken, self._loader.length(self.taken)
        begin, end = (count * worker // self._size for worker in (self._rank, self._rank + 1))
        self.taken += 1
        self.weight = (end - begin) * self._size / count
        return number, begin, end
