"""The folder of a bench: one small file for each search, so that nothing that was done is done again.

The name of a file is a fingerprint of everything that its search depends on. A bench of more strategies, suites or
seeds in the same folder does only what is new.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any, Final, final

from nasforge.bench.trace import Trace
from nasforge.errors import WrongFolderError
from nasforge.run.atomic import PART, folder_error, remove_parts
from nasforge.run.folder import RunFolder

TASKS: Final = "searches"
DOCUMENT: Final = "bench.json"
PAGE: Final = "bench.html"
_PARENT: Final = Path("benches")
_LOCK: Final = ".lock"


@final
class BenchFolder:
    """A folder, locked against another bench; use as a context manager.

    Attributes:
        path: of the folder.
        tasks: of its searches.
    """

    def __init__(self, path: str | Path | None, tasks: str = TASKS) -> None:
        """Make the folder, or take up the one that is there.

        Args:
            path: where; a new one below `benches` without.
            tasks: the name of the folder in it that keeps what was done.

        Raises:
            WrongFolderError: it holds something else.
            RunFolderError: it is in use, or cannot be made.
        """
        self.path = _numbered() if path is None else Path(path)
        self.tasks = self.path / tasks
        _check(self.path, tasks)
        self._lock = RunFolder(self.path)
        try:
            self.tasks.mkdir(exist_ok=True)
            remove_parts(self.tasks)
        except OSError as error:
            self._lock.close()
            raise folder_error(self.tasks, error) from error

    def __enter__(self) -> BenchFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()


def _numbered() -> Path:
    day = datetime.datetime.now(tz=datetime.UTC).astimezone().strftime("%Y%m%d")
    number = 1
    while (_PARENT / f"{day}-{number}").exists():
        number += 1
    return _PARENT / f"{day}-{number}"


def _check(path: Path, tasks: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        content = [each.name for each in path.iterdir() if each.name != _LOCK and not each.name.startswith(PART)]
    except OSError as error:
        raise folder_error(path, error) from error
    if content and tasks not in content:
        raise WrongFolderError(
            f"'{path}' is not empty and holds no bench with {tasks} ({content[0]}, ...); choose an empty or a new "
            "folder."
        )


def read_trace(tasks: Path, key: str) -> Trace | None:
    """Return the search of a key; None where it was not done, or where its file is damaged."""
    try:
        return Trace.read(json.loads((tasks / f"{key}.json").read_text(encoding="utf-8"))["trace"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def write_trace(tasks: Path, key: str, identity: dict[str, Any], trace: Trace) -> None:
    """Write a search with what it depends on; whole, or not at all.

    Raises:
        RunFolderError: it cannot be written.
    """
    path = tasks / f"{key}.json"
    part = tasks / f"{PART}{os.getpid()}-{key}.json"
    try:
        part.write_text(json.dumps({**identity, "trace": trace.to_json()}, allow_nan=False), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise folder_error(path, error) from error
