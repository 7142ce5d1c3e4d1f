"""Work side by side: in this process, or in several that each read what they share once and compute with one thread."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Given = TypeVar("Given", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Work(Protocol[Given, Result]):
    """Carries out tasks; it is pickled once for each process."""

    def run(self, task: Given, /) -> Result:
        """Return the result of a task."""


def spread(
    work: Work[Task, Result], tasks: Sequence[Task], workers: int, together: int
) -> Iterator[tuple[Task, Result]]:
    """Yield tasks with their results as they end; those under way are given up where this process is interrupted.

    Args:
        work: carries a task out.
        tasks: small; each is handed to a process.
        workers: processes; one is this one.
        together: tasks that a process is handed at a time, at most.
    """
    if workers == 1 or len(tasks) < 2:
        yield from _here(work, tasks)
    else:
        yield from _beside(work, tasks, workers, together)


def _here(work: Work[Task, Result], tasks: Sequence[Task]) -> Iterator[tuple[Task, Result]]:
    """Yield results one after the other, with one thread, as each of several processes has."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        for task in tasks:
            yield task, work.run(task)


def _beside(
    work: Work[Task, Result], tasks: Sequence[Task], workers: int, together: int
) -> Iterator[tuple[Task, Result]]:
    import cloudpickle
    from joblib import Parallel, delayed, parallel_config

    size = max(1, min(together, len(tasks) // (2 * workers)))
    chunks = [tasks[at : at + size] for at in range(0, len(tasks), size)]
    with tempfile.TemporaryDirectory(prefix="nasforge-bench-") as folder:
        path = Path(folder) / "work"
        path.write_bytes(cloudpickle.dumps(work))
        with parallel_config("loky", n_jobs=min(workers, len(chunks)), inner_max_num_threads=1):
            parallel = Parallel(batch_size=1, return_as="generator_unordered")
            for done in parallel(delayed(_run)(str(path), chunk) for chunk in chunks):
                yield from done


@lru_cache(maxsize=1)
def _work(path: str) -> Any:
    import pickle

    return pickle.loads(Path(path).read_bytes())  # noqa: S301 - written by the process that started this one


def _run(path: str, tasks: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Carry tasks out in a process of its own, which leaves interruptions to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work = _work(path)
    return [(task, work.run(task)) for task in tasks]
