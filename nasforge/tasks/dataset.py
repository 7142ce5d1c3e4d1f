"""Images in memory, split for honest search: weights learn on train, decisions see valid, test stays shut.

Asking a sealed source for `test` raises; the loop hands searches sealed sources only.
"""

from __future__ import annotations

import dataclasses
import os
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
Indices = npt.NDArray[np.intp]
Labelled = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
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
        kept: dict[SplitName, Split] = {name: split for name, split in self.splits.items() if name != "test"}
        return dataclasses.replace(self, splits=kept, is_sealed=True)


def make_source(
    name: str,
    train: Labelled,
    test: Labelled | None,
    classes: tuple[str, ...],
    *,
    valid: Labelled | None = None,
    flip: bool = False,
    seed: int = 0,
    valid_share: float = 0.2,
    test_share: float = 0.2,
    limit: int | None = None,
) -> DataSource:
    """Make a source from images (N, H, W, C) uint8 and labels (N,), held-out splits balanced by class.

    The images of each split are in an order of their own, so the first of them are a fair sample.

    Args:
        name: of the data set.
        train: what weights and decisions may learn from; valid is held out of it.
        test: the test images; without them a share of train. Never limited.
        classes: at least two.
        valid: images to decide with, where they are apart already.
        flip: whether mirrored images keep their class.
        seed: of the splits.
        valid_share: share of the training images held out for decisions.
        test_share: share of all images, where there is no test set.
        limit: at most so many images of `train`, those held out for valid included, balanced by class.

    Raises:
        DataError: fewer than two classes, a label outside them, or too few images to split.
    """
    if len(classes) < 2:
        raise DataError(f"data set '{name}' has {len(classes)} class; at least two are needed to classify.")
    check_limit(limit)
    for _, labels in filter(None, (train, valid, test)):
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
            raise DataError(f"data set '{name}' has a label outside its {len(classes)} classes; get the files again.")
    labels = train[1]
    pool = np.arange(len(labels))
    parts: dict[SplitName, tuple[Labelled, Indices]] = {}
    if test is None:
        _check_counts(name, classes, labels, 2 + (valid is None))
        pool, held = balanced_split(labels, test_share, seed, "test")
        parts["test"] = train, held
    else:
        parts["test"] = test, np.arange(len(test[1]))
    if limit is not None and limit < len(pool):
        pool = pool[balanced_split(labels[pool], limit / len(pool), seed, "limit")[1]]
    _check_counts(name, classes, labels[pool], 1 + (valid is None))
    if valid is None:
        rest, held = balanced_split(labels[pool], valid_share, seed, "valid")
        parts["train"], parts["valid"] = (train, pool[rest]), (train, pool[held])
    else:
        parts["train"], parts["valid"] = (train, pool), (valid, np.arange(len(valid[1])))
    empty = [part for part in SPLITS if len(parts[part][1]) == 0]
    if empty:
        raise DataError(f"data set '{name}' has no image for its {empty[0]} split; add images.")
    splits = {
        part: _split(*parts[part][0], generator(seed, f"order.{part}").permutation(parts[part][1])) for part in SPLITS
    }
    return DataSource(name, classes, splits, Preprocessing.fitted(splits["train"].images), flip)


def check_limit(limit: int | None) -> None:
    """Refuse a limit of no images.

    Raises:
        DataError: it is below one.
    """
    if limit is not None and limit < 1:
        raise DataError(f"the limit of training images was given as {limit}; expected a whole number above zero.")


def check_memory(name: str, count: int, side: int) -> None:
    """Refuse before reading what would not fit: RGB pixels, held twice while they are split.

    Raises:
        DataError: says how much is needed.
    """
    needed = 2 * count * side * side * 3
    held = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else needed
    if needed > held:
        raise DataError(
            f"the {count} images of '{name}' take {needed / 2**30:.1f} GiB at {side} pixels, and this machine has "
            f"{held / 2**30:.1f} GiB; give a smaller size or a limit."
        )


def _check_counts(name: str, classes: tuple[str, ...], labels: npt.NDArray[np.int64], least: int) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < least:
        fewest = counts.argmin()
        raise DataError(
            f"data set '{name}' has {counts[fewest]} image{'s' * int(counts[fewest] != 1)} of "
            f"class '{classes[fewest]}' to learn from; expected at least {least}, one for each split: add images, "
            "remove the class or raise the limit."
        )


def _split(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], chosen: Indices) -> Split:
    """Copy the chosen images once, channels first."""
    height, width, channels = images.shape[1:]
    pixels = np.empty((len(chosen), channels, height, width), dtype=np.uint8)
    for begin in range(0, len(chosen), 256):
        places = chosen[begin : begin + 256]
        pixels[begin : begin + 256] = images[places].transpose(0, 3, 1, 2)
    return Split(torch.from_numpy(pixels), torch.from_numpy(labels[chosen].astype(np.int64)))


def balanced_split(labels: npt.NDArray[np.int64], share: float, seed: int, stream: str) -> tuple[Indices, Indices]:
    """Return (rest, held): sorted indices, of which `held` takes `share` of each class.

    The total is exact (largest remainders) unless there are too few: each class gives one where it can, and keeps one.
    """
    rng = generator(seed, f"split.{stream}")
    found, counts = np.unique(labels, return_counts=True)
    wanted, total = share * counts, round(share * len(labels))
    least, most = np.minimum(1, counts - 1), counts - 1
    takes = np.clip(np.floor(wanted + 1e-9).astype(int), least, most)
    while takes.sum() < total and (takes < most).any():
        takes[np.where(takes < most, wanted - takes, -np.inf).argmax()] += 1
    while takes.sum() > total and (takes > least).any():
        takes[np.where(takes > least, takes - wanted, -np.inf).argmax()] -= 1
    held = [rng.permutation(np.flatnonzero(labels == label))[:take] for label, take in zip(found, takes, strict=True)]
    chosen = np.sort(np.concatenate(held)) if held else np.zeros(0, dtype=np.intp)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen
