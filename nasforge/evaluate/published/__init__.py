"""Published benchmarks as tables, one file each; their data stay where they are, under $NASFORGE_DATA."""

from nasforge.evaluate.published.source import DATA, data_file, read_columns, tabulated

__all__ = ["DATA", "data_file", "read_columns", "tabulated"]
