"""Going on with a stopped run: the same function as a new one, on the folder as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasforge.errors import DamagedError, UsageError
from nasforge.run.folder import RunFolder, read_config
from nasforge.run.outcome import SearchResult
from nasforge.run.progress import Listener, Silent
from nasforge.run.result import FILE
from nasforge.run.search import Search, WriteReport
from nasforge.run.settings import Settings
from nasforge.run.setup import Given, set_up


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


def read_settings(folder: Path) -> Settings:
    """Read the settings of a run; interpolations of the environment are resolved now.

    Raises:
        DamagedError: `config.yaml` cannot be read as settings.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    written = read_config(folder)
    try:
        plain: Any = OmegaConf.to_container(OmegaConf.create(written), resolve=True)
    except OmegaConfBaseException as error:
        sentence = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"the configuration of '{folder}' cannot be resolved: {sentence}; set what it names.") from error
    assert isinstance(plain, Mapping)
    try:
        return Settings.read(plain)
    except UsageError as error:
        raise DamagedError(f"the configuration of '{folder}' is damaged: {error}") from error
