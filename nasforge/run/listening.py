"""Who hears of every run: the caller, `log.txt` and TensorBoard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from nasforge.run.log import LogFile, warnings_noted
from nasforge.run.progress import Listener, Several, Silent
from nasforge.run.tensorboard import TensorBoard


@contextmanager
def listening(listener: Listener | None) -> Iterator[Listener]:
    """Give a listener for a run, and close it however the run ends; what ended it is the log's last line."""
    log = LogFile()
    heard = Several([listener or Silent(), log, TensorBoard()])
    with warnings_noted(heard):
        try:
            yield heard
        except BaseException as error:
            with contextlib.suppress(OSError):  # the disk may be what ended it
                log.stopped(error)
            raise
        finally:
            heard.closed()
