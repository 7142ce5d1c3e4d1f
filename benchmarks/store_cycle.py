"""The ask-tell-store cycle: evolution on nb201, free evaluations, a journal file on disk, 10,000 times.

A cycle is one `ask`, one evaluation that costs nothing, one trial appended to the journal and one `tell`. Beside it: a
plain append of such a line with fsync on the same disk, which is what syncing every trial would cost at least, and how
long a resume takes to come back to where the run stood.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from record import record

from nasforge import registry
from nasforge.hardware.cost import Cost
from nasforge.run.asking import Asking, drive
from nasforge.run.local import Job, LocalExecutor
from nasforge.run.options import make_strategy
from nasforge.run.ranking import Best, ranked
from nasforge.run.store import StudyStore
from nasforge.space import SearchSpace
from nasforge.strategy import Evaluation, Problem

BOUND_MS = 1.0


def problem_of(space: SearchSpace) -> Problem:
    """Return what a run without limits gives to a strategy."""
    costs: dict[str, Cost] = {metric: space.cost(metric) for metric in ("params", "macs", "activation_bytes")}
    return Problem(space, costs=costs)


def asking_of(space: SearchSpace, evaluations: int) -> Asking:
    """Return a fresh evolution."""
    strategy = make_strategy("evolution", {})
    strategy.setup(problem_of(space))
    return Asking(strategy, space, seed=0, limit=evaluations)


def cycles(space: SearchSpace, journal: Path, evaluations: int) -> list[float]:
    """Run the loop of a search; return the milliseconds of each cycle."""
    asking, store = asking_of(space, evaluations), StudyStore(journal, space)
    costs = asking.strategy.problem
    best, times, last = Best(costs, []), [], [time.perf_counter()]

    def evaluate(job: Job) -> dict[str, float]:
        found = costs.cost_metrics(job.architecture)
        return {**found, "accuracy_valid": 1.0 - 1.0 / (1.0 + found["macs"] / 1e7 + job.seed % 100 / 1e4)}

    def observe(evaluation: Evaluation) -> None:
        store.append(evaluation)
        best.hear(evaluation)
        now = time.perf_counter()
        times.append((now - last[0]) * 1e3)
        last[0] = now

    drive(asking, LocalExecutor(evaluate), observe, lambda: True)
    store.close()
    return times


def floor(folder: Path, line: bytes, count: int) -> list[float]:
    """Return the milliseconds of appending a line and syncing, without anything else."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        with (folder / "floor").open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        times.append((time.perf_counter() - begun) * 1e3)
    return times


def resumed(space: SearchSpace, journal: Path, evaluations: int) -> tuple[float, float, float]:
    """Return the seconds of loading the journal, of replaying it, and of ranking what it holds."""
    begun = time.perf_counter()
    store = StudyStore(journal, space)
    stored = store.load()
    store.close()
    loaded = time.perf_counter()
    asking = asking_of(space, evaluations)
    asking.replay(stored)
    replayed = time.perf_counter()
    assert asking.told == len(stored) == evaluations
    assert ranked(stored, asking.strategy.problem)
    return loaded - begun, replayed - loaded, time.perf_counter() - replayed


def main() -> int:
    """Measure, print, record; return 1 where the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 evaluations, nothing recorded as a result")
    quick = parser.parse_args().quick
    evaluations = 2_000 if quick else 10_000
    step = evaluations // 10
    space: SearchSpace = registry.load("spaces", "nb201")()
    with tempfile.TemporaryDirectory(dir=".", prefix=".store-cycle-") as name:
        journal = Path(name) / "study.log"
        times = cycles(space, journal, evaluations)
        size = journal.stat().st_size
        line = journal.read_bytes().splitlines(keepends=True)[-1]
        below = statistics.median(floor(Path(name), line, 1000))
        load_s, replay_s, rank_s = resumed(space, journal, evaluations)
    parts = [times[begin : begin + step] for begin in range(0, evaluations, step)]
    medians = [statistics.median(part) for part in parts]
    rows = [
        [(number + 1) * step, medians[number], statistics.fmean(part), sorted(part)[int(0.99 * len(part))]]
        for number, part in enumerate(parts)
    ]
    details = {
        "bound_ms": BOUND_MS,
        "last_over_first": medians[-1] / medians[0],
        "append_and_fsync_alone_median_ms": below,
        "journal_bytes_per_evaluation": size / evaluations,
        "resume_seconds": {"load": load_s, "replay": replay_s, "rank": rank_s},
    }
    header = ["evaluations", "median_ms", "mean_ms", "p99_ms"]
    record("store_cycle_quick" if quick else "store_cycle", header, rows, details)
    print("\n".join(f"{key}: {value}" for key, value in details.items()))
    return 0 if medians[-1] <= BOUND_MS else 1


if __name__ == "__main__":
    sys.exit(main())
