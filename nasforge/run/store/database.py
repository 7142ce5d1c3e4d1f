"""A study in a database that Optuna knows: SQLite, PostgreSQL. What is away is waited for; nothing counts twice."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar, final

from nasforge.errors import DamagedError, RunFolderError
from nasforge.run.store.alone import alone, this_process
from nasforge.run.store.failure import AwayError, check_driver, failure, raise_away
from nasforge.run.store.url import parse_url, sqlite_file, told, without_secrets

DRIVER: Final = "nasforge:driver"
WAIT_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
MAKING_TRIES: Final = 6
# what libpq needs to find out within half a minute that the other side is gone
_LIBPQ: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
Found = TypeVar("Found")
Note = Callable[[str], None]


def make_engine(url: Any) -> Any:
    """Return SQLAlchemy's engine, whose connections Optuna uses and which is there to be closed where it fails."""
    import sqlalchemy

    return sqlalchemy.create_engine(url, pool_pre_ping=True, connect_args=connect_arguments(url))


def connect_arguments(url: Any) -> dict[str, Any]:
    """Return what the driver of a database is told, beyond the URL."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": 30}
    if url.get_driver_name() in ("psycopg", "psycopg2"):
        given = {key: value for key, value in _LIBPQ.items() if key not in url.query}
        return {**given, "application_name": this_process()[:63]}
    return {}


@final
class DatabaseTrials:
    """The trials of a study in a database, which this process alone drives.

    Args:
        storage: its URL.
        study: name of the study.
        directions: of the objectives, where the study is made.
        made: whether it is there already: then nothing is made where it is not.
        wait: seconds an append waits for a database that is away.
        note: hears of that.
    """

    repaired = False

    def __init__(self, storage: str, study: str, directions: list[Any], *, made: bool, wait: float, note: Note) -> None:
        """Open the database and the study, and take the study.

        Raises:
            UsageError: no URL of a database that can be opened here.
            RunFolderError: it cannot be reached, does not hold the study, or another run drives it.
            DamagedError: it is damaged.
        """
        self._url, self._study, self._wait, self._note = parse_url(storage), study, wait, note
        self._where, self._token = told(self._url), uuid.uuid4().hex
        self._count: int | None = None
        check_driver(self._url)
        self._engine = make_engine(self._url)
        try:
            self._storage = self._connect(made)
            self._study_id = self._find(directions, made)
            self._alone = alone(self._storage.engine, study, self._where)
            self._alone.hold()
        except Exception as error:
            self._engine.dispose()
            raise failure(self._url, error) from error

    def append(self, trial: Any) -> None:
        """Add a finished trial, waiting for the database where it is away.

        Raises:
            RunFolderError: it stayed away, is full, or another run wrote to the study.
        """
        trial.set_user_attr("driver", self._token)
        if self._count is None:
            self._count = self._persistently(lambda: int(self._storage.get_n_trials(self._study_id)))
        place = self._count
        self._persistently(lambda: self._add(trial, place))
        self._count = place + 1

    def attributes(self) -> Iterator[Mapping[str, Any]]:
        """Give the user attributes of every trial, those with an evaluation or a tell number seen before left out."""
        trials = self._persistently(lambda: self._storage.get_all_trials(self._study_id, deepcopy=False))
        self._count = len(trials)
        numbers, tells, left_out = set[Any](), set[Any](), 0
        for trial in trials:
            number, tell = (trial.user_attrs.get(key) for key in ("number", "tell"))
            if number is not None and (number in numbers or tell in tells):
                left_out += 1
                continue
            numbers.add(number)
            tells.add(tell)
            yield trial.user_attrs
        if left_out:
            self._note(f"{left_out} trials of study '{self._study}' were stored twice and do not count.")

    def close(self) -> None:
        """Give back the study and every connection."""
        self._alone.release()
        self._storage.remove_session()
        self._engine.dispose()

    def _add(self, trial: Any, place: int) -> None:
        self._alone.hold()
        if not self._is_stored(trial, place):
            self._storage.create_new_trial(self._study_id, template_trial=trial)

    def _is_stored(self, trial: Any, place: int) -> bool:
        """Say whether the trial is in its place: its commit was carried out, and the answer lost.

        Raises:
            RunFolderError: another one is there.
        """
        try:
            identity = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, place)
        except KeyError:
            return False
        found = self._storage.get_trial(identity).user_attrs
        if all(found.get(key) == trial.user_attrs[key] for key in ("driver", "number")):
            return True
        raise RunFolderError(
            f"study '{self._study}' in '{self._where}' was written to by another run, which stored evaluation "
            f"{found.get('number')} where this one had come to {trial.user_attrs['number']}; stop that run, then "
            "resume one of the two."
        )

    def _persistently(self, action: Callable[[], Found]) -> Found:
        begun, pause, tries = time.monotonic(), FIRST_PAUSE_SECONDS, 0
        while True:
            try:
                found = action()
            except AwayError as error:
                tries += 1
                said = without_secrets(str(error), self._url).rstrip(".")
                left = self._wait - (time.monotonic() - begun)
                if left <= 0:
                    raise RunFolderError(
                        f"the storage '{self._where}' was away for {self._wait:g} s ({said}); start it and resume the "
                        "run, nothing that was stored is lost."
                    ) from error
                if tries == 2:
                    self._note(f"the storage '{self._where}' is away ({said}); it is tried for {left:.0f} s more.")
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception as error:
                raise failure(self._url, error) from error
            else:
                if tries > 1:
                    self._note(f"the storage '{self._where}' is back after {time.monotonic() - begun:.1f} s.")
                return found

    def _connect(self, made: bool) -> Any:
        """Return Optuna's storage; two runs that make the tables of a new database at once get in each other's way."""
        import optuna
        import sqlalchemy

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        file = sqlite_file(self._url)
        if made and file is not None:
            self._check_file(file)
        address = self._url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
        for left in reversed(range(MAKING_TRIES)):
            try:
                storage = optuna.storages.RDBStorage(address, {"pool": self._engine.pool}, skip_table_creation=made)
            except sqlalchemy.exc.SQLAlchemyError as error:
                if made or not left or not _made_by_another(error):
                    raise
                time.sleep(0.3)
            else:
                break
        sqlalchemy.event.listen(storage.engine, "handle_error", raise_away)
        return storage

    def _check_file(self, file: Any) -> None:
        """See that a database of SQLite is there and whole: what is cut may still open.

        Raises:
            DamagedError: it is not.
        """
        if not file.is_file() or file.stat().st_size == 0:
            raise DamagedError(
                f"'{file}', which holds the evaluations of the run, is missing or empty; bring it back, or say where "
                "it is with --storage."
            )
        with self._engine.connect() as connection:
            said = " ".join(str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()).split())
        if said != "ok":
            raise DamagedError(
                f"'{file}', which holds the evaluations of the run, is damaged ({said}); bring back a copy of it, "
                "nothing in it was changed."
            )

    def _find(self, directions: list[Any], made: bool) -> int:
        import optuna

        try:
            return int(self._storage.get_study_id_from_name(self._study))
        except KeyError as error:
            if made:
                raise RunFolderError(
                    f"the storage '{self._where}' holds no study '{self._study}'; give the storage that the run was "
                    "started with."
                ) from error
        optuna.create_study(storage=self._storage, study_name=self._study, directions=directions, load_if_exists=True)
        return int(self._storage.get_study_id_from_name(self._study))


def _made_by_another(error: Exception) -> bool:
    text = str(error).lower()
    return any(part in text for part in ("already exists", "duplicate key", "unique constraint", "is locked"))
