"""Storage URLs: read, checked, told without their password."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

from nasforge.errors import UsageError
from nasforge.run.folder import REDACTED, redact

EXPECTED: Final = "expected sqlite:///FILE.db or postgresql://USER:PASSWORD@HOST/DATABASE"
DRIVERS: Final = ("psycopg", "psycopg2")
_SECRET: Final = ("password", "passwd", "sslpassword")


def parse_url(storage: str) -> Any:
    """Return SQLAlchemy's URL; of the drivers for PostgreSQL the one that is installed.

    Raises:
        UsageError: no URL, a password that was redacted, or SQLite without a file.
    """
    import sqlalchemy

    if REDACTED in storage:
        raise UsageError(
            f"storage was given as '{redact(storage)}', whose password was not kept; give it again with --storage, or "
            "leave it to the environment as in 'postgresql://me:${oc.env:PGPASSWORD}@host/runs'."
        )
    try:
        url = sqlalchemy.make_url(storage)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise UsageError(f"storage was given '{redact(storage)}'; {EXPECTED}.") from error.with_traceback(None)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise UsageError(f"storage was given '{storage}', which keeps nothing; {EXPECTED}.")
    if url.drivername == "postgresql":
        driver = next((name for name in DRIVERS if importlib.util.find_spec(name) is not None), DRIVERS[0])
        url = url.set(drivername=f"postgresql+{driver}")
    return url


def absolute(storage: str) -> str:
    """Return the URL with the path of an SQLite file made absolute, so that it holds from anywhere."""
    head, slashes, path = storage.partition(":///")
    if not slashes or not head.startswith("sqlite") or path.startswith(("/", "file:", ":")) or not path:
        return storage
    file, mark, options = path.partition("?")
    return f"{head}:///{Path(file).absolute()}{mark}{options}"


def sqlite_file(url: Any) -> Path | None:
    """Return the file of an SQLite URL, None for other databases."""
    return Path(url.database) if url.get_backend_name() == "sqlite" else None


def told(url: Any) -> str:
    """Return the URL without its password."""
    return redact(url.render_as_string(hide_password=True))


def without_secrets(text: str, url: Any) -> str:
    """Return a text of a library in one line, without the passwords of the URL however they are written."""
    secrets = {str(url.password or "")}
    for key in _SECRET:
        value = url.query.get(key, ())
        secrets |= {value} if isinstance(value, str) else set(value)
    for secret in sorted(secrets - {""}, key=len, reverse=True):
        for form in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}:
            text = text.replace(form, REDACTED)
    lines = [line.strip() for line in redact(text).splitlines() if line.strip()]
    tail = (place for place, line in enumerate(lines) if line.startswith(("[SQL", "(Background on")))
    return " ".join(lines[: next(tail, len(lines))])
