"""Suites: tables that strategies are compared on, one file each; found by name through `nasforge.suites`."""

from nasforge.bench.suites.suite import Goal, Suite, TabulatedScore

__all__ = ["Goal", "Suite", "TabulatedScore"]
