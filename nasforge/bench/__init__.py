"""Comparing: runs over seeds, and strategies on tables; paired, with intervals."""

from nasforge.bench.benching import BenchInterrupted, bench
from nasforge.bench.comparing import compare
from nasforge.bench.comparison import Comparison
from nasforge.bench.result import BenchResult
from nasforge.bench.suites import Suite

__all__ = ["BenchInterrupted", "BenchResult", "Comparison", "Suite", "bench", "compare"]
