"""Write an explanation to disk: every figure as PNG, every table as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ensemble.core.files import write_bytes
from ensemble.core.progress import Progress, no_progress
from ensemble.explanation.result import Explanation
from ensemble.report import figures
from ensemble.report.figures.drawing import save_png
from ensemble.results.export import csv_text

FIGURES: dict[str, Callable[[Explanation], Figure]] = {
    "pairs": figures.pairs_figure,
    "contributions": figures.contributions_figure,
    "dropping": figures.dropping_figure,
    "reliability": figures.reliability_figure,
    "risk": figures.risk_figure,
    "uncertainty": figures.uncertainty_figure,
}
"""Figures by the name of their file."""


def write_explanation(explanation: Explanation, folder: Path, progress: Progress = no_progress) -> list[Path]:
    """Write every figure (PNG) and table (CSV) into ``folder`` and return their paths, figures first.

    Raises:
        EnsError: the folder cannot be written.
    """
    written: list[Path] = []
    for name, draw in FIGURES.items():
        written.append(save_png(draw(explanation), folder / f"{name}.png"))
        progress("drawing", len(written), len(FIGURES))
    for name, table in explanation.tables.items():
        text = csv_text(table, float_format="%.6g")
        write_bytes(folder / f"{name}.csv", text.encode())
        written.append(folder / f"{name}.csv")
    return written
