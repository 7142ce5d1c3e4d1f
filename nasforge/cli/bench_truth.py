"""`nasforge bench --truth`: every network of a small space trained alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasforge.cli.output import figure, print_pairs, print_table, print_text
from nasforge.cli.running import run_and_print

if TYPE_CHECKING:
    from nasforge.cli.console import Terminal
    from nasforge.evaluate import TruthTable


def make_and_print(
    space: str, asked: dict[str, Any], confidence: float, workers: int, table: Path | None, out: Path | None,
    as_json: bool,
) -> int:  # fmt: skip
    """Make a truth table, print what it says, and return the exit code."""
    from nasforge.bench.statistics import check_confidence
    from nasforge.bench.truth import make_truth
    from nasforge.config.options import parse_options

    check_confidence(confidence)

    given = parse_options(asked["options"], ("space", "training", "data_options"))

    def start(listener: Terminal) -> TruthTable:
        return make_truth(
            space,
            asked["data"],
            space_options=given["space"],
            training=given["training"],
            data_options=given["data_options"],
            sample=asked["sample"],
            seeds=asked["seeds"],
            workers=workers,
            out=out,
            table=table,
            listener=listener,
        )

    def show(made: TruthTable, terminal: Terminal) -> None:
        assert terminal.folder is not None
        print_truth(made, table or terminal.folder / "truth.json", confidence)

    return run_and_print(start, lambda made: json.loads(made.to_text()), show, as_json)


def print_truth(made: TruthTable, path: Path, confidence: float) -> None:
    """Print what a truth table says of itself: what a rating of its networks has to be held against."""
    from nasforge.bench.truth import summary

    said = summary(made, confidence)
    print_pairs({key: figure(value) for key, value in said.figures.items()})
    print_text()
    if said.rows:
        print_table(said.header, said.rows)
        print_text()
    for text in said.notes:
        print_text(f"note: {text}")
    print_text(f"table: {path}; `nasforge bench --suite truth:{path} --strategy ...` searches it.")
