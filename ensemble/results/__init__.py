"""Results: one pandas DataFrame with a row per member and ensemble, read from run directories.

>>> from ensemble import results
>>> frame = results.load("runs")  # doctest: +SKIP
>>> results.by(results.where(frame, "loss != 'ce'"), ["arch", "loss"])  # doctest: +SKIP
"""

from ensemble.results.best import best, notes
from ensemble.results.class_scores import class_columns, column_of
from ensemble.results.columns import COLUMNS, COSTS, SCORES, Column
from ensemble.results.comparable import sets_of
from ensemble.results.export import ENDINGS, Format, styled, write
from ensemble.results.find_column import column, resolve
from ensemble.results.formatting import FormattedTable, display, show, show_pivot
from ensemble.results.grouping import Pivot, by, incomplete, pareto, pivot, varying
from ensemble.results.query import where
from ensemble.results.significance import Ties, ties
from ensemble.results.table import DamagedRun, load, losses, scan, sort
from ensemble.results.view import View, ViewResult

__all__ = [
    "COLUMNS",
    "COSTS",
    "ENDINGS",
    "SCORES",
    "Column",
    "DamagedRun",
    "Format",
    "FormattedTable",
    "Pivot",
    "Ties",
    "View",
    "ViewResult",
    "best",
    "by",
    "class_columns",
    "column",
    "column_of",
    "display",
    "incomplete",
    "load",
    "losses",
    "notes",
    "pareto",
    "pivot",
    "resolve",
    "scan",
    "sets_of",
    "show",
    "show_pivot",
    "sort",
    "styled",
    "ties",
    "varying",
    "where",
    "write",
]
