"""Whole runs as Ray tasks: for the members of a sweep, which each evaluate one at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray

from nasforge.run.engine import Engine
from nasforge.run.ray import check_resources, connected


def run_on_ray(calls: Sequence[Callable[[], Any]], engine: Engine, jobs: int | None = None) -> list[Any]:
    """Run calls as Ray tasks with the processors that the engine declares.

    Args:
        calls: pickled and sent; each is run again as often as the engine says where its worker dies.
        engine: address, and what one call asks for.
        jobs: calls at a time; None: as many as there is room for.

    Returns:
        What each returned; the exception, where it raised or its worker died too often.

    Raises:
        UsageError: no Ray at the address, or no node that could ever run a call.
    """
    results: list[Any] = [None] * len(calls)
    with connected(engine, jobs or 1):
        check_resources(engine)
        task = ray.remote(
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
            resources=dict(engine.resources),
            max_retries=engine.retries,
        )(_called)
        waiting, running = deque(range(len(calls))), dict[Any, int]()
        while waiting or running:
            while waiting and len(running) < (jobs or len(calls)):
                place = waiting.popleft()
                running[task.remote(calls[place], os.getcwd())] = place
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            place = running.pop(done)
            try:
                results[place] = ray.get(done)
            except Exception as error:  # noqa: BLE001 - whatever ended one call, the others go on
                results[place] = error
    return results


def _called(call: Callable[[], Any], folder: str) -> Any:
    """Run a call where the driver is, for paths in it may be relative; a node without that folder stays where it is."""
    if os.path.isdir(folder):
        os.chdir(folder)
    return call()
