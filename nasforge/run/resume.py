"""Going on with a stopped run: the same function as a new one, on the folder as it is."""

from __future__ import annotations

from pathlib import Path

from nasforge.errors import DamagedError
from nasforge.run.folder import RunFolder
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener, Silent
from nasforge.run.result import FILE
from nasforge.run.search import Search, WriteReport
from nasforge.run.setup import Given, set_up
from nasforge.run.written import read_settings


def resume_run(
    folder: str | Path,
    *,
    listener: Listener | None = None,
    given: Given | None = None,
    write_report: WriteReport | None = None,
) -> SearchResult:
    """Carry a run on from where it stopped; a finished one only gives its result again.

    Args:
        folder: of the run.
        listener: hears of progress.
        given: the objects, where the run was started from Python with objects in the place of names.
        write_report: as for `run_search`.

    Raises:
        RunFolderError: no run is there, or it is still going.
        DamagedError: its files cannot be read.
    """
    heard = listener or Silent()
    with RunFolder.open(folder) as opened:
        settings = read_settings(opened.path)
        if opened.file(FILE).exists():
            try:
                return SearchResult.read(opened.path)
            except DamagedError as error:
                heard.note(f"{error} It is made again.")
        setup = set_up(settings, given or Given(), heard)
        return Search(setup, opened, heard, write_report).run()
