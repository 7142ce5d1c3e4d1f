"""Ground truth: small spaces trained exhaustively, with several seeds, as tables that ratings are judged by."""

from nasforge.bench.truth.making import TruthInterrupted, make_truth
from nasforge.bench.truth.reading import ranking_by_truth, space_of
from nasforge.bench.truth.summary import summary
from nasforge.evaluate.truth_table import TruthTable, read_truth

__all__ = ["TruthInterrupted", "TruthTable", "make_truth", "ranking_by_truth", "read_truth", "space_of", "summary"]
