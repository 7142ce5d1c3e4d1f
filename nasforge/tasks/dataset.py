"""Images in memory, split for honest search: weights learn on train, decisions see valid, test stays shut.

Asking a sealed source for `test` raises; the loop hands searches sealed sources only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, final

import numpy as np
import numpy.typing as npt
import torch

from nasforge.errors import DataError, SplitError
from nasforge.rng import generator
from nasforge.tasks.preprocessing import Preprocessing

SplitName = Literal["train", "valid", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "valid", "test")


@final
@dataclass(frozen=True, slots=True)
class Split:
    """Images uint8 (N, C, H, W) and labels int64 (N,)."""

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@final
@dataclass(frozen=True)
class DataSource:
    """A data set with its three splits.

    Attributes:
        name: as on the command line.
        classes: names of the classes, in the order of the labels.
        splits: train, valid and test.
        preprocessing: how an image becomes the network's input; fitted on train.
        flip: whether a mirrored image keeps its class.
        is_sealed: whether `test` is refused.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[SplitName, Split]
    preprocessing: Preprocessing
    flip: bool = False
    is_sealed: bool = False

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (C, H, W)."""
        channels, height, width = self.splits["train"].images.shape[1:]
        return int(channels), int(height), int(width)

    def split(self, name: SplitName) -> Split:
        """Return one split.

        Raises:
            SplitError: `test` of a sealed source.
        """
        if name == "test" and self.is_sealed:
            raise SplitError(
                "the test split was asked for inside a search; use 'valid', test is opened once, by the final report."
            )
        if name not in self.splits:
            raise DataError(f"split '{name}' is unknown; expected one of {', '.join(SPLITS)}.")
        return self.splits[name]

    def sealed(self) -> DataSource:
        """Return the same source, its test split shut."""
        kept = {name: split for name, split in self.splits.items() if name != "test"}
        return dataclasses.replace(self, splits=kept, is_sealed=True)


def make_source(
    name: str,
    train: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]],
    test: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]] | None,
    classes: tuple[str, ...],
    *,
    flip: bool = False,
    seed: int = 0,
    valid_share: float = 0.2,
    test_share: float = 0.2,
    limit: int | None = None,
) -> DataSource:
    """Make a source from images (N, H, W, C) uint8 and labels (N,), held-out splits balanced by class.

    Args:
        name: of the data set.
        train: what weights and decisions may learn from; valid is held out of it.
        test: the test images; without them a share of train.
        classes: at least two.
        flip: whether mirrored images keep their class.
        seed: of the splits.
        valid_share: share of the training images held out for decisions.
        test_share: share of all images, where there is no test set.
        limit: at most so many training images (test: a fifth of it), balanced by class.

    Raises:
        DataError: fewer than two classes, or too few images to split.
    """
    if len(classes) < 2:
        raise DataError(f"data set '{name}' has {len(classes)} class; at least two are needed to classify.")
    images, labels = train
    if test is None:
        rest, held = balanced_split(labels, test_share, seed, "test")
        test = images[held], labels[held]
        images, labels = images[rest], labels[rest]
    if limit is not None and limit < len(labels):
        _, kept = balanced_split(labels, limit / len(labels), seed, "limit")
        images, labels = images[kept], labels[kept]
    rest, held = balanced_split(labels, valid_share, seed, "valid")
    parts = {"train": (images[rest], labels[rest]), "valid": (images[held], labels[held]), "test": test}
    empty = [part for part, (_, found) in parts.items() if len(found) == 0]
    if empty:
        raise DataError(
            f"data set '{name}' has too few images for a {empty[0]} split; give at least five of each class."
        )
    splits: dict[SplitName, Split] = {
        part: Split(
            torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))),
            torch.from_numpy(np.asarray(found, dtype=np.int64)),
        )
        for part, (pixels, found) in parts.items()  # type: ignore[misc]  # the keys are the three names
    }
    return DataSource(name, classes, splits, Preprocessing.fitted(splits["train"].images), flip)


def balanced_split(
    labels: npt.NDArray[np.int64], share: float, seed: int, stream: str
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return (rest, held): indices, of which `held` takes `share` of each class (rounded, at least one)."""
    rng = generator(seed, f"split.{stream}")
    held: list[npt.NDArray[np.intp]] = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        held.append(places[: min(len(places) - 1, max(1, round(share * len(places))))])
    chosen = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.intp)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
