"""Evaluations on Ray: two workers against one, what Ray costs beside a plain loop, and how soon the first one runs.

    python benchmarks/ray_evaluations.py [--quick]

An evaluation is a fixed amount of arithmetic on one processor, set at the start to about a second (and a tenth of
one) of this machine. Rounds of one worker, two workers and the executor of one process take turns; ratios are of the
rounds of one turn. The start is of the whole command, from the process to the first evaluation of a search.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from record import record

from nasforge import registry
from nasforge.run.engine import Engine
from nasforge.run.local import Job, LocalExecutor
from nasforge.run.ray import RayExecutor, connected

ASKED = {"1 s": 1.9, "0.1 s": 1.6}
OVERHEAD = 0.05
START_SECONDS = 15.0
Measure = Callable[[Job], Mapping[str, float]]


def arithmetic(units: int) -> Measure:
    """Return a measure that keeps one processor busy with a fixed amount of work."""

    def measure(job: Job) -> dict[str, float]:
        begun, total = time.time(), 0
        for number in range(units):
            total = (total * 31 + number) % 1_000_003
        return {"begun": begun, "ended": time.time(), "total": float(total)}

    return measure


def units_of(seconds: float) -> int:
    """Return how much arithmetic takes so long here."""
    least = min(_seconds(arithmetic(400_000)) for _ in range(5))
    return int(400_000 * seconds / least)


def _seconds(measure: Measure) -> float:
    found = measure(Job(0, None, None, 0))  # type: ignore[arg-type]  # no architecture is looked at
    return found["ended"] - found["begun"]


def spent(executor: Any, evaluations: int, architecture: Any) -> tuple[float, float]:
    """Return the wall-clock seconds of evaluations, and the mean seconds of one; the workers are running already."""
    begun, under_way, given, inside = time.perf_counter(), 0, 0, []
    while given < evaluations or under_way:
        while given < evaluations and under_way < executor.slots:
            executor.submit(Job(given, architecture, None, given))
            given, under_way = given + 1, under_way + 1
        metrics = executor.wait().metrics
        inside.append(metrics["ended"] - metrics["begun"])
        under_way -= 1
    return time.perf_counter() - begun, statistics.fmean(inside)


def turn(measure: Measure, evaluations: int, architecture: Any) -> dict[str, tuple[float, float]]:
    """Return what each way of running takes, one after the other."""
    found = {}
    for name, slots in (("process", 0), ("one", 1), ("two", 2)):
        executor: Any = LocalExecutor(measure) if not slots else RayExecutor(measure, slots, Engine(), print)
        with closing(executor):
            spent(executor, 2 * max(1, slots), architecture)  # the workers start
            found[name] = spent(executor, evaluations, architecture)
    return found


def first_evaluation() -> float:
    """Return the seconds from the start of a search with two workers until its first evaluation runs."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.time()
        command = [sys.executable, "-m", "nasforge", "search", "--space", "nb201", "--strategy", "random"]
        command += ["--target", "gpu", "--workers", "2", "--budget", "2-evaluations", "--out", f"{folder}/run"]
        options = ["training.evaluation_epochs=1", "retrain=false"]
        subprocess.run([*command, *options], check=True, capture_output=True)
        lines = (Path(folder) / "run" / "study.log").read_text(encoding="utf-8").splitlines()
    starts = [json.loads(line)["datetime_start"] for line in lines if "datetime_start" in json.loads(line)]
    return min(datetime.fromisoformat(start).timestamp() for start in starts) - begun


def main() -> int:
    """Measure, print, record; return 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one turn of few evaluations, nothing recorded as a result"
    )
    quick = parser.parse_args().quick
    architecture = registry.load("spaces", "nb201")().from_decisions([0] * 6)
    turns, rows, passed = 1 if quick else 3, [], True
    with connected(Engine(), 2):
        for name, seconds, evaluations in (("1 s", 1.0, 12), ("0.1 s", 0.1, 80)):
            measure = arithmetic(units_of(seconds))
            found = [turn(measure, evaluations // 6 if quick else evaluations, architecture) for _ in range(turns)]
            ratios = [each["one"][0] / each["two"][0] for each in found]
            overheads = [each["one"][0] / each["process"][0] - 1.0 for each in found]
            slower = [each["two"][1] / each["one"][1] for each in found]
            median, overhead = statistics.median(ratios), statistics.median(overheads)
            passed &= median >= ASKED[name] and (name != "1 s" or overhead <= OVERHEAD)
            rows.append([name, median, min(ratios), max(ratios), overhead, statistics.median(slower)])
    starts = [first_evaluation() for _ in range(1 if quick else 3)]
    passed &= statistics.median(starts) <= START_SECONDS
    header = [
        "evaluation",
        "two / one",
        "least",
        "most",
        "Ray / plain loop - 1",
        "an evaluation beside another / alone",
    ]
    details = {
        "asked": {"two / one": ASKED, "overhead of 1 s": OVERHEAD, "start_s": START_SECONDS},
        "turns": turns,
        "start_until_first_evaluation_s": {"median": statistics.median(starts), "all": starts},
        "processors": os.cpu_count(),
    }
    record("ray_evaluations_quick" if quick else "ray_evaluations", header, rows, details)
    print("\n".join(f"{key}: {value}" for key, value in details.items()))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
