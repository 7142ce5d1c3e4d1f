"""Who hears of every run: the caller, `log.txt`, and what the settings of `tracking` name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nasforge.run.folder import redacted
from nasforge.run.log import LogFile, warnings_noted
from nasforge.run.mlflow import MLflow
from nasforge.run.progress import Listener, Several, Silent
from nasforge.run.settings import Settings
from nasforge.run.tensorboard import TensorBoard
from nasforge.run.tracking import Tracking


@contextmanager
def listening(listener: Listener | None, settings: Settings | None = None) -> Iterator[Listener]:
    """Give a listener for a run, and close it however the run ends; what ended it is the log's last line.

    Raises:
        UsageError: MLflow is asked for and not installed.
    """
    tracking = Tracking() if settings is None else settings.tracking
    told: list[Listener] = [TensorBoard()] if tracking.tensorboard else []
    if tracking.mlflow is not None:
        told.append(MLflow(tracking, lambda sentence: heard.note(sentence)))
    heard = Several([*told, listener or Silent(), LogFile()])  # who notes something at the end comes before the log
    with warnings_noted(heard):
        if settings is not None:
            heard.settled(redacted(settings.to_json()))
        try:
            yield heard
        except BaseException as error:
            heard.failed(error)
            raise
        finally:
            heard.closed()
