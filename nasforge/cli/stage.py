"""One stage of work outside a run, with progress on standard error from the moment that there is some."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

import typer

INTERRUPTED: Final = 130
TOLD_FROM: Final = 0.02
"""Share of the work after which the time left is estimated."""


@contextmanager
def stage(name: str, again: str = "") -> Iterator[Callable[[float, float], None]]:
    """Give a progress callback (done, total); nothing is shown before its first call, so errors stay one sentence.

    Args:
        name: of the work.
        again: what to know when it is interrupted.

    Raises:
        typer.Exit: with the exit code of interrupted commands, after saying so.
    """
    from nasforge.cli.console import Terminal

    terminal, left = Terminal(), _TimeLeft()

    def progress(done: float, total: float) -> None:
        share = done / max(total, 1.0)
        if not left.begun:
            terminal.stage(name, 100.0)
        terminal.progress(round(100.0 * share), left.after(share))

    try:
        yield progress
    except KeyboardInterrupt as stopped:
        terminal.closed()
        terminal.note(f"nasforge: interrupted{f'; {again}' if again else ''}.")
        raise typer.Exit(INTERRUPTED) from stopped
    finally:
        terminal.closed()


@final
class _TimeLeft:
    """How long work will take from now, if it goes on as fast as from its first share."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    @property
    def begun(self) -> bool:
        return self._first is not None

    def after(self, share: float) -> dict[str, float]:
        """Return the seconds left by name; nothing while it is too early to tell."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, share)
        moment, first = self._first
        if share - first < TOLD_FROM:
            return {}
        return {"seconds left": float(round((now - moment) * (1.0 - share) / (share - first)))}
