"""The run folder: one search, made exclusively, locked while it runs, never executed."""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import re
import shlex
from pathlib import Path
from typing import IO, Any, Final, final

import yaml

from nasforge.errors import DamagedError, RunFolderError, WrongFolderError
from nasforge.run.atomic import PART, folder_error, remove_parts, write_text

CONFIG: Final = "config.yaml"
_LOCK: Final = ".lock"
REDACTED: Final = "***"
# up to the last @ of a word, for whoever writes one into a password; an interpolation without a default is no secret
_PASSWORD: Final = re.compile(r"(?P<head>[a-zA-Z][\w+.-]*://[^:/@\s]*:)(?!\$\{[^{},\s]*\}@)\S+(?=@)")
_OPTION: Final = re.compile(r"(?P<head>[?&](?:password|passwd|sslpassword)=)(?!\$\{[^{},\s]*\}(?:&|$))[^&\s'\"]+")


def redact(text: str) -> str:
    """Replace passwords in URLs.

    >>> redact("postgresql://me:secret@host/db")
    'postgresql://me:***@host/db'
    >>> redact("postgresql://me:${oc.env:PGPASSWORD}@host/db")
    'postgresql://me:${oc.env:PGPASSWORD}@host/db'
    """
    return _OPTION.sub(rf"\g<head>{REDACTED}", _PASSWORD.sub(rf"\g<head>{REDACTED}", text))


def redacted(value: Any) -> Any:
    """Replace passwords in all texts of plain data."""
    if isinstance(value, dict):
        return {key: redacted(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(entry) for entry in value]
    return redact(value) if isinstance(value, str) else value


@final
class RunFolder:
    """A folder with a lock; use as a context manager or call `close`."""

    def __init__(self, path: Path) -> None:
        """Lock an existing run folder.

        Raises:
            RunFolderError: another process holds it.
        """
        self.path = path
        try:
            self._lock: IO[str] = (path / _LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise folder_error(path / _LOCK, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise RunFolderError(
                f"'{path}' is in use by another run (process {holder}); wait for it, or choose another folder with "
                "--out."
            ) from error
        remove_parts(path)
        try:
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()
        except OSError as error:
            raise folder_error(path / _LOCK, error) from error

    @classmethod
    def create(cls, path: str | Path | None, name: str = "run") -> RunFolder:
        """Make and lock a new folder.

        Args:
            path: where; without it `runs/<date>-<name>-<n>` with the first free n.
            name: `<space>-<strategy>-<target>`.

        Raises:
            WrongFolderError: it exists and is not empty.
            RunFolderError: it is in use, or cannot be made.
        """
        if path is None:
            return cls._numbered(Path("runs"), name)
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise folder_error(folder, error) from error
        cls._check_empty(folder)
        return cls(folder)

    @classmethod
    def check(cls, path: str | Path | None) -> None:
        """Refuse a place where `create` could make no folder, before a run does anything; makes nothing.

        Raises:
            WrongFolderError, RunFolderError: as `create`.
        """
        folder = Path("runs" if path is None else path)
        try:
            existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
            if not existing.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            if not os.access(existing, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise folder_error(folder, error) from error
        if path is not None and existing is folder:
            cls._check_empty(folder)

    @classmethod
    def _check_empty(cls, folder: Path) -> None:
        try:
            content = [each.name for each in folder.iterdir() if each.name != _LOCK and not each.name.startswith(PART)]
        except OSError as error:
            raise folder_error(folder, error) from error
        if (folder / CONFIG).exists():
            cls(folder).close()  # says so where the run is still going
            raise WrongFolderError(
                f"'{folder}' already holds a run; continue it with `{resume_command(folder)}`, or choose another --out."
            )
        if content:
            raise WrongFolderError(
                f"'{folder}' is not empty and holds no run ({content[0]}, ...); choose an empty or a new folder."
            )

    @classmethod
    def _numbered(cls, parent: Path, name: str) -> RunFolder:
        day = datetime.datetime.now(tz=datetime.UTC).astimezone().strftime("%Y%m%d")
        number = 1
        while True:
            folder = parent / f"{day}-{name}-{number}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
                continue
            except OSError as error:
                raise folder_error(folder, error) from error
            return cls(folder)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Lock a folder that holds a run.

        Raises:
            WrongFolderError: it does not exist.
            RunFolderError: it holds no run, or is in use.
        """
        folder = Path(path)
        if not folder.exists():
            raise WrongFolderError(f"'{folder}' does not exist; give the folder of a run.")
        if not (folder / CONFIG).is_file():
            raise RunFolderError(f"'{folder}' holds no run (no {CONFIG}); give the folder of a run.")
        return cls(folder)

    def file(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    def write_config(self, settings: dict[str, Any]) -> None:
        """Write `config.yaml`, passwords redacted."""
        write_text(self.file(CONFIG), yaml.safe_dump(redacted(settings), sort_keys=False, allow_unicode=True))

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def resume_command(folder: Path) -> str:
    """Return the command that goes on with a run, to be copied into a shell."""
    return f"nasforge resume {shlex.quote(str(folder))}"


def written_again(file: Path) -> str:
    """Return the advice for a file of a run that is missing or damaged."""
    if (file.parent / CONFIG).is_file():
        return f"`{resume_command(file.parent)}` writes it again"
    return "bring back a copy of it, or train the architecture again"


def read_config(path: str | Path) -> dict[str, Any]:
    """Read `config.yaml` of a run, by safe YAML.

    Raises:
        DamagedError: it is missing or not a mapping.
    """
    file = Path(path) / CONFIG
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DamagedError(f"'{file}' cannot be read ({type(error).__name__}); give the folder of a run.") from error
    if not isinstance(content, dict):
        raise DamagedError(f"'{file}' is not the configuration of a run; give the folder of a run.")
    return content
