"""Bookkeeping of a search: regularised evolution on a table, 50,000 steps in memory, 10,000 in a journal.

A step is one `ask`, one look-up, one evaluation stored and one `tell`, by the loop that every run uses. The table is
NAS-Bench-201's CIFAR-10 (noisy validation accuracy, 200 epochs) where NASFORGE_DATA has it, else a made one of the same
15,625 cells. Steps in memory are judged by processor time, which other work on the machine does not lengthen; trials of
the journal, which wait for the disk, by the median on the clock.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
import zlib
from pathlib import Path

from record import record

from nasforge import registry
from nasforge.evaluate.tabular import TabularEvaluator
from nasforge.run.asking import Asking, drive
from nasforge.run.evaluating import LookedUp
from nasforge.run.local import LocalExecutor
from nasforge.run.options import make_strategy
from nasforge.run.store import MemoryStore, Store, StudyStore
from nasforge.strategy import Evaluation, Problem

SECONDS, MS, KILOBYTES = 10.0, 1.0, 10.0
STEPS, TRIALS = 50_000, 10_000
OPTIONS = {"population": 30, "sample": 10}


def table_of() -> tuple[TabularEvaluator, str]:
    """Return the table, and which it is."""
    if os.environ.get("NASFORGE_DATA"):
        return registry.load("tables", "nb201")(), "nb201, CIFAR-10"
    space = registry.load("spaces", "nb201")()
    rows = {each.decisions: zlib.crc32(repr(each.decisions).encode()) / 2**32 for each in space.enumerate()}
    return TabularEvaluator(space, {key: {"accuracy_valid": value} for key, value in rows.items()}), "made"


def search(table: TabularEvaluator, store: Store, steps: int, seed: int) -> tuple[float, float, list[float]]:
    """Run a search; return its seconds on the processor and on the clock, and the clock's of each step."""
    strategy = make_strategy("evolution", OPTIONS)
    strategy.setup(Problem(table.space, fidelities=table.fidelities, full_fidelity=max(table.fidelities, default=1.0)))
    asking = Asking(strategy, table.space, seed, limit=steps)
    times, processor = [time.perf_counter()], time.process_time()

    def observe(evaluation: Evaluation) -> None:
        store.append(evaluation)
        times.append(time.perf_counter())

    drive(asking, LocalExecutor(LookedUp(table)), observe, lambda: True)
    processor = time.process_time() - processor
    return processor, times[-1] - times[0], [after - before for before, after in itertools.pairwise(times)]


def main() -> int:
    """Measure, print, record; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the steps, nothing recorded as a result")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    steps, trials = (STEPS // 10, TRIALS // 10) if given.quick else (STEPS, TRIALS)
    table, name = table_of()
    search(table, MemoryStore(), 1000, 0)
    found = [search(table, MemoryStore(), steps, seed)[:2] for seed in range(given.repeats)]
    with tempfile.TemporaryDirectory(dir=".", prefix=".evolution-speed-") as folder:
        journal = Path(folder) / "study.log"
        store = StudyStore(journal, table.space)
        processor, clock, each = search(table, store, trials, 0)
        store.close()
        kilobytes = journal.stat().st_size / trials / 1e3
    median, took_ms = statistics.median(one for one, _ in found), statistics.median(each) * 1e3
    goal = SECONDS * steps / STEPS
    rows = [
        [f"{steps:,} steps in memory, s", median, goal, _met(median <= goal)],
        ["steps a second in memory", steps / median, STEPS / SECONDS, _met(median <= goal)],
        [f"journal of {trials:,} trials, median ms a trial", took_ms, MS, _met(took_ms <= MS)],
        [f"journal of {trials:,} trials, KB a trial", kilobytes, KILOBYTES, _met(kilobytes <= KILOBYTES)],
    ]
    details = {
        "table": name,
        "options": OPTIONS,
        "memory_processor_and_clock_seconds_of_each_seed": found,
        "journal_mean_ms_processor_and_clock": [processor * 1e3 / trials, clock * 1e3 / trials],
        "load_of_the_machine": os.getloadavg(),
    }
    record(
        "evolution_speed_quick" if given.quick else "evolution_speed", ["what", "found", "goal", "met"], rows, details
    )
    return 0 if all(row[-1] == "yes" for row in rows) else 1


def _met(reached: bool) -> str:
    return "yes" if reached else "no"


if __name__ == "__main__":
    sys.exit(main())
