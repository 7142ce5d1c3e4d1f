"""Being the only driver of a study in a database, from wherever: the folder's lock does not reach its copies."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from pathlib import Path
from typing import IO, Any, Final, Protocol, final

from nasforge.errors import RunFolderError
from nasforge.run.store.url import sqlite_file

_KEEP_ALIVE: Final = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3"
_TAKE: Final = "SELECT pg_try_advisory_lock({key})"
_HOLDER: Final = (
    "SELECT min(a.application_name) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.granted AND "
    "l.locktype = 'advisory' AND l.classid = {high} AND l.objid = {low} AND l.database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


def this_process() -> str:
    """Return how this process is named to others."""
    return f"nasforge process {os.getpid()} on {socket.gethostname()}"


class Alone(Protocol):
    """Held while a study is driven; goes with the process, however it ends."""

    def hold(self) -> None:
        """Take it, or see that it is still held.

        Raises:
            RunFolderError: somebody else has it.
        """

    def release(self) -> None:
        """Give it back."""


def alone(engine: Any, study: str, where: str) -> Alone:
    """Return what keeps other drivers from a study; nothing does in databases other than PostgreSQL and SQLite."""
    sentence = f"study '{study}' in '{where}' is driven by another run ({{holder}}); stop it first, one run is enough."
    digest = hashlib.blake2b(study.encode(), digest_size=8).digest()
    file = sqlite_file(engine.url)
    if file is not None:
        return _FileLock(file.with_name(f".{file.name}-{digest.hex()}.lock"), sentence)
    if engine.url.get_backend_name() == "postgresql":
        return _AdvisoryLock(engine, int.from_bytes(digest) >> 1, sentence)
    return _Nobody()


@final
class _Nobody:
    def hold(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


@final
class _FileLock:
    """A locked file beside an SQLite database."""

    def __init__(self, path: Path, sentence: str) -> None:
        self._path, self._sentence = path, sentence
        self._file: IO[str] | None = None

    def hold(self) -> None:
        while self._file is None:
            file = self._path.open("a+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise RunFolderError(self._sentence.format(holder=holder)) from error
            if not self._path.exists() or not os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                file.close()  # its last holder removed it between opening and locking
                continue
            file.truncate(0)
            file.write(this_process())
            file.flush()
            self._file = file

    def release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._path.unlink(missing_ok=True)
            file.close()


@final
class _AdvisoryLock:
    """A lock of a PostgreSQL session: the server gives it back when the connection ends."""

    def __init__(self, engine: Any, key: int, sentence: str) -> None:
        self._engine, self._key, self._sentence = engine, key, sentence
        self._connection: Any = None

    def hold(self) -> None:
        """See that the session lives; a new one is tried at once where it does not."""
        if self._connection is not None:
            try:
                self._connection.exec_driver_sql("SELECT 1")
            except Exception:  # noqa: BLE001 - whatever ended the session, the next lines say whether it can be had again
                self._let_go()
            else:
                return
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            connection.exec_driver_sql(_KEEP_ALIVE)
            if not connection.exec_driver_sql(_TAKE.format(key=self._key)).scalar():
                high, low = self._key >> 32, self._key & 0xFFFFFFFF
                holder = connection.exec_driver_sql(_HOLDER.format(high=high, low=low)).scalar()
                raise RunFolderError(self._sentence.format(holder=holder or "unknown"))
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def release(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(Exception):  # the server may be gone, and the lock with it
                self._connection.exec_driver_sql(f"SELECT pg_advisory_unlock({self._key})")
            self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        with contextlib.suppress(Exception):  # a connection that is broken already
            connection.invalidate()
            connection.close()
