"""Where a run's evaluations are: its journal, or a study of its own in a storage that it may share with others."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from nasforge.errors import DamagedError, RunFolderError, UsageError
from nasforge.run.atomic import write_json
from nasforge.run.folder import RunFolder
from nasforge.run.store.database import make_engine
from nasforge.run.store.failure import check_driver, failure
from nasforge.run.store.study import STUDY, StudyStore
from nasforge.run.store.url import absolute, parse_url, sqlite_file, told
from nasforge.space import SearchSpace

FILE: Final = "study.json"


def check_storage(storage: str | None) -> None:
    """See that a storage can be reached, before anything else of a run is done.

    Raises:
        UsageError: no URL of a database that can be opened here.
        RunFolderError: it cannot be reached, or refuses.
        DamagedError: a file that is no database.
    """
    if storage is None:
        return
    url = parse_url(storage)
    check_driver(url)
    file = sqlite_file(url)
    if file is not None and not file.exists():
        if not file.parent.is_dir():
            raise UsageError(f"storage was given '{storage}', and there is no folder '{file.parent}'; make it first.")
        return
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            if file is not None:
                connection.exec_driver_sql("PRAGMA schema_version")
    except Exception as error:
        raise failure(url, error) from error
    finally:
        engine.dispose()


def check_storage_of(folder: RunFolder, storage: str | None) -> str | None:
    """Return the storage of a run that is resumed, checked; the path of an SQLite file as seen from where it started.

    Args:
        folder: of the run.
        storage: in its settings.

    Raises:
        UsageError, RunFolderError, DamagedError: as `check_storage`.
    """
    if storage is not None and absolute(storage) != storage:
        storage = str(_read(folder).get("storage", storage))
    check_storage(storage)
    return storage


def open_store(
    folder: RunFolder,
    storage: str | None,
    space: SearchSpace,
    directions: Mapping[str, str],
    *,
    wait: float,
    note: Callable[[str], None],
) -> StudyStore:
    """Open the store of a run. `study.json` says what its study in a storage is called, and where it was made.

    Args:
        folder: of the run, locked.
        storage: URL; None for the journal in the folder.
        space: of the architectures.
        directions: by objective metric.
        wait: seconds an append waits for a storage that is away.
        note: hears of such things.

    Raises:
        UsageError: the evaluations of the run are elsewhere, or the storage is of no kind that can be opened.
        RunFolderError, DamagedError: as the store.
    """
    known = _read(folder)
    if storage is None:
        if known:
            raise UsageError(f"the evaluations of '{folder.path}' are in '{known['storage']}'; say so with --storage.")
        return StudyStore(folder.file(STUDY), space, directions)
    if not known:
        if folder.file(STUDY).exists():
            raise UsageError(
                f"the evaluations of '{folder.path}' are in its {STUDY}; leave --storage away to go on with the run."
            )
        known = {"study": f"{folder.path.absolute().name}-{uuid.uuid4().hex[:12]}", "made": False}
    storage = absolute(storage)
    known["storage"] = told(parse_url(storage))
    write_json(folder.file(FILE), known)
    store = StudyStore(storage, space, directions, known["study"], made=bool(known["made"]), wait=wait, note=note)
    try:
        write_json(folder.file(FILE), {**known, "made": True})
    except RunFolderError:
        store.close()
        raise
    note(f"evaluations are kept in study '{known['study']}' of '{known['storage']}'")
    return store


def _read(folder: RunFolder) -> dict[str, Any]:
    path = folder.file(FILE)
    if not path.exists():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {"study": str(known["study"]), "storage": str(known["storage"]), "made": bool(known["made"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"'{path}' cannot be read ({type(error).__name__}); it names the study that holds the run's evaluations."
        ) from error
