"""What a truth table says of itself: how far networks differ, how far seeds do, and what any rating must beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from nasforge.bench.ranking import FEWEST
from nasforge.bench.ranking_table import baseline_rows
from nasforge.bench.truth.reading import ranking_by_truth
from nasforge.evaluate.truth_table import TruthTable


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """Figures by name, a table of MACs, parameters and the noise ceiling against accuracy and nll, and notes."""

    figures: Mapping[str, Any]
    header: tuple[str, ...]
    rows: list[list[Any]]
    notes: tuple[str, ...]


def summary(table: TruthTable, confidence: float = 0.95) -> Summary:
    """Return the summary of a truth table; figures are over different networks.

    Args:
        table: of at least one architecture.
        confidence: of the intervals.
    """
    kept = table.distinct
    figures: dict[str, Any] = {
        "space": table.about["space"]["name"],
        "architectures": len(table),
        "networks": len(kept),
        "seeds": len(table.seeds),
        "train_seconds": float(np.nansum(table.measured["train_seconds"][kept])),
    }
    for metric in ("accuracy", "nll"):
        values = table.measured[metric][kept]
        figures |= {f"{metric}_{name}": value for name, value in _spreads(values).items()}
    header, rows = _rows(table, confidence)
    return Summary(figures, header, rows, _notes(table))


def _spreads(values: np.ndarray) -> dict[str, float]:
    """Return least, mean and most of the means over seeds, their standard deviation, and that of seeds."""
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known):
        return {}
    means = known.mean(axis=1)
    found = {"least": float(means.min()), "mean": float(means.mean()), "most": float(means.max())}
    if len(means) > 1:
        found["sd_of_networks"] = float(means.std(ddof=1))
    if known.shape[1] > 1:
        found["sd_of_seeds"] = float(np.sqrt(known.var(axis=1, ddof=1).mean()))
    return found


def _rows(table: TruthTable, confidence: float) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return the rows of MACs, parameters, chance and ceilings, for accuracy and for nll."""
    whole = np.isfinite(table.accuracy[table.distinct]).any(axis=1).sum()
    header: tuple[str, ...] = ()
    rows: list[list[Any]] = []
    if whole < FEWEST:
        return header, rows
    for metric in ("accuracy", "nll"):
        ranking = ranking_by_truth(table.macs, table, metric=metric, confidence=confidence)
        header, found = baseline_rows(ranking)
        rows += [[metric, *row] for row in found]
    return ("truth", *header), rows


def _notes(table: TruthTable) -> tuple[str, ...]:
    failed = int(np.isnan(table.accuracy[table.distinct]).sum())
    notes = [f"{failed} trainings diverged; the table holds null for them."] if failed else []
    if len(table.seeds) < 2:
        notes.append("one seed says nothing of the noise; give --seeds 2 for a noise ceiling.")
    return tuple(notes)
