"""Suite `truth:FILE`: a truth table of `nasforge bench --truth`; told is one training's valid, truth the mean test."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nasforge.bench.suites.suite import Direction, Suite
from nasforge.bench.truth.reading import space_of
from nasforge.evaluate.truth_table import read_truth

TRUTH_HEAD: Final = "truth:"


def truth_file(
    file: str,
    feedback: str = "accuracy_valid",
    truth: str = "accuracy",
    direction: Direction = "maximize",
) -> Suite:
    """Return the suite of a truth table; its space is made again by its name and options.

    Args:
        file: its path, or the folder that `nasforge bench --truth` made.
        feedback: what a search is told: `accuracy_valid` or `nll_valid`, of one seed.
        truth: what searches are judged by: `accuracy` or `nll` on test, the mean over seeds.
        direction: `maximize` or `minimize`, of both.

    Raises:
        DataError: the file cannot be used, or a column is not there.
        ArchitectureError: the space has changed since.
    """
    table = read_truth(file)
    path = Path(file).expanduser()
    path = path / "truth.json" if path.is_dir() else path
    return Suite(f"{TRUTH_HEAD}{file}", table.evaluator(space_of(table)), feedback, truth, direction, files=(path,))
