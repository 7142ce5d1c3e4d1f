"""`cifar10:DIR`: the binary version from a folder."""

from __future__ import annotations

from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.cifar import load_cifar


def load(argument: str | None = None, *, limit: int | None = None, seed: int = 0) -> DataSource:
    """Load data_batch_1.bin to data_batch_5.bin and test_batch.bin of a folder."""
    files = (tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")
    return load_cifar("cifar10", argument, "cifar-10-batches-bin", files, "batches.meta.txt", 1, limit, seed)
