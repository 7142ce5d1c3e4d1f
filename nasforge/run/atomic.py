"""Files that are either the old one or the new one, whenever the power goes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nasforge.errors import RunFolderError

PART: Final = ".part-"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; what was written there takes its place at the end.

    On an error the temporary file is removed and the old file stays as it was.

    Raises:
        RunFolderError: the disk is full, or the folder cannot be written.
    """
    target = Path(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=PART, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise folder_error(target, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what writes that were killed left in a folder; only for who holds the folder alone."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{PART}*"):
            path.unlink(missing_ok=True)


def folder_error(path: Path, error: OSError) -> RunFolderError:
    """Return the sentence for a failed write."""
    if isinstance(error, RunFolderError):
        return error
    if error.errno == errno.ENOSPC:
        return RunFolderError(
            f"the disk is full, so '{path}' could not be written; free some space, what was there is unharmed."
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return RunFolderError(f"'{path}' may not be written ({error.strerror}); choose another folder with --out.")
    return RunFolderError(
        f"'{path}' could not be written ({error.strerror or error}); choose another folder with --out."
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write text atomically, in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinity become null, for they are not JSON."""
    write_text(path, json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON in UTF-8, or lists in lists without end.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def finite(value: Any) -> Any:
    """Return plain data with NaN and infinities replaced by None, and numpy numbers by Python's."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
