"""A real PostgreSQL server for the tests that need one, started once, in a folder of its own on a free port."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

PASSWORD = "correct horse/battery@staple"  # with signs that a URL must escape
ESCAPED = "correct%20horse%2Fbattery%40staple"


class PostgreSQL:
    """The server: stopped and started at will, reached through TCP with a password."""

    user, password = "searcher", PASSWORD

    def __init__(self, binaries: Path, folder: Path, account: str | None) -> None:
        self._binaries, self._folder, self._account = binaries, folder, account
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]

    def make(self) -> None:
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        if self._account is not None:
            owner = pwd.getpwnam(self._account)
            for path in (self._folder, secret):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        options = ["--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "--locale=C.UTF-8"]
        command = [self._binaries / "initdb", "-D", self._folder / "data", "-U", self.user, *options]
        done = subprocess.run(
            command, user=self._account, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        given = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        options = [part for key, value in given.items() for part in ("-c", f"{key}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._folder / "data", *options],
                user=self._account, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        for _ in range(300):
            with contextlib.suppress(Exception):  # until it answers
                self.execute("SELECT 1")
                return
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text(errors="replace")[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: connections are cut (SIGINT), or it has no time for anything (SIGQUIT)."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        import psycopg

        given = {"host": "127.0.0.1", "port": self.port, "user": self.user, "password": PASSWORD, "dbname": database}
        with psycopg.connect(**given, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def database(self) -> str:
        """Make an empty database and return its name."""
        name = f"runs_{uuid.uuid4().hex[:10]}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def url(self, database: str, password: str = ESCAPED) -> str:
        return f"postgresql://{self.user}:{password}@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="session")
def running_postgresql() -> Iterator[PostgreSQL]:
    """The server; skipped where Debian's package postgresql is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no /usr/lib/postgresql/*/bin/postgres here: apt-get install postgresql")
    account = None
    if os.getuid() == 0:  # the server refuses root
        account = next((name for name in ("postgres", "nobody") if _exists(name)), None)
    folder = Path(tempfile.mkdtemp(prefix="nasforge-postgresql-"))
    server = PostgreSQL(found[-1].parent, folder, account)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql(running_postgresql: PostgreSQL) -> Iterator[PostgreSQL]:
    """The server, running again after a test that stopped it."""
    yield running_postgresql
    if running_postgresql._process is None:
        running_postgresql.start()


def _exists(account: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(account))
    return False
