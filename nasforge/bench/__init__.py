"""Comparing runs: configurations over seeds, paired, with intervals."""

from nasforge.bench.comparing import compare
from nasforge.bench.comparison import Comparison

__all__ = ["Comparison", "compare"]
