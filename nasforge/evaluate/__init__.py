"""Evaluators: what an architecture is worth."""

from nasforge.evaluate.evaluator import Evaluator, Judge
from nasforge.evaluate.quantised import QuantisedJudge
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.evaluate.tabular import TabularEvaluator, read_table
from nasforge.evaluate.trained import TrainedEvaluator

__all__ = [
    "Evaluator",
    "Judge",
    "QuantisedJudge",
    "SharedEvaluator",
    "TabularEvaluator",
    "TrainedEvaluator",
    "read_table",
]
