"""`image_folder:DIR`: labelled images as people have them, one sub-folder a class, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource, make_source
from nasforge.tasks.preprocessing import to_pixels

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def load(
    argument: str | None = None, *, size: int | None = None, limit: int | None = None, seed: int = 0
) -> DataSource:
    """Load DIR/train/<class>/* and DIR/test/<class>/*, or split DIR/<class>/* by itself.

    Args:
        argument: the folder.
        size: side that all images are resized to; without it the median side, at most 224.
        limit: at most so many training images.
        seed: of the splits.

    Raises:
        DataError: no folder, no or one class, an empty class, an image that cannot be read, other classes in test.
    """
    if not argument:
        raise DataError("image_folder was given no folder; pass image_folder:DIR with one sub-folder for each class.")
    root = Path(argument)
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder; pass image_folder:DIR with one sub-folder for each class.")
    split = (root / "train").is_dir() and (root / "test").is_dir()
    files = _files(root / "train" if split else root)
    classes = tuple(files)
    side = size or _median_side([path for paths in files.values() for path in paths])
    train = _read(files, classes, side)
    test = None
    if split:
        test_files = _files(root / "test")
        unknown = sorted(set(test_files) - set(classes))
        if unknown:
            raise DataError(
                f"'{root / 'test'}' has the class '{unknown[0]}' that train has not; use the same classes in both."
            )
        test = _read(test_files, classes, side)
    return make_source(f"image_folder:{root.name}", train, test, classes, flip=True, seed=seed, limit=limit)


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class, in order of names."""
    found = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            found[entry.name] = sorted(p for p in entry.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if len(found) < 2:
        raise DataError(
            f"'{folder}' has {len(found)} class folder{'s' if len(found) != 1 else ''}; at least two are needed, one for each class."
        )
    empty = [name for name, paths in found.items() if not paths]
    if empty:
        raise DataError(f"class folder '{folder / empty[0]}' holds no image; add images or remove the folder.")
    return found


def _median_side(paths: list[Path]) -> int:
    some = paths[:: max(1, len(paths) // 50)]
    sides = [min(to_pixels(path).shape[:2]) for path in some]
    return int(min(224, max(8, np.median(sides))))


def _read(
    files: dict[str, list[Path]], classes: tuple[str, ...], side: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = [to_pixels(path, (side, side)) for paths in files.values() for path in paths]
    labels = [classes.index(name) for name, paths in files.items() for _ in paths]
    return np.stack(images), np.asarray(labels, dtype=np.int64)
