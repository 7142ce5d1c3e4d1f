"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from nasforge.run.progress import Listener

PLAIN_EVERY_SECONDS: Final = 10.0


@final
class Terminal(Listener):
    """A listener that draws one bar per stage; without a terminal it prints a line now and then."""

    def __init__(self) -> None:
        """Look at what standard error is."""
        self.folder: Path | None = None
        self._console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._said = "", None, 0.0  # type: tuple[str, float | None, float]

    def opened(self, folder: Path) -> None:
        """Remember the folder, for the sentence that says how to resume."""
        self.folder = folder
        self.note(f"run folder {folder}")

    def stage(self, name: str, total: float | None) -> None:
        """End the last stage's bar and start one."""
        self.closed()
        self._name, self._total, self._said = name, total, time.monotonic()
        if not self._live:
            self.note(name)
            return
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=self._console)
        self._task = self._bar.add_task(name, total=total, figures="")
        self._bar.start()

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Move the bar, or print a line if the last is old."""
        text = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, figures=text)
        elif time.monotonic() - self._said > PLAIN_EVERY_SECONDS:
            self._said = time.monotonic()
            of = f" of {self._total:g}" if self._total else ""
            self.note(f"{self._name}: {done:g}{of}  {text}")

    def note(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(sentence, markup=False, soft_wrap=True)

    def closed(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
