"""Checkpoints of a distributed training: a folder for each at any fsspec path, our file inside, the newest whole first.

Ray Train writes them. They are found by listing, not by what Ray noted about them, so that a note cut by a power
failure, or by another version of Ray, loses nothing.
"""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, final

import fsspec

from nasforge.errors import DamagedError, UsageError
from nasforge.run.checkpoint import KEPT, Checkpoints, read_state

KIND: Final = "training"
FILE: Final = f"{KIND}-1.safetensors"
NOTED: Final = "checkpoint_manager_snapshot.json"  # what Ray Train notes about the checkpoints of a run
PREFIX: Final = "step-"


@final
class RemoteCheckpoints:
    """The checkpoints of one training.

    Args:
        url: fsspec path of the folder in which the training has its own.
        name: of the training's own folder.

    Raises:
        UsageError: no file system of that name.

    Attributes:
        filesystem: of fsspec.
        parent: path of the folder, on that file system.
        path: path of the training's own folder.
    """

    def __init__(self, url: str, name: str) -> None:
        """Find the file system; nothing is written."""
        try:
            self.filesystem, parent = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(
                f"checkpoints were to go to '{url}', which fsspec cannot open ({error}); expected a folder or a URL, "
                "such as s3://bucket/folder, and the package of its file system."
            ) from error
        self.name, self.parent = name, str(parent)
        self.path = f"{self.parent.rstrip('/')}/{name}"

    @property
    def is_local(self) -> bool:
        """Whether it is a plain folder of this machine, or one mounted there."""
        return isinstance(self.filesystem, fsspec.implementations.local.LocalFileSystem)

    def newest(self, warn: Callable[[str], None]) -> bytes | None:
        """Return the content of the newest checkpoint that is whole, or None.

        Args:
            warn: hears one sentence for each that is damaged.
        """
        for folder in reversed(self._folders()):
            try:
                content: bytes = self.filesystem.cat_file(f"{folder}/{FILE}")
                state_of(content)
            except (DamagedError, OSError) as error:
                warn(f"checkpoint '{folder}' is damaged ({type(error).__name__}) and passed over.")
            else:
                return content
        return None

    def tidy(self) -> None:
        """Remove what Ray noted, and all but the newest checkpoints; before the training is begun or gone on with."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{self.path}/{NOTED}")
        for folder in self._folders()[:-KEPT]:
            self.filesystem.rm(folder, recursive=True)

    def _folders(self) -> list[str]:
        """Return the folders of checkpoints, oldest first."""
        self.filesystem.invalidate_cache()
        try:
            found = [str(path).rstrip("/") for path in self.filesystem.ls(self.path, detail=False)]
        except FileNotFoundError:
            return []
        named = [path for path in found if step_of(path) is not None]
        return sorted(named, key=lambda path: (step_of(path) or 0, path))


def folder_name(state: Mapping[str, Any]) -> str:
    """Return a name that no other checkpoint has, and that follows those of earlier ones by name."""
    phase, _, step, _ = state["place"]
    return f"{PREFIX}{step:09d}-{phase:03d}-{uuid.uuid4().hex[:8]}"


def step_of(path: str) -> int | None:
    """Return the step of a checkpoint's folder; None for any other path."""
    head, _, rest = path.rpartition("/")[2].partition("-")
    number = rest.partition("-")[0]
    return int(number) if f"{head}-" == PREFIX and number.isdecimal() else None


@contextmanager
def written(state: Any) -> Iterator[Path]:
    """Give a temporary folder that holds a state."""
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        path = Path(folder)
        assert Checkpoints(path).save(KIND, state).name == FILE
        yield path


def state_of(content: bytes) -> Any:
    """Return the state that a checkpoint's file holds.

    Raises:
        DamagedError: it is cut, altered or no checkpoint.
    """
    with tempfile.TemporaryDirectory(prefix="nasforge-") as folder:
        path = Path(folder) / FILE
        path.write_bytes(content)
        return read_state(path)
