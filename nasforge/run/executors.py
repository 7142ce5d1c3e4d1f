"""Where a run evaluates and measures: in this process, or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

from nasforge.run.local import Evaluate, Executor, LocalExecutor
from nasforge.run.settings import ALL_WORKERS, Settings
from nasforge.targets.base import Target

HERE: Final = "here"


@contextmanager
def engine_running(settings: Settings) -> Iterator[Settings]:
    """Have Ray at hand while a run that needs it lasts; give the settings with the number of workers that it has.

    Raises:
        UsageError: there is none at the address, or it is of another version.
    """
    if not settings.distributed:
        yield settings
        return
    from nasforge.run.ray import connected, room

    with connected(settings.engine, settings.workers):
        known = settings.workers != ALL_WORKERS
        yield settings if known else replace(settings, workers=room(settings.engine))


def make_executor(settings: Settings, measure: Evaluate, note: Callable[[str], Any]) -> Executor:
    """Return the executor of a run.

    Raises:
        UsageError: no node of the cluster could ever run an evaluation.
    """
    if not settings.distributed:
        return LocalExecutor(measure)
    from nasforge.run.ray import RayExecutor

    return RayExecutor(measure, settings.workers, settings.engine, note)


def placed_target(target: Target, settings: Settings, note: Callable[[str], Any]) -> Target:
    """Return the target as it is measured: here, or on the nodes of a cluster that are labelled with it.

    Where Ray was started on this machine, nothing of the run computes while latency is measured, which is done here.

    Raises:
        UsageError: no node of the cluster has the label.
    """
    engine = settings.engine
    if engine.address is None or engine.measure_on == HERE:
        return target
    from nasforge.run.ray_measure import RemoteTarget

    return RemoteTarget(target, engine.measure_on or f"target_{target.name}", note)
