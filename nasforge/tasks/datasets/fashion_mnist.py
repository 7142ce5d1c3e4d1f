"""`fashion_mnist[:DIR]`: Zalando's clothes, 28 x 28, from IDX files of a folder (Debian's dataset-fashion-mnist)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource, make_source

DEBIAN: Final = Path("/usr/share/datasets/fashion-mnist")
CLASSES: Final = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def load(argument: str | None = None, *, limit: int | None = None, seed: int = 0) -> DataSource:
    """Load the images, grey repeated in three channels.

    Args:
        argument: folder of the four IDX files, raw or gzipped; Debian's without.
        limit: at most so many training images.
        seed: of the splits.

    Raises:
        DataError: a file is missing or damaged.
    """
    folder = Path(argument).expanduser() if argument else DEBIAN
    parts = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), 3)
        labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), 1)
        if len(images) != len(labels):
            raise DataError(
                f"'{folder}' holds {len(images)} {part} images and {len(labels)} labels; get the files again."
            )
        parts[part] = np.repeat(images[..., None], 3, axis=3), labels.astype(np.int64)
    return make_source(
        "fashion_mnist", parts["train"], parts["test"], CLASSES, flip=True, seed=seed, limit=limit, valid_share=0.1
    )


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if candidate.is_file():
            return candidate
    raise DataError(
        f"'{folder / name}' does not exist; give the folder of the IDX files (fashion_mnist:DIR), or install Debian's "
        "package dataset-fashion-mnist."
    )


def read_idx(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes with so many dimensions.

    Raises:
        DataError: it is damaged or another kind of file.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' cannot be read ({type(error).__name__}); get it again.") from error
    header = 4 + 4 * dimensions
    if len(raw) < header or raw[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"'{path}' is no IDX file of bytes with {dimensions} dimensions; get it again.")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dimensions, 4))
    if len(raw) - header != math.prod(shape) or 0 in shape:
        raise DataError(
            f"'{path}' holds {len(raw) - header} bytes where {math.prod(shape)} are announced; get it again."
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
