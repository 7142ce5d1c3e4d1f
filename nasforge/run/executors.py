"""Which executor a run uses: this process, or Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nasforge.run.local import Evaluate, Executor, LocalExecutor
from nasforge.run.settings import Settings


@contextmanager
def engine_running(settings: Settings) -> Iterator[None]:
    """Have Ray at hand while a run that needs it lasts.

    Raises:
        UsageError: there is none at the address, or it is of another version.
    """
    if not settings.distributed:
        yield
        return
    from nasforge.run.ray import connected

    with connected(settings.engine, settings.workers):
        yield


def make_executor(settings: Settings, measure: Evaluate, note: Callable[[str], Any]) -> Executor:
    """Return the executor of a run.

    Raises:
        UsageError: no node of the cluster could ever run an evaluation.
    """
    if not settings.distributed:
        return LocalExecutor(measure)
    from nasforge.run.ray import RayExecutor

    return RayExecutor(measure, settings.workers, settings.engine, note)
