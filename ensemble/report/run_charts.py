"""The figures of a report that need no ensemble, with captions and text alternatives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.report import figures
from ensemble.report.figures.scores import numbers
from ensemble.report.ladder import ladder
from ensemble.report.report_data import Material
from ensemble.report.svg import Chart
from ensemble.runs.layout import HISTORY
from ensemble.runs.tables import ImageTables, read_tables

MOST = 12  # runs, curves or classes that one figure can show
MOST_GRID = 20  # architectures and losses


def run_charts(material: Material, progress: Progress) -> Iterator[Chart]:
    """Every figure there is something to draw for."""
    found = (
        steps(material, progress),
        grid(material),
        classes(material),
        learning(material),
        confusions(material),
        calibration(material) if material.featured is None else None,  # its explanation has more of it
    )
    return (chart for chart in found if chart is not None)


def steps(material: Material, progress: Progress) -> Chart | None:
    """Ladder of an ablation; without one the runs in the order of their scores."""
    if len(material.frame) < 2:
        return None
    table, real = ladder(material, progress)
    caption = (
        "Each step changes one setting of the step above it, in the order of training; the gain is the paired"
        " difference on the same images, each with its own 95 % interval."
        if real
        else "No member differs from another in a single setting, so they stand in the order of their scores."
    )
    if material.featured is not None:
        caption += " The ensemble's gain is over the member that looks best on these images."
    title = "What did each step bring?" if real else "How do the runs compare?"
    told = [f"{row['name']} {_percent(row['miou'])}" for row in table.to_dict("records")]
    caption += " Lines are 95 % intervals over groups of images."
    return Chart("steps", "Steps", caption, _alt("mIoU", told), partial(figures.ladder_figure, table, title))


def grid(material: Material) -> Chart | None:
    """Heat map of architecture and loss."""
    table = results.pivot(material.frame, "architecture", "loss").means
    if table.size < 2:
        return None
    table = table.loc[*(table.mean(axis=axis).sort_values(ascending=False).index for axis in (1, 0))]
    shown = table.iloc[:MOST_GRID, :MOST_GRID]
    caption = "Mean mIoU of the members, over seeds and settings where several share a cell; blank: not trained."
    caption += _some(len(shown), len(table), "architectures") + _some(shown.shape[1], table.shape[1], "losses")
    known = [(float(value), row, loss) for (row, loss), value in shown.stack().items()]  # pyright: ignore[reportGeneralTypeIssues]
    told = [f"{row} with {loss} {_percent(value)}" for value, row, loss in sorted(known, reverse=True)]
    return Chart("grid", "Architecture and loss", caption, _alt("mIoU", told), partial(figures.grid_figure, shown))


def classes(material: Material) -> Chart | None:
    """IoU per class of the best runs."""
    names, frame = material.classes, material.frame.head(MOST)
    if not names:
        return None
    means = {column: float(np.nan_to_num(numbers(frame, column), nan=1.0).mean()) for column in names}
    hardest = sorted(names, key=means.__getitem__)[:MOST]
    shown = {column: name for column, name in names.items() if column in hardest}
    caption = "IoU of each class with its 95 % interval; ensembles in orange."
    caption += _some(len(frame), len(material.frame), "runs") + _some(len(shown), len(names), "classes", "hardest")
    told = [f"{name} {_percent(np.nan_to_num(numbers(frame, column)).max())} at best" for column, name in shown.items()]
    return Chart("classes", "Classes", caption, _alt("IoU", told), partial(figures.classes_figure, frame, shown))


def learning(material: Material) -> Chart | None:
    """Learning curves of the best members; imported ones have none."""
    found = {member.name: _history(member.path) for member in material.members}
    found = {name: history for name, history in found.items() if len(history)}
    if not found:
        return None
    shown = {material.short[name]: one for name, one in list(found.items())[:MOST]}
    caption = "A member keeps its last epoch, whatever the curve says, unless a note below the table tells otherwise."
    caption += _some(len(shown), len(found), "members")
    told = [f"{name} {history['epoch'].max():.0f} epochs" for name, history in shown.items()]
    return Chart("learning", "Learning", caption, _alt("curves", told), partial(figures.learning_figure, shown))


def _history(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path / HISTORY)
    except (OSError, ValueError) as error:
        raise EnsError(f"{path / HISTORY} cannot be read ({error}); train the member again") from None


def confusions(material: Material) -> Chart | None:
    """Confusion matrices of the explained ensemble and of the best member."""
    runs: list[Any] = [run for run in (material.featured, *material.members[:1]) if run is not None]
    tables = [(run.name, _tables(run.path, material)) for run in runs]
    found = {name: read for name, read in tables if read is not None}
    if not found:
        return None
    names = next(iter(found.values())).classes
    shown = {name: read.confusions_nkk.sum(0) for name, read in found.items() if read.classes == names}
    counts_kk = next(iter(shown.values()))
    lost_kk = counts_kk - np.diag(np.diag(counts_kk))
    true, decided = np.unravel_index(int(lost_kk.argmax()), lost_kk.shape)
    share = lost_kk[true, decided] / max(1, counts_kk[true].sum())
    told = [f"most pixels are lost where {names[true]} is taken for {names[decided]}, {_percent(share)} of it"]
    caption = "Of the labelled pixels of each true class (row) the share that is decided to be each class (column)."
    if material.featured is not None:
        caption += " The ensemble's are cross-fitted."
    titled = {material.short[name]: table_kk for name, table_kk in shown.items()}
    return Chart(
        "confusions", "Confusions", caption, _alt("shares", told), partial(figures.confusion_figure, titled, names)
    )


def calibration(material: Material) -> Chart | None:
    """Reliability of the best runs, of those whose tables hold it."""
    read = {run.name: _tables(run.path, material) for run in (*material.ensembles[:2], *material.members[:MOST])}
    found = {
        name: one.tables["reliability"].sum(0) for name, one in read.items() if one and "reliability" in one.tables
    }
    if not found:
        return None
    shown = {material.short[name]: one for name, one in list(found.items())[:MOST]}
    caption = "Below the grey line a system is surer than it is right. ECE is the mean distance to it, over pixels."
    told = [f"{name} ECE {_percent(expected_calibration_error(table))}" for name, table in shown.items()]
    draw = partial(figures.calibration_figure, shown)
    return Chart("calibration", "Calibration", caption, _alt("reliability", told), draw)


def _tables(path: Path, material: Material) -> ImageTables | None:
    """The per-image tables of a run; where they cannot be read the report says so and goes on."""
    try:
        return read_tables(path)
    except EnsError as error:
        material.miss(f"Figures without {path.name}: {error}.")
        return None


def _percent(share: Any) -> str:
    return f"{100 * float(share):.1f} %"


def _alt(what: str, told: list[str]) -> str:
    more = f" and {len(told) - MOST} more" if len(told) > MOST else ""
    return f"{what}: {', '.join(told[:MOST])}{more}"


def _some(shown: int, total: int, what: str, which: str = "best") -> str:
    """A sentence where not all are shown."""
    return f" Of {total} {what} the {shown} {which} are shown." if shown < total else ""
