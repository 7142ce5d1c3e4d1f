"""Evaluators: what an architecture is worth."""

from nasforge.evaluate.evaluator import Evaluator
from nasforge.evaluate.shared import SharedEvaluator
from nasforge.evaluate.tabular import TabularEvaluator, read_table
from nasforge.evaluate.trained import TrainedEvaluator

__all__ = ["Evaluator", "SharedEvaluator", "TabularEvaluator", "TrainedEvaluator", "read_table"]
