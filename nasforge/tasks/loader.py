"""Batches by number: batch n is a function of (seed, n), so a resumed run goes on with the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch

from nasforge.rng import generator, integer_seed
from nasforge.tasks.augment import augment, cut_out
from nasforge.tasks.dataset import DataSource, Indices, Split, SplitName
from nasforge.tasks.view import ViewMaker


@final
class Loader:
    """Batches of one split.

    Args:
        source: the data.
        split: which split.
        batch_size: images per batch; the last, smaller one of an epoch is left out when training.
        seed: of order and augmentation.
        training: augment; otherwise images as they are.
        shuffle: a new order each epoch; without, as `training`. Otherwise all images in order.
        cutout: side of the augmentation's square.
        channels_last: memory layout of the images.
    """

    def __init__(
        self,
        source: DataSource,
        split: SplitName,
        batch_size: int = 64,
        seed: int = 0,
        *,
        training: bool = False,
        shuffle: bool | None = None,
        cutout: int = 0,
        channels_last: bool = True,
    ) -> None:
        """Take the split."""
        self.split: Split = source.split(split)
        self.source, self.batch_size, self.seed = source, min(batch_size, len(self.split)), seed
        self.training, self.cutout, self.channels_last = training, cutout, channels_last
        self.shuffle = training if shuffle is None else shuffle
        self._epoch, self._order = -1, np.arange(len(self.split), dtype=np.intp)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        if self.shuffle:
            return max(1, len(self.split) // self.batch_size)
        return -(-len(self.split) // self.batch_size)

    def length(self, number: int) -> int:
        """Return the number of images of a batch."""
        return min(self.batch_size, len(self.split) - number % len(self) * self.batch_size)

    def batch(self, number: int, begin: int = 0, end: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return batch `number`, counted over all epochs: float32 (N, C, H, W) and int64 (N,).

        Args:
            number: of the batch.
            begin: first image of the part of the batch that is made.
            end: the image after the last of that part; None: the part goes to the end of the batch.
        """
        whole = self._chosen(number)
        chosen = torch.from_numpy(whole[begin:end])
        images, labels = self.split.images[chosen], self.split.labels[chosen]
        rng = torch.Generator().manual_seed(integer_seed(self.seed, "augment", number))
        if self.training:
            images = augment(images, rng, flip=self.source.flip, begin=begin, whole=len(whole))
        ready = self.source.preprocessing.normalise(images)
        if self.training and self.cutout:
            ready = cut_out(ready, self.cutout, rng, begin=begin, whole=len(whole))
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return ready.contiguous(memory_format=layout), labels

    def views(
        self, number: int, makers: Sequence[ViewMaker], begin: int = 0, end: int | None = None
    ) -> list[torch.Tensor]:
        """Return a view of the images of batch `number` by each maker: float32 (N, C, H, W), without their labels.

        The images are those of `batch`; each view has draws of its own, which follow from (seed, number, place of the
        maker).
        """
        whole = self._chosen(number)
        images = self.split.images[torch.from_numpy(whole[begin:end])]
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        found = []
        for place, make in enumerate(makers):
            rng = torch.Generator().manual_seed(integer_seed(self.seed, f"view {place}", number))
            pixels = make(images, rng, begin, len(whole), flip=self.source.flip)
            found.append(self.source.preprocessing.normalise(pixels).contiguous(memory_format=layout))
        return found

    def _chosen(self, number: int) -> Indices:
        """Return the places of a batch's images in the split."""
        epoch, place = divmod(number, len(self))
        if self.shuffle and epoch != self._epoch:
            self._order = generator(self.seed, "order", epoch).permutation(len(self.split))
            self._epoch = epoch
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the batches of the first epoch."""
        return (self.batch(number) for number in range(len(self)))
