"""How a run says what it is doing: one interface for terminal, `log.txt`, TensorBoard and whatever comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, final


class Listener(Protocol):
    """Hears of a run's progress; subclass it and override what is of interest.

    Methods must return at once. One that raises is not asked again, and the run goes on.
    """

    def opened(self, folder: Path) -> None:
        """The run folder exists; from now on the run can be resumed."""
        return

    def stage(self, name: str, total: float | None) -> None:
        """A stage begins; `total` is the `done` at which it ends, None where nobody knows."""
        return

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """The current stage got to `done`; `figures` are worth showing."""
        return

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Figures worth keeping: of a step of `shared_training` or `retraining`, or of one of the `evaluations`.

        Steps count from 0 within the part; a resumed run may repeat some.
        """
        return

    def note(self, sentence: str) -> None:
        """Something a person should know."""
        return

    def closed(self) -> None:
        """The run has ended, well or not; let go of files."""
        return


@final
class Silent(Listener):
    """A listener that does nothing."""


@final
class Several(Listener):
    """Passes everything on to several listeners; those that fail are dropped, and the others hear of it."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        """Take the listeners, heard in this order."""
        self._listeners = list(listeners)

    def opened(self, folder: Path) -> None:
        """Pass it on."""
        self._tell("opened", folder)

    def stage(self, name: str, total: float | None) -> None:
        """Pass it on."""
        self._tell("stage", name, total)

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """Pass it on."""
        self._tell("progress", done, figures)

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Pass it on."""
        self._tell("figures", part, step, values)

    def note(self, sentence: str) -> None:
        """Pass it on."""
        self._tell("note", sentence)

    def closed(self) -> None:
        """Pass it on."""
        self._tell("closed")

    def _tell(self, event: str, *arguments: object) -> None:
        for listener in tuple(self._listeners):
            try:
                getattr(listener, event)(*arguments)
            except Exception as error:  # noqa: BLE001 - a search must not end because somebody cannot listen
                self._listeners.remove(listener)
                kind = type(listener).__name__
                self.note(f"{kind} failed ({type(error).__name__}: {error}) and hears no more of this run.")
