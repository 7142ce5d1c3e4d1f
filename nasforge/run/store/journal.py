"""A study in an Optuna journal file, written by one process at a time.

A journal cut inside its last line loads in Optuna, but the next append would spoil it for good: it is repaired on
opening, under the run's lock. Optuna's own storage remembers every trial with its distributions, 20 KB and more
an evaluation; what writes here sees the line that makes the study and the lines since it last forgot.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, final

SYNC_SECONDS: Final = 0.2
FORGET_EVERY: Final = 256
_UNREAD: Final = ("params", "distributions")  # two thirds of the time of reading; the decisions say the same


def repair_journal(path: Path) -> bool:
    """Move a partial last line to `<name>.torn` and truncate the journal behind its last newline.

    Optuna's lock of a writer that was killed is removed: it would wait for it. Both are safe under the run's lock.

    Returns:
        Whether there was one.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("r+b") as journal:
        content = journal.read()
        end = content.rfind(b"\n") + 1
        if end == len(content):
            return False
        with path.with_name(path.name + ".torn").open("ab") as torn:
            torn.write(content[end:] + b"\n")
            torn.flush()
            os.fsync(torn.fileno())
        journal.truncate(end)
        journal.flush()
        os.fsync(journal.fileno())
    return True


@final
class JournalFile:
    """Lines appended under Optuna's lock, synced to the disk a few times a second at most.

    A line is handed to the system before the next evaluation begins, so a killed process loses nothing. A power cut
    may cost the last fifth of a second, which a resume evaluates again; evaluations that take time are all synced.
    Syncing each one would cost more than everything else where evaluations are looked up.
    """

    def __init__(self, path: Path) -> None:
        """Take the file; `path` is absolute, for Optuna's lock is a link, and waits for ever where it leads nowhere."""
        from optuna.storages.journal import JournalFileSymlinkLock

        self._path, self._synced, self._dirty = path, float("-inf"), False
        self._lock = JournalFileSymlinkLock(str(path))

    def append(self, logs: list[dict[str, Any]]) -> None:
        """Append logs as lines."""
        content = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with self._path.open("ab") as file:
                file.write(content)
            self._dirty = True
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()
        finally:
            self._lock.release()

    def sync(self) -> None:
        """Have the disk take what was written."""
        if self._dirty:
            with self._path.open("rb") as file:
                os.fsync(file.fileno())
        self._dirty, self._synced = False, time.monotonic()


@final
class Reader:
    """A backend for Optuna's journal storage that reads the whole file, but for what nasforge does not read."""

    def __init__(self, path: Path, file: JournalFile) -> None:
        """Take the file; it is made where there is none."""
        from optuna.storages.journal import JournalFileBackend

        self._reading, self._file = JournalFileBackend(str(path)), file

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Give the logs from a number on; Optuna asks."""
        for log in self._reading.read_logs(log_number_from):
            yield {key: value for key, value in log.items() if key not in _UNREAD}

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs as lines; Optuna asks."""
        self._file.append(logs)


@final
class Writer:
    """A backend for Optuna's journal storage that appends, and reads its head and what it appended itself."""

    def __init__(self, file: JournalFile, head: list[dict[str, Any]]) -> None:
        """Take the file and the logs that make the study."""
        self._file, self._first, self._logs = file, 0, list(head)

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """Return the logs from a number on and forget those before; Optuna asks."""
        del self._logs[: log_number_from - self._first]
        self._first = log_number_from
        return list(self._logs)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs as lines; Optuna asks."""
        self._file.append(logs)
        self._logs += logs


@final
class JournalTrials:
    """The trials of a study in a journal file, which this process alone writes."""

    def __init__(self, path: Path, study: str, directions: list[Any]) -> None:
        """Repair the journal, read it, and make the study where there is none."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.repaired = repair_journal(path)
        self._optuna, self._path, self._study = optuna, path.absolute(), study
        self._file = JournalFile(self._path)
        self._read: Any = self._reading()
        self._make_study(directions)
        self._study_id: int = self._read.get_study_id_from_name(study)
        self._head = self._head_of()
        self._writing, self._written = self._storage(Writer(self._file, self._head)), 0

    def append(self, trial: Any) -> None:
        """Add a finished trial."""
        self._read = None
        if self._written == FORGET_EVERY:
            self._writing, self._written = self._storage(Writer(self._file, self._head)), 0
        self._writing.create_new_trial(self._study_id, template_trial=trial)
        self._written += 1

    def attributes(self) -> Iterator[Mapping[str, Any]]:
        """Give the user attributes of every trial."""
        storage, self._read = self._read or self._reading(), None
        for trial in storage.get_all_trials(self._study_id, deepcopy=False):
            yield trial.user_attrs

    def close(self) -> None:
        """Sync the file."""
        self._file.sync()

    def _make_study(self, directions: list[Any]) -> None:
        """Look first: Optuna's own `load_if_exists` adds a line to the journal each time it is opened."""
        try:
            self._read.get_study_id_from_name(self._study)
        except KeyError:
            self._optuna.create_study(storage=self._read, study_name=self._study, directions=directions)

    def _head_of(self) -> list[dict[str, Any]]:
        """Return the logs that make the study: the first alone, or all where somebody made another study before."""
        reader = Reader(self._path, self._file)
        first = next(reader.read_logs(0))
        alone = self._storage(Writer(self._file, [first]))
        try:
            if alone.get_study_id_from_name(self._study) == self._study_id:
                return [first]
        except KeyError:
            pass
        return list(reader.read_logs(0))

    def _reading(self) -> Any:
        return self._storage(Reader(self._path, self._file))

    def _storage(self, backend: Any) -> Any:
        """Return Optuna's storage; backends have the methods of its own without deriving from them."""
        return self._optuna.storages.JournalStorage(backend)
