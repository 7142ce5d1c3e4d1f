"""`log.txt`: stages, notes and warnings of a run with the time, appended to when the run is resumed."""

from __future__ import annotations

import contextlib
import datetime
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, final

from nasforge.run.folder import redact
from nasforge.run.progress import Listener

FILE: Final = "log.txt"


@final
class LogFile(Listener):
    """Writes a line for each stage and note; what comes before the folder exists is kept until then."""

    def __init__(self) -> None:
        """Start without a file."""
        self._file: IO[str] | None = None
        self._kept: list[str] = []
        self._figures: Mapping[str, float] = {}

    def opened(self, folder: Path) -> None:
        """Open the file and write what was kept."""
        self._file = (folder / FILE).open("a", encoding="utf-8")
        kept, self._kept = self._kept, []
        self._file.writelines(kept)
        self._write(f"run folder {folder}")

    def stage(self, name: str, total: float | None) -> None:
        """Write that a stage begins, after the last figures of the one before."""
        self._end_stage()
        self._write(f"stage {name}")

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Remember the newest figures of the stage."""
        self._figures = figures

    def note(self, sentence: str) -> None:
        """Write a sentence."""
        self._write(sentence)

    def failed(self, error: BaseException) -> None:
        """Write what ended the run before its end."""
        self._end_stage()
        self._write(f"stopped by {type(error).__name__}: {error}")

    def closed(self) -> None:
        """Close the file."""
        self._end_stage()
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()

    def _end_stage(self) -> None:
        if self._figures:
            self._write("  ".join(f"{key} {value:.6g}" for key, value in self._figures.items()))
        self._figures = {}

    def _write(self, text: str) -> None:
        now = datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds")
        line = f"{now} {redact(' '.join(text.split()))}\n"
        if self._file is None:
            self._kept.append(line)
            return
        try:
            self._file.write(line)
            self._file.flush()
        except OSError:
            self._close()
            raise


@contextmanager
def warnings_noted(listener: Listener) -> Iterator[None]:
    """Pass Python's warnings to the listener as notes, each once, where they would tear a progress bar."""
    shown, said = warnings.showwarning, set[str]()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        sentence = f"warning: {category.__name__}: {message}"
        if sentence not in said:
            said.add(sentence)
            listener.note(sentence)

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown
