"""How a run says what it is doing: stages, progress within them, and sentences worth reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, final


class Listener(Protocol):
    """Hears of a run's progress. Methods must return at once and must not raise."""

    def opened(self, folder: Path) -> None:
        """The run folder exists; from now on the run can be resumed."""

    def stage(self, name: str, total: float | None) -> None:
        """A stage begins; `total` is the `done` at which it ends, None where nobody knows."""

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """The current stage got to `done`; `figures` are worth showing."""

    def note(self, sentence: str) -> None:
        """Something a person should know."""


@final
class Silent:
    """A listener that does nothing."""

    def opened(self, folder: Path) -> None:
        """Ignore it."""

    def stage(self, name: str, total: float | None) -> None:
        """Ignore it."""

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Ignore it."""

    def note(self, sentence: str) -> None:
        """Ignore it."""


@final
class Several:
    """Passes everything on to several listeners."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        """Take the listeners, heard in this order."""
        self._listeners = tuple(listeners)

    def opened(self, folder: Path) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.opened(folder)

    def stage(self, name: str, total: float | None) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.stage(name, total)

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.progress(done, figures)

    def note(self, sentence: str) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.note(sentence)
