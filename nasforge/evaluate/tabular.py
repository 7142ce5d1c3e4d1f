"""`tabular`: metrics looked up in a table of architectures that were all trained once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, final

from nasforge.errors import DataError, EvaluationError
from nasforge.evaluate.table_file import read_records
from nasforge.space import Architecture, SearchSpace

FIDELITY: Final = "fidelity"
SEED: Final = "seed"
ON_VALID: Final = "_valid"
Decisions = tuple[int, ...]
Value = float | tuple[float, ...]
"""A metric, or one for each seed."""
Table = Mapping[Decisions, Mapping[str, Value]]


@final
class TabularEvaluator:
    """Looks metrics up by decisions; what is missing or NaN is an error of the evaluation, not a zero.

    Args:
        space: the table's.
        table: decisions -> metrics.
        fidelities: tables of less (and as much) training, by fidelity.
    """

    def __init__(self, space: SearchSpace, table: Table, fidelities: Mapping[float, Table] | None = None) -> None:
        """Take the tables."""
        self.space, self._table, self._fidelities = space, table, dict(fidelities or {})
        self._values: dict[str, dict[Decisions, float]] = {}

    def __len__(self) -> int:
        """Return the number of architectures in the table."""
        return len(self._table)

    @property
    def fidelities(self) -> tuple[float, ...]:
        """The fidelities there are, in order; empty where there is just one table."""
        return tuple(sorted(self._fidelities))

    def evaluate(self, architecture: Architecture, fidelity: float | None = None, seed: int = 0) -> dict[str, float]:
        """Return the metrics of the table; where a metric was measured with several seeds, `seed` picks one.

        Args:
            architecture: of the space.
            fidelity: one of `fidelities`; the largest without.
            seed: counted round the seeds that there are.

        Raises:
            EvaluationError: the architecture, one of its metrics or the fidelity is not in the table.
            ArchitectureError: the architecture is of another space.
        """
        row = self._at(fidelity).get(self.space.validated(architecture).decisions)
        if row is None:
            raise self._lacks("architecture", architecture)
        metrics = {name: _pick(value, seed) for name, value in row.items()}
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise self._lacks(f"{name} of", architecture)
        return metrics

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that any architecture has, in order of their names."""
        return tuple(sorted({name for row in self._table.values() for name in row}))

    @cached_property
    def of_test(self) -> frozenset[str]:
        """The metrics that the table has on valid too, as `nll_valid`: they are of test data, and no search hears them.

        >>> sorted(TabularEvaluator(None, {(0,): {"nll": 1.0, "nll_valid": 1.0, "macs": 2.0}}).of_test)
        ['nll']
        """
        return frozenset(name for name in self.metrics if f"{name}{ON_VALID}" in self.metrics)

    def values(self, metric: str) -> Mapping[Decisions, float]:
        """Return a metric of each architecture that has it, the mean where it was measured with several seeds."""
        known = self._values.get(metric)
        if known is not None:
            return known
        found = self._values[metric] = {}
        for decisions, row in self._table.items():
            given = row.get(metric, math.nan)
            runs = [value for value in (given if isinstance(given, tuple) else (given,)) if math.isfinite(value)]
            if runs:
                found[decisions] = math.fsum(runs) / len(runs)
        return found

    def rows(self) -> Iterator[tuple[float | None, Decisions, Mapping[str, Value]]]:
        """Yield (fidelity, decisions, metrics) of all that the tables hold; the fidelity is None without any."""
        for fidelity, table in sorted(self._fidelities.items()) if self._fidelities else [(None, self._table)]:
            for decisions, row in table.items():
                yield fidelity, decisions, row

    def _lacks(self, what: str, architecture: Architecture) -> EvaluationError:
        described = self.space.describe(architecture)
        return EvaluationError(f"the table of space '{self.space.name}' has no {what} {described}.")

    def _at(self, fidelity: float | None) -> Table:
        if fidelity is None:
            return self._table
        if fidelity not in self._fidelities:
            known = ", ".join(f"{each:g}" for each in self.fidelities) or "none, for it has one result each"
            raise EvaluationError(
                f"the table of space '{self.space.name}' has no results of fidelity {fidelity:g}; available: {known}."
            )
        return self._fidelities[fidelity]


def _pick(value: Value, seed: int) -> float:
    if isinstance(value, tuple):
        return value[seed % len(value)] if value else math.nan
    return float(value)


def read_table(path: str | Path, space: SearchSpace) -> TabularEvaluator:
    """Read a table from CSV or Parquet: one column for each choice, with option labels; all others are metrics.

    An inactive choice and a missing metric are left empty. Two columns are special, unless choices have their names:
    `fidelity`, where architectures were judged after several amounts of training, and `seed`, where several times.

    Raises:
        DataError: a missing column, an unknown option, a value that is no number, or a row that repeats another.
    """
    file = Path(path).expanduser()
    names = [str(read.name) for read in space.choices]
    records = read_records(file)
    header = list(records[0][1]) if records else []
    missing = [name for name in names if name not in header]
    if missing:
        raise DataError(
            f"table '{file}' has no column '{missing[0]}'; expected one for each choice: {', '.join(names)}."
        )
    keys = [name for name in (FIDELITY, SEED) if name in header and name not in names]
    metrics = [name for name in header if name not in names and name not in keys]
    if not metrics:
        raise DataError(f"table '{file}' has columns for choices only; expected one for each metric too.")
    runs: dict[float, dict[Decisions, dict[float, dict[str, float]]]] = {}
    for line, record in records:
        try:
            architecture = space.architecture({name: record[name] for name in names if record[name]})
            fidelity, seed = (_number(record, name) if name in keys else math.inf for name in (FIDELITY, SEED))
            seeds = runs.setdefault(fidelity, {}).setdefault(architecture.decisions, {})
            if seed in seeds:
                raise ValueError("it repeats an earlier line")
            seeds[seed] = {name: _number(record, name, empty=math.nan) for name in metrics}
        except ValueError as error:
            raise DataError(f"line {line} of table '{file}' cannot be used: {error}") from error
    tables = {fidelity: {each: _joined(seeds) for each, seeds in rows.items()} for fidelity, rows in runs.items()}
    return TabularEvaluator(space, tables[max(tables)], tables if FIDELITY in keys else None)


def _number(record: Mapping[str, str], column: str, empty: float | None = None) -> float:
    text = record[column]
    if not text and empty is not None:
        return empty
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"column '{column}' holds '{text}', expected a number.") from None


def _joined(seeds: Mapping[float, Mapping[str, float]]) -> dict[str, Value]:
    """Join the metrics of several seeds, in order of the seeds; a lone one stays a number."""
    runs = [seeds[seed] for seed in sorted(seeds)]
    return {name: runs[0][name] if len(runs) == 1 else tuple(run[name] for run in runs) for name in runs[0]}
