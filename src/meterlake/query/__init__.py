"""Questions: what a lake is asked, computed from block files with NumPy alone."""

from meterlake.query.answers import Answer, Figure, History, Listing, Rows, Usage
from meterlake.query.questions import RANGES, Questions

__all__ = ["RANGES", "Answer", "Figure", "History", "Listing", "Questions", "Rows", "Usage"]
