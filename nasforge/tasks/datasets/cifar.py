"""CIFAR from its binary files: the pickled version is code, and files from outside are never unpickled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasforge.errors import DataError
from nasforge.tasks.dataset import DataSource, make_source


def load_cifar(
    name: str,
    argument: str | None,
    unpacked: str,
    files: tuple[tuple[str, ...], str],
    names_file: str,
    label_bytes: int,
    limit: int | None,
    seed: int,
) -> DataSource:
    """Load the binary version (`*.bin`) from a folder.

    Args:
        name: of the data set.
        argument: the folder, or the one above it.
        unpacked: name of the folder in the archive.
        files: the training files and the test file.
        names_file: text file with one class name a line.
        label_bytes: bytes before the 3,072 of an image; the last is the label.
        limit: at most so many training images.
        seed: of the splits.

    Raises:
        DataError: no folder, or a missing or damaged file.
    """
    if not argument:
        raise DataError(f"{name} was given no folder; download the binary version and pass {name}:DIR.")
    folder = Path(argument).expanduser()
    if (folder / unpacked).is_dir():
        folder = folder / unpacked
    train_parts = [_read(folder / file, label_bytes) for file in files[0]]
    train = np.concatenate([p[0] for p in train_parts]), np.concatenate([p[1] for p in train_parts])
    test = _read(folder / files[1], label_bytes)
    names = folder / names_file
    try:
        classes = tuple(line.strip() for line in names.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{names}' cannot be read; give the folder of the binary version.") from error
    return make_source(name, train, test, classes, flip=True, seed=seed, limit=limit, valid_share=0.1)


def _read(path: Path, label_bytes: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    if not path.is_file():
        hint = (
            " (the pickled Python version is not read: a pickle can run code)" if path.with_suffix("").exists() else ""
        )
        raise DataError(f"'{path}' does not exist{hint}; give the folder of the binary version.")
    raw = np.frombuffer(path.read_bytes(), np.uint8)
    row = label_bytes + 3072
    if len(raw) == 0 or len(raw) % row:
        raise DataError(f"'{path}' has {len(raw)} bytes, no multiple of {row}; get it again.")
    rows = raw.reshape(-1, row)
    images = rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, rows[:, label_bytes - 1].astype(np.int64)
