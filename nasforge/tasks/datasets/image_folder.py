"""`image_folder:DIR`: labelled images as people have them, one sub-folder a class, of any size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource, Labelled, balanced_split, check_limit, check_memory, make_source
from nasforge.tasks.preprocessing import image_size, to_pixels

SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
)
TEST: Final = "test"
VALID: Final = ("valid", "val", "validation")
LARGEST_SIDE: Final = 4096
Files = dict[str, list[Path]]


def load(
    argument: str | None = None, *, size: int | None = None, limit: int | None = None, seed: int = 0
) -> DataSource:
    """Load DIR/train/<class>/* and DIR/test/<class>/*, or split DIR/<class>/* by itself.

    A folder `valid` or `val` beside train and test gives the images to decide with; where there is no test, it is the
    test. Hidden files and files without an image's suffix are left alone.

    Args:
        argument: the folder.
        size: side that all images are resized to; without it the median side, at most 224.
        limit: at most so many training images, those held out for valid included.
        seed: of the splits.

    Raises:
        DataError: no folder, no or one class, an empty class, an image that cannot be read, other classes in test, or
            more pixels than this machine's memory holds.
    """
    if not argument:
        raise DataError("image_folder was given no folder; pass image_folder:DIR with one sub-folder for each class.")
    root = Path(argument).expanduser()
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder; pass image_folder:DIR with one sub-folder for each class.")
    if size is not None and not 1 <= size <= LARGEST_SIDE:
        raise DataError(f"image_folder was given size {size}; expected 1 to {LARGEST_SIDE} pixels.")
    check_limit(limit)
    train_folder, valid_folder, test_folder = _layout(root)
    train = _files(train_folder)
    classes = tuple(train)
    others = {part: _files(part, train_folder, classes) for part in (valid_folder, test_folder) if part is not None}
    side = size or _median_side([path for paths in train.values() for path in paths])
    if limit is not None and test_folder is not None:
        train = _limited(train, limit, seed)
    check_memory(str(root), sum(len(paths) for files in (train, *others.values()) for paths in files.values()), side)
    read = {part: _read(files, classes, side) for part, files in others.items()}
    return make_source(
        f"image_folder:{root.resolve().name}",
        _read(train, classes, side),
        read[test_folder] if test_folder else None,
        classes,
        valid=read[valid_folder] if valid_folder else None,
        flip=True,
        seed=seed,
        limit=limit,
    )


def _layout(root: Path) -> tuple[Path, Path | None, Path | None]:
    """Return the folders of train, valid and test; a folder whose parts are not all splits is one of classes."""
    names = {entry.name for entry in _folders(root)}
    valid = next((name for name in VALID if name in names), None)
    if "train" not in names or not names <= {"train", TEST, valid} or len(names) < 2:
        return root, None, None
    if TEST not in names:
        return root / "train", None, root / str(valid)
    return root / "train", root / valid if valid else None, root / TEST


def _folders(folder: Path) -> list[Path]:
    """Return the sub-folders that can be classes, in order of names."""
    try:
        entries = sorted(folder.iterdir())
        return [e for e in entries if e.is_dir() and not e.name.startswith(".") and e.name != "__MACOSX"]
    except OSError as error:
        raise DataError(f"'{folder}' cannot be listed ({error.strerror}); make it readable.") from error


def _files(folder: Path, train: Path | None = None, known: Sequence[str] = ()) -> Files:
    """Return the images of each class, in order of names; with `known`, only these classes are allowed."""
    found: Files = {}
    for entry in _folders(folder):
        if known and entry.name not in known:
            raise DataError(f"'{folder}' has the class '{entry.name}' that '{train}' has not; use the same classes.")
        if folder.resolve().is_relative_to(entry.resolve()):
            raise DataError(f"'{entry}' is a link to a folder that holds it; remove it.")
        found[entry.name] = _images(entry)
        if not found[entry.name]:
            raise DataError(
                f"class folder '{entry}' holds no image ({', '.join(sorted(SUFFIXES))}); add images or remove the "
                "folder."
            )
    if known and not found:
        raise DataError(f"'{folder}' has no class folder; use the same classes as in '{train}', or remove it.")
    if not known and len(found) < 2:
        raise DataError(
            f"'{folder}' has {len(found)} class folder{'s' * (len(found) != 1)}; at least two are needed, one for each "
            "class."
        )
    return found


def _images(folder: Path) -> list[Path]:
    """Return the images below a class folder, in order; links to folders are not followed, so none is met twice."""
    found = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return found


def _refuse(error: OSError) -> None:
    raise DataError(f"'{error.filename}' cannot be listed ({error.strerror}); make it readable.") from error


def _limited(files: Files, limit: int, seed: int) -> Files:
    """Return a class-balanced part of the files, so that only what is used is read."""
    labels = np.repeat(np.arange(len(files)), [len(paths) for paths in files.values()])
    if limit >= len(labels):
        return files
    _, kept = balanced_split(labels, limit / len(labels), seed, "limit")
    chosen = set(kept.tolist())
    numbered = iter(range(len(labels)))
    return {name: [path for path in paths if next(numbered) in chosen] for name, paths in files.items()}


def _median_side(paths: list[Path]) -> int:
    some = paths[:: max(1, len(paths) // 50)]
    return int(min(224, max(8, np.median([min(image_size(path)) for path in some]))))


def _read(files: Files, classes: tuple[str, ...], side: int) -> Labelled:
    paths = [path for found in files.values() for path in found]
    images = np.empty((len(paths), side, side, 3), dtype=np.uint8)
    for number, path in enumerate(paths):
        images[number] = to_pixels(path, (side, side))
    labels: npt.NDArray[np.int64] = np.repeat(
        np.asarray([classes.index(name) for name in files], dtype=np.int64), [len(found) for found in files.values()]
    )
    return images, labels
