"""Where evaluations are kept: an Optuna study, one finished trial per evaluation.

`optuna-dashboard` opens it. No sampler is ever asked. A journal cut inside its last line loads in Optuna, but
the next append would spoil it for good: it is repaired on opening, under the run's lock.
"""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, final

from nasforge.errors import DamagedError, RunFolderError
from nasforge.run.atomic import finite, folder_error
from nasforge.run.folder import redact
from nasforge.space import Architecture, SearchSpace
from nasforge.strategy.base import Evaluation

STUDY: Final = "study.log"
NAME: Final = "nasforge"
SYNC_SECONDS: Final = 0.2


class Store(Protocol):
    """Keeps evaluations in the order they were told."""

    def append(self, evaluation: Evaluation) -> None:
        """Keep one more; it outlives this process when this returns."""

    def load(self) -> list[Evaluation]:
        """Return all, in the order they were appended."""

    def close(self) -> None:
        """Let go of files and connections."""


@final
class MemoryStore:
    """Keeps evaluations in memory only."""

    def __init__(self) -> None:
        """Start empty."""
        self._kept: list[Evaluation] = []

    def append(self, evaluation: Evaluation) -> None:
        """Keep one more."""
        self._kept.append(evaluation)

    def load(self) -> list[Evaluation]:
        """Return all."""
        return list(self._kept)

    def close(self) -> None:
        """Do nothing."""


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
    """Optuna's journal file, synced to the disk a few times a second at most.

    A line is handed to the system before the next evaluation begins, so a killed process loses nothing. A power cut
    may cost the last fifth of a second, which a resume evaluates again; evaluations that take time are all synced.
    Syncing each one would cost more than everything else where evaluations are looked up.
    """

    def __init__(self, path: Path) -> None:
        """Take the file; `path` is absolute, for Optuna's lock is a link, and waits for ever where it leads nowhere."""
        from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

        self._path, self._synced, self._dirty = path, float("-inf"), False
        self._reading, self._lock = JournalFileBackend(str(path)), JournalFileSymlinkLock(str(path))

    def read_logs(self, log_number_from: int) -> Any:
        """Return the logs from a number on; Optuna asks."""
        return self._reading.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append logs as lines; Optuna asks."""
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
class StudyStore:
    """An Optuna study in a journal file or behind any storage URL.

    Args:
        where: the journal file, or a storage URL such as `sqlite:///runs.db` or `postgresql://...`.
        space: of the architectures.
        directions: `maximize` or `minimize` by objective metric.
    """

    def __init__(
        self, where: str | Path, space: SearchSpace, directions: Mapping[str, str] | None = None, study: str = NAME
    ) -> None:
        """Open or make the study.

        Raises:
            DamagedError: the journal cannot be read.
            RunFolderError: it cannot be written, or the storage cannot be reached.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna = optuna
        self._space = space
        self._directions = dict(directions or {"accuracy_valid": "maximize"})
        self._where = redact(str(where))
        self._journal: JournalFile | None = None
        try:
            self.repaired = "://" not in str(where) and repair_journal(Path(where))
            self._storage = self._open(str(where))
            self._study = self._load_or_create(study)
        except OSError as error:
            raise folder_error(Path(self._where), error) from error
        except Exception as error:
            kind = RunFolderError if "://" in self._where else DamagedError
            raise kind(
                f"the study '{self._where}' cannot be opened ({type(error).__name__}: {redact(str(error))})."
            ) from error
        self._distributions = {
            str(read.name): optuna.distributions.CategoricalDistribution(list(read.labels)) for read in space.choices
        }

    def _load_or_create(self, name: str) -> Any:
        """Look first: Optuna's own `load_if_exists` adds a line to the journal each time it is opened."""
        try:
            return self._optuna.load_study(study_name=name, storage=self._storage)
        except KeyError:
            directions: list[Any] = list(self._directions.values())
            return self._optuna.create_study(
                storage=self._storage, study_name=name, directions=directions, load_if_exists=True
            )

    def _open(self, where: str) -> Any:
        if "://" in where:
            return self._optuna.storages.get_storage(where)
        self._journal = JournalFile(Path(where).absolute())
        backend: Any = self._journal  # has the methods of optuna's backends without deriving from them
        return self._optuna.storages.JournalStorage(backend)

    def append(self, evaluation: Evaluation) -> None:
        """Add one finished trial.

        Raises:
            RunFolderError: the disk is full or the storage is gone.
        """
        params = self._space.describe(evaluation.architecture)
        failed = evaluation.error is not None
        values = [evaluation.metrics.get(metric) for metric in self._directions]
        complete = not failed and all(value is not None and value == value for value in values)
        now = datetime.datetime.now()
        trial = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.COMPLETE if complete else self._optuna.trial.TrialState.FAIL,
            values=[float(value) for value in values if value is not None] if complete else None,
            params=params,
            distributions={name: self._distributions[name] for name in params},
            user_attrs=self._attributes(evaluation),
        )
        trial.datetime_start = now - datetime.timedelta(seconds=evaluation.seconds)
        trial.datetime_complete = now
        try:
            self._study.add_trial(trial)
        except OSError as error:
            raise folder_error(Path(self._where), error) from error

    def _attributes(self, evaluation: Evaluation) -> dict[str, Any]:
        return {
            "number": evaluation.number,
            "decisions": list(evaluation.architecture.decisions),
            "fingerprint": evaluation.architecture.fingerprint,
            "metrics": finite(dict(evaluation.metrics)),
            "fidelity": evaluation.fidelity,
            "error": evaluation.error,
            "ask": evaluation.ask,
            "tell": evaluation.tell,
            "seconds": round(evaluation.seconds, 6),
        }

    def load(self) -> list[Evaluation]:
        """Return all evaluations in the order they were told.

        Raises:
            DamagedError: a trial is not one of nasforge's, or of another space.
        """
        return [self._evaluation(trial.user_attrs) for trial in self._study.get_trials(deepcopy=False)]

    def _evaluation(self, attributes: Mapping[str, Any]) -> Evaluation:
        try:
            if attributes["fingerprint"] != self._space.fingerprint:
                raise DamagedError(f"the study '{self._where}' is of another space than '{self._space.name}'.")
            return Evaluation(
                number=int(attributes["number"]),
                architecture=Architecture(tuple(attributes["decisions"]), attributes["fingerprint"]),
                metrics={key: float("nan") if v is None else float(v) for key, v in attributes["metrics"].items()},
                fidelity=attributes["fidelity"],
                error=attributes["error"],
                ask=int(attributes["ask"]),
                tell=int(attributes["tell"]),
                seconds=float(attributes["seconds"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(
                f"the study '{self._where}' holds a trial that nasforge did not write ({error})."
            ) from error

    def close(self) -> None:
        """Let go of the storage; a journal is synced."""
        if self._journal is not None:
            self._journal.sync()
        remove = getattr(self._storage, "remove_session", None)
        if remove is not None:
            remove()


def directions_of(objectives: Sequence[Any]) -> dict[str, str]:
    """Return the direction by metric of objectives."""
    return {objective.metric: objective.direction for objective in objectives}
