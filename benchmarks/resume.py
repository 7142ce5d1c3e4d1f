"""How long `nasforge resume` takes on a run with 10,000 evaluations: from the command to the next evaluation stored.

    python benchmarks/resume.py [--evaluations N] [--quick]

The run is regularised evolution on nb201 with a made-up table, so evaluations cost nothing. It is interrupted after N,
and resumed by the command in a process of its own: imports, the journal, the newest snapshot and the replay of what
came after it are in the figure.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import final

from record import record

import nasforge
from nasforge import registry
from nasforge.run.progress import Listener

BOUND_SECONDS = 8.0


@final
class Interrupt(Listener):
    """Ends the search after so many evaluations, as Ctrl-C does."""

    def __init__(self, after: int) -> None:
        """Count."""
        self._after = after

    def figures(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Interrupt when it is time."""
        if part == "evaluations" and step + 1 >= self._after:
            raise KeyboardInterrupt


def write_table(path: Path) -> None:
    """Write a made-up accuracy for every cell of nb201."""
    space = registry.load("spaces", "nb201")()
    names = [str(choice.name) for choice in space.choices]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "accuracy_valid"])
        for decisions in itertools.product(range(5), repeat=6):
            labels = space.describe(space.from_decisions(decisions))
            score = sum(d * w for d, w in zip(decisions, (1, 2, 3, 1, 2, 3), strict=True)) / 48
            writer.writerow([*(labels[name] for name in names), score])


def lines(path: Path) -> int:
    """Return how many whole lines a file has."""
    return path.read_bytes().count(b"\n")


def resumed(run: Path, journal: Path) -> float:
    """Return the seconds from the start of `nasforge resume` to the next stored evaluation; the process is stopped."""
    before, begun = lines(journal), time.perf_counter()
    command = [sys.executable, "-m", "nasforge", "resume", str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while lines(journal) == before:
            assert process.poll() is None or lines(journal) > before, "the run ended without an evaluation"
            time.sleep(0.005)
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def main() -> int:
    """Measure, print, record; return 1 where the bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=10_000)
    parser.add_argument("--quick", action="store_true", help="500 evaluations, nothing recorded as a result")
    given = parser.parse_args()
    evaluations, times = (500, 2) if given.quick else (given.evaluations, 7)
    with tempfile.TemporaryDirectory(dir=".", prefix=".resume-") as name:
        folder = Path(name)
        write_table(folder / "table.csv")
        with contextlib.suppress(KeyboardInterrupt):
            nasforge.search(
                space="nb201",
                strategy="evolution",
                target="gpu",
                evaluation=f"table:{folder.absolute() / 'table.csv'}",
                budget=f"{evaluations + 5000}-evaluations",
                retrain=False,
                out=folder / "run",
                listener=Interrupt(evaluations),
            )
        found = [resumed(folder / "run", folder / "run" / "study.log") for _ in range(times + 1)][1:]
    median = statistics.median(found)
    rows = [[evaluations, median, min(found), max(found)]]
    name = "resume_quick" if given.quick else "resume"
    record(name, ["evaluations", "median_s", "least_s", "most_s"], rows, {"bound_s": BOUND_SECONDS, "times": times})
    return 0 if median <= BOUND_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
