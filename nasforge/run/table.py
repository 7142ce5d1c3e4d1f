"""The setting `evaluation`: metrics looked up in a table of architectures, in the place of training them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nasforge import registry
from nasforge.errors import ArchitectureError, NotInstalledError, UsageError
from nasforge.evaluate.tabular import TabularEvaluator, read_table
from nasforge.evaluate.truth_table import read_truth
from nasforge.space import SearchSpace
from nasforge.strategy import Strategy, WeightSharing

HEAD: Final = "table:"
FILES: Final = (".csv", ".parquet")
TRUTH: Final = ".json"


def load_table(evaluation: str, space: SearchSpace, strategy: Strategy, strategy_name: str) -> TabularEvaluator:
    """Return the table that `evaluation` names.

    Args:
        evaluation: `table:NAME` or `table:NAME:ARGUMENT` of an installed table, `table:PATH.csv`, or the truth table
            `table:PATH.json`.
        space: of the run; the table must be of the same.
        strategy: of the run; one that shares weights is refused.
        strategy_name: for the sentence.

    Raises:
        UsageError: another text, an unknown table, a file that cannot be used, or a strategy with weights.
        ArchitectureError: the table is of another space.
    """
    where = evaluation.removeprefix(HEAD)
    if where == evaluation or not where:
        raise UsageError(
            f"evaluation was given '{evaluation}'; expected table:NAME of an installed table, table:PATH.csv, "
            "table:PATH.json, or zero_cost:SCORE."
        )
    if isinstance(strategy, WeightSharing):
        raise UsageError(
            f"strategy '{strategy_name}' trains shared weights and rates with them, so it cannot look up "
            f"'{evaluation}'; take a strategy that only proposes, such as evolution, or leave evaluation away."
        )
    if Path(where).suffix in FILES:
        return read_table(Path(where), space)
    if Path(where).suffix == TRUTH:
        return read_truth(where).evaluator(space)
    name, _, argument = where.partition(":")
    if name not in registry.installed("tables"):
        raise NotInstalledError.unknown("table", name, registry.installed("tables"))
    make = registry.load("tables", name)
    table: TabularEvaluator = make(argument) if argument else make()
    if table.space.fingerprint != space.fingerprint:
        raise ArchitectureError(
            f"table '{where}' is of space '{table.space.name}', and space '{space.name}' is searched; take --space "
            f"{table.space.name}, or another table."
        )
    return table
