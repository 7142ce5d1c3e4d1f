"""The store of a run: evaluations as finished trials of an Optuna study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, final

from nasforge.errors import DamagedError
from nasforge.run.atomic import atomic_path, folder_error
from nasforge.run.folder import redact
from nasforge.run.store.base import Trials
from nasforge.run.store.database import WAIT_SECONDS, DatabaseTrials
from nasforge.run.store.journal import JournalTrials
from nasforge.run.store.trial import TrialForm
from nasforge.space import SearchSpace
from nasforge.strategy.base import Evaluation

STUDY: Final = "study.log"
NAME: Final = "nasforge"


def _silent(sentence: str) -> None:
    return


@final
class StudyStore:
    """An Optuna study in a journal file or in a database.

    Args:
        where: the journal file, or a storage URL such as `sqlite:///runs.db` or `postgresql://...`.
        space: of the architectures.
        directions: `maximize` or `minimize` by objective metric.
        study: its name.
        made: whether the study is in the database already, and damage where it is not.
        wait: seconds to wait for a database that is away.
        note: hears of such things.
    """

    def __init__(
        self,
        where: str | Path,
        space: SearchSpace,
        directions: Mapping[str, str] | None = None,
        study: str = NAME,
        *,
        made: bool = False,
        wait: float = WAIT_SECONDS,
        note: Callable[[str], None] = _silent,
    ) -> None:
        """Open or make the study.

        Raises:
            DamagedError: it cannot be read.
            RunFolderError: it cannot be written, or the storage cannot be reached.
            UsageError: a storage of no kind that can be opened.
        """
        self._where, self._space = redact(str(where)), space
        self._directions = dict(directions or {"accuracy_valid": "maximize"})
        ways = list(self._directions.values())
        if "://" in str(where):
            self._trials: Trials = DatabaseTrials(str(where), study, ways, made=made, wait=wait, note=note)
        else:
            self._trials = self._journal(Path(where), study, ways)
        self.repaired = self._trials.repaired
        self._form = TrialForm(space, list(self._directions), self._where)

    def _journal(self, path: Path, study: str, directions: list[str]) -> JournalTrials:
        try:
            return JournalTrials(path, study, directions)
        except OSError as error:
            raise folder_error(path, error) from error
        except Exception as error:
            raise DamagedError(
                f"the study '{path}' cannot be opened ({type(error).__name__}: {error}); {_way_out(path)}."
            ) from error

    def append(self, evaluation: Evaluation) -> None:
        """Add one finished trial.

        Raises:
            RunFolderError: the disk is full or the storage is gone.
        """
        try:
            self._trials.append(self._form.trial(evaluation))
        except OSError as error:
            raise folder_error(Path(self._where), error) from error

    def load(self) -> list[Evaluation]:
        """Return all evaluations in the order they were told.

        Raises:
            DamagedError: a trial is not one of nasforge's, or of another space.
        """
        return [self._form.evaluation(attributes) for attributes in self._trials.attributes()]

    def keep_copy(self, path: Path, evaluations: Sequence[Evaluation]) -> None:
        """Write the evaluations into a journal beside a run whose study is in a database: the folder then holds all."""
        if isinstance(self._trials, JournalTrials):
            return
        with atomic_path(path) as temporary:
            copy = StudyStore(temporary, self._space, self._directions)
            for evaluation in evaluations:
                copy.append(evaluation)
            copy.close()

    def close(self) -> None:
        """Let go of the storage; a journal is synced."""
        self._trials.close()


def _way_out(path: Path) -> str:
    """Return what to do about a journal that cannot be read: a journal that ends earlier is a whole one."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            json.loads(line)
        except ValueError:
            return f"bring back a copy of it, or remove line {number} and all below: the search goes on from there"
    return "bring back a copy of it, or begin the search again in another folder"
