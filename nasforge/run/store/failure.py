"""What a database's errors mean, in one sentence each."""

from __future__ import annotations

from typing import Any, Final, final

from nasforge.errors import DamagedError, NasforgeError, RunFolderError, UsageError
from nasforge.run.store.url import EXPECTED, told, without_secrets

_DAMAGED: Final = ("malformed", "not a database", "no such table", "no such column", "does not exist on page")
_FULL: Final = ("disk is full", "no space left")
_REFUSED: Final = ("authentication failed", "no password supplied", "pg_hba.conf", "role ", "permission denied")
_BUSY: Final = ("is locked", "is busy")


@final
class AwayError(Exception):
    """The database cannot be reached now, and may be again."""


def check_driver(url: Any) -> None:
    """Refuse a database that nothing installed can talk to.

    Raises:
        UsageError: says what to install, or what is expected.
    """
    import sqlalchemy

    try:
        url.get_dialect().import_dbapi()
    except sqlalchemy.exc.NoSuchModuleError as error:
        raise UsageError(
            f"storage was given '{told(url)}', and nothing here opens '{url.drivername}'; {EXPECTED}."
        ) from error
    except ImportError as error:
        install = "pip install 'nasforge[postgresql]'"
        hint = install if url.get_backend_name() == "postgresql" else f"pip install {error.name or 'its driver'}"
        raise UsageError(
            f"storage was given '{told(url)}', whose driver '{error.name or url.get_driver_name()}' is not installed; "
            f"run: {hint}"
        ) from error


def raise_away(context: Any) -> None:
    """Raise AwayError in the place of errors that may pass; SQLAlchemy asks on every error of a database.

    Optuna tries an append again where a database failed, and would store a trial twice whose commit was carried out
    but not answered; an error that it does not know goes through it to who can tell.
    """
    dialect, error = context.dialect, context.original_exception
    if context.is_pre_ping or not isinstance(error, dialect.loaded_dbapi.Error):
        return
    kinds = (dialect.loaded_dbapi.OperationalError, dialect.loaded_dbapi.InterfaceError)
    passing = any(text in str(error) for text in _BUSY) if dialect.name == "sqlite" else isinstance(error, kinds)
    if passing or context.is_disconnect:
        raise AwayError(str(error)) from error


def failure(url: Any, error: BaseException) -> NasforgeError:
    """Return the sentence for an error of opening, reading or writing a database."""
    if isinstance(error, NasforgeError):
        return error
    said = without_secrets(str(_original(error)), url).rstrip(".")
    where, lowered = told(url), said.lower()
    if any(text in lowered for text in _DAMAGED):
        return DamagedError(
            f"the storage '{where}' is damaged or not one of Optuna's ({said}); bring back a copy of it, nothing in it "
            "was changed."
        )
    if any(text in lowered for text in _FULL):
        return RunFolderError(
            f"the disk is full, so '{where}' could not be written; free some space, what was there is unharmed."
        )
    if any(text in lowered for text in _REFUSED):
        return RunFolderError(
            f"the storage '{where}' refused the user or the password ({said}); correct them with --storage or in the "
            "environment."
        )
    if url.get_backend_name() == "sqlite":
        return RunFolderError(f"the storage '{where}' cannot be used ({said}); choose another with --storage.")
    return RunFolderError(
        f"the storage '{where}' cannot be reached or used ({said}); start it, or choose another with --storage."
    )


def _original(error: BaseException) -> BaseException:
    """Return what the database itself said, below what Optuna and SQLAlchemy made of it."""
    while True:
        below = getattr(error, "orig", None) or error.__cause__
        if below is None:
            return error
        error = below
