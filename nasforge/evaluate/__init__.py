"""Evaluators: what an architecture is worth.

Those that look things up need no torch, so each is imported when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasforge.evaluate.evaluator import Evaluator, Judge
    from nasforge.evaluate.quantised import QuantisedJudge
    from nasforge.evaluate.shared import SharedEvaluator
    from nasforge.evaluate.tabular import TabularEvaluator, read_table
    from nasforge.evaluate.trained import TrainedEvaluator
    from nasforge.evaluate.truth_table import TruthTable, read_truth

_HOMES = {
    "Evaluator": "evaluator",
    "Judge": "evaluator",
    "QuantisedJudge": "quantised",
    "SharedEvaluator": "shared",
    "TabularEvaluator": "tabular",
    "TrainedEvaluator": "trained",
    "TruthTable": "truth_table",
    "read_table": "tabular",
    "read_truth": "truth_table",
}

__all__ = [
    "Evaluator",
    "Judge",
    "QuantisedJudge",
    "SharedEvaluator",
    "TabularEvaluator",
    "TrainedEvaluator",
    "TruthTable",
    "read_table",
    "read_truth",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nasforge.evaluate' has no attribute '{name}'")
    found = getattr(importlib.import_module(f"nasforge.evaluate.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
