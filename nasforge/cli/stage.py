"""One stage of work outside a run, with progress on standard error from the moment that there is some."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stage(name: str) -> Iterator[Callable[[float, float], None]]:
    """Give a progress callback (done, total); nothing is shown before its first call, so errors stay one sentence."""
    from nasforge.cli.console import Terminal

    terminal, begun = Terminal(), False

    def progress(done: float, total: float) -> None:
        nonlocal begun
        if not begun:
            terminal.stage(name, 1.0)
            begun = True
        terminal.progress(done / max(total, 1.0), {})

    try:
        yield progress
    finally:
        terminal.closed()
