"""Going on with a stopped run: the same function as a new one, on the folder as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from nasforge.errors import DamagedError
from nasforge.run.executors import engine_running
from nasforge.run.folder import RunFolder
from nasforge.run.listening import listening
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener
from nasforge.run.restore import unusable_files
from nasforge.run.result import FILE
from nasforge.run.search import Search, WriteReport
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, set_up
from nasforge.run.store import check_storage_of

REPORT: Final = "report.html"
ReadSettings = Callable[[Path], Settings]


def resume_run(
    folder: str | Path,
    read_settings: ReadSettings,
    *,
    listener: Listener | None = None,
    given: Given | None = None,
    write_report: WriteReport | None = None,
) -> SearchResult:
    """Carry a run on from where it stopped; a finished one gives its result again, its missing or damaged files too.

    Args:
        folder: of the run.
        read_settings: reads the settings from the folder's `config.yaml`.
        listener: hears of progress.
        given: the objects, where the run was started from Python with objects in the place of names.
        write_report: as for `run_search`.

    Raises:
        RunFolderError: no run is there, or it is still going.
        DamagedError: its files cannot be read.
    """
    with RunFolder.open(folder) as opened:
        settings = read_settings(opened.path)
        with listening(listener, settings) as heard:
            if opened.file(FILE).exists():
                try:
                    result = SearchResult.read(opened.path)
                except DamagedError as error:
                    heard.note(f"{error} It is made again.")
                else:
                    unusable = unusable_files(result, settings, given or Given())
                    for name, reason in unusable.items():
                        heard.note(f"'{opened.file(name)}' {reason.rstrip('.')}. It is made again.")
                    if unusable:
                        with engine_running(settings):
                            Search(set_up(settings, given or Given(), heard), opened, heard).restore(result)
                    if write_report is not None and (unusable or not opened.file(REPORT).exists()):
                        write_report(opened.path)
                    for warning in result.warnings:
                        heard.note(f"warning: {warning}")
                    heard.finished(result)
                    return result
            settings = replace(settings, storage=check_storage_of(opened, settings.storage))
            with engine_running(settings):
                setup = set_up(settings, given or Given(), heard)
                return Search(setup, opened, heard, write_report).run()
