"""The report of a run: one self-contained page."""

from nasforge.report.drawing import draw
from nasforge.report.page import write_report

__all__ = ["draw", "write_report"]
