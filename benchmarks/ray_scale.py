"""One driver and a thousand workers: how busy it keeps them, and what an evaluation costs it in memory.

    python benchmarks/ray_scale.py [--workers 1000] [--seconds 10] [--evaluations 10000] [--quick]

The loop, the strategy (regularised evolution on nb201) and the journal are those of a search; Ray has as many virtual
processors as there are workers. An evaluation sleeps for `--seconds`, a fifth more or less, in one of a few actors that
each take a hundred at a time: a thousand processes do not fit on a small machine, and the driver sees no difference. A
worker is busy while its evaluation sleeps; the share is of the time from when all have begun until the last evaluation
was handed out.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from record import record

from nasforge import registry
from nasforge.run.asking import Asking, drive
from nasforge.run.engine import Engine
from nasforge.run.local import Job, Outcome
from nasforge.run.options import make_strategy
from nasforge.run.ranking import Best
from nasforge.run.ray import RayExecutor, connected
from nasforge.run.store import StudyStore
from nasforge.strategy import Evaluation, Problem

CAPACITY = 100
BUSY = 0.95
BYTES = 10_000


class Sleeper:
    """A hundred workers in one actor: an evaluation sleeps, and says from when to when."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.seconds = 0.0

    async def ready(self, measure: list[Any], versions: dict[str, str]) -> None:
        """Take how long an evaluation takes."""
        import ray
        from ray import cloudpickle

        self.seconds = cloudpickle.loads(await asyncio.wrap_future(measure[0].future()))
        assert ray.is_initialized()

    async def run(self, job: Job) -> Outcome:
        """Sleep, and return a score."""
        begun = time.time()
        await asyncio.sleep(self.seconds * (0.8 + 0.4 * (job.seed % 997) / 997))
        score = sum(job.architecture.decisions) / 24 + job.seed % 100 / 1e4
        metrics = {"accuracy_valid": score, "nll_valid": 1.0 - score, "begun": begun, "ended": time.time()}
        return Outcome(job.number, metrics, None, time.time() - begun)


def resident() -> int:
    """Return the bytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def busy_share(begun: np.ndarray, ended: np.ndarray, workers: int) -> tuple[float, float]:
    """Return the share of the workers that are busy, and the seconds over which that was looked at."""
    from_, until = np.sort(begun)[workers - 1], begun.max()
    inside = np.minimum(ended, until) - np.maximum(begun, from_)
    return float(np.maximum(inside, 0.0).sum() / (workers * (until - from_))), float(until - from_)


def run(workers: int, seconds: float, evaluations: int) -> dict[str, Any]:
    """Run the loop; return what it took."""
    space = registry.load("spaces", "nb201")()
    problem = Problem(space, costs={metric: space.cost(metric) for metric in ("params", "macs")})
    strategy = make_strategy("evolution", {})
    strategy.setup(problem)
    asking = Asking(strategy, space, seed=0, slots=workers, limit=evaluations)
    times, memory, stored, best = [], [], [], Best(problem, [])
    with tempfile.TemporaryDirectory(dir=".", prefix=".ray-scale-") as folder:
        store = StudyStore(Path(folder) / "study.log", space)

        def observe(evaluation: Evaluation) -> None:
            times.append((evaluation.metrics["begun"], evaluation.metrics["ended"]))
            store.append(evaluation)
            stored.append(evaluation)
            best.hear(evaluation)
            if len(stored) % max(1, evaluations // 20) == 0:
                memory.append((len(stored), resident()))

        engine = Engine(cpus=min(CAPACITY, workers))
        executor = RayExecutor(seconds, workers, engine, print, Sleeper, min(CAPACITY, workers))
        begun, processor = time.perf_counter(), time.process_time()
        with closing(executor):
            drive(asking, executor, observe, lambda: True)
        wall, spent = time.perf_counter() - begun, time.process_time() - processor
        store.close()
    assert sorted(each.number for each in stored) == list(range(evaluations))
    share, window = busy_share(*np.asarray(times).T, workers)
    late = [entry for entry in memory if entry[0] >= evaluations // 4]
    slope = float(np.polyfit(*np.asarray(late, dtype=float).T, 1)[0])
    return {
        "busy": share,
        "window_s": window,
        "wall_s": wall,
        "evaluations_per_s": evaluations / wall,
        "driver_ms_per_evaluation": spent / evaluations * 1e3,
        "bytes_per_evaluation": slope,
        "resident_mb_at_the_end": memory[-1][1] / 1e6,
    }


def main() -> int:
    """Measure, print, record; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument(
        "--quick", action="store_true", help="a hundred workers of one second, nothing recorded as a result"
    )
    given = parser.parse_args()
    workers, seconds, evaluations = (
        (100, 1.0, 500) if given.quick else (given.workers, given.seconds, given.evaluations)
    )
    with connected(Engine(), workers):
        found = run(workers, seconds, evaluations)
    header = ["workers", "seconds", "evaluations", *found]
    name = "ray_scale" + ("_quick" if given.quick else f"_{evaluations}")
    record(name, header, [[workers, seconds, evaluations, *found.values()]], {"busy_asked": BUSY, "bytes_asked": BYTES})
    return 0 if found["busy"] >= BUSY and found["bytes_per_evaluation"] <= BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
