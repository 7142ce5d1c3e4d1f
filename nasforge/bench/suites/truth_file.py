"""Suite `truth:FILE`: a truth table of `nasforge bench --truth`; told is one training's valid, truth the mean test."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nasforge.bench.suites.suite import Direction, Suite
from nasforge.bench.truth.reading import SIGNS, space_of
from nasforge.errors import UsageError
from nasforge.evaluate.truth_table import read_truth
from nasforge.space import SearchSpace

TRUTH_HEAD: Final = "truth:"
LEAST_COVERED: Final = 0.02
"""Share of the space that a sample holds at least; searches draw until they hit what it holds."""
FEEDBACK: Final = ("accuracy_valid", "nll_valid")
TRUTH: Final = ("accuracy", "nll")


def truth_file(
    file: str,
    feedback: str = "accuracy_valid",
    truth: str | None = None,
) -> Suite:
    """Return the suite of a truth table; its space is made again by its name and options.

    Searches in the table of a sample are confined to what it holds.

    Args:
        file: its path, or the folder that `nasforge bench --truth` made.
        feedback: what a search is told: `accuracy_valid` or `nll_valid`, of one seed.
        truth: what searches are judged by: `accuracy` or `nll` on test, the mean over seeds; that of the feedback
            without. Accuracy is maximised, nll is minimised.

    Raises:
        UsageError: another metric, or feedback and truth of which one is better where more and one where less; or a
            sample of less than a fiftieth of its space.
        DataError: the file cannot be used, or a column is not there.
        ArchitectureError: the space has changed since.
    """
    judged = feedback.removesuffix("_valid") if truth is None else truth
    _check(file, feedback, judged)
    table = read_truth(file)
    path = Path(file).expanduser()
    path = path / "truth.json" if path.is_dir() else path
    direction: Direction = "maximize" if SIGNS[judged] > 0 else "minimize"
    space = space_of(table)
    sampled = _is_sample(file, len(set(table.decisions)), space)
    name = f"{TRUTH_HEAD}{file}"
    return Suite(name, table.evaluator(space), feedback, judged, direction, files=(path,), sampled=sampled)


def _is_sample(file: str, held: int, space: SearchSpace) -> bool:
    size = space.size
    if held < LEAST_COVERED * size:
        raise UsageError(
            f"suite '{TRUTH_HEAD}{file}' holds {held} of the {size:,} architectures of space '{space.name}', too few "
            "to search in; give a table of at least a fiftieth of its space, or rank ratings by this one "
            "(nasforge.bench.truth.ranking_by_truth)."
        )
    return held < size


def _check(file: str, feedback: str, truth: str) -> None:
    heard = f"suite '{TRUTH_HEAD}{file}' was given"
    for name, given, known in (("feedback", feedback, FEEDBACK), ("truth", truth, TRUTH)):
        if given not in known:
            raise UsageError(
                f"{heard} {name}={given}; expected {' or '.join(known)}, for searches hear "
                "of valid and are judged on test."
            )
    if SIGNS[feedback] != SIGNS[truth]:
        raise UsageError(
            f"{heard} feedback={feedback} truth={truth}, and more accuracy is better while "
            f"less nll is; give feedback={truth}_valid."
        )
