"""How a run says what it is doing: one interface for terminal, `log.txt`, TensorBoard, MLflow and whatever comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, final

if TYPE_CHECKING:
    from nasforge.run.outcome import SearchResult
    from nasforge.strategy.base import Evaluation


class Listener(Protocol):
    """Hears of a run's progress; subclass it and override what is of interest.

    Methods must return at once. One that raises is not asked again, and the run goes on.
    """

    def settled(self, settings: Mapping[str, Any]) -> None:
        """What the run was asked to do, as plain data with passwords redacted; comes first."""
        return

    def opened(self, folder: Path) -> None:
        """The run folder exists; from now on the run can be resumed."""
        return

    def restored(self, evaluations: Sequence[Evaluation]) -> None:
        """A resumed run has these evaluations from before; they were told by `evaluated` then, or should have been."""
        return

    def evaluated(self, evaluation: Evaluation) -> None:
        """An evaluation has ended and is stored; one that failed has an error and no metrics."""
        return

    def stage(self, name: str, total: float | None) -> None:
        """A stage begins; `total` is the `done` at which it ends, None where nobody knows."""
        return

    def progress(self, done: float, figures: Mapping[str, float]) -> None:
        """The current stage got to `done`; `figures` are worth showing."""
        return

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Figures worth keeping: of a step of `shared_training`, of `retraining/<network id>`, or of an evaluation.

        Evaluations are of the part `evaluations`, their number is the step; `evaluated` tells of them too.
        Steps count from 0 within the part; a resumed run may repeat some.
        """
        return

    def note(self, sentence: str) -> None:
        """Something a person should know."""
        return

    def finished(self, result: SearchResult) -> None:
        """The run has ended well; all files are in its folder. A finished run that is resumed says it again."""
        return

    def failed(self, error: BaseException) -> None:
        """The run has ended before its end, by an error or an interruption; it may be resumed."""
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

    def settled(self, settings: Mapping[str, Any]) -> None:
        """Pass it on."""
        self._tell("settled", settings)

    def opened(self, folder: Path) -> None:
        """Pass it on."""
        self._tell("opened", folder)

    def restored(self, evaluations: Sequence[Evaluation]) -> None:
        """Pass it on."""
        self._tell("restored", evaluations)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Pass it on."""
        self._tell("evaluated", evaluation)

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

    def finished(self, result: SearchResult) -> None:
        """Pass it on."""
        self._tell("finished", result)

    def failed(self, error: BaseException) -> None:
        """Pass it on."""
        self._tell("failed", error)

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
