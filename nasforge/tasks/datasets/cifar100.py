"""`cifar100:DIR`: the binary version from a folder."""

from __future__ import annotations

from nasforge.tasks.dataset import DataSource
from nasforge.tasks.datasets.cifar import load_cifar


def load(argument: str | None = None, *, limit: int | None = None, seed: int = 0) -> DataSource:
    """Load train.bin and test.bin of a folder; labels are the fine ones."""
    return load_cifar(
        "cifar100", argument, "cifar-100-binary", (("train.bin",), "test.bin"), "fine_label_names.txt", 2, limit, seed
    )
