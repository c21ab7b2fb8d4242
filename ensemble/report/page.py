"""Write the report: one self-contained HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.core.files import check_file, write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.core.reading import is_folder
from ensemble.explanation.explain import explain
from ensemble.report.figures.charts import explanation_charts, run_charts
from ensemble.report.figures.svg import Chart
from ensemble.report.image_browser import ImageBrowser, browse
from ensemble.report.report_data import ReportData, read_report_data
from ensemble.report.results_table import make_table
from ensemble.report.summary import facts, question_and_answer


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes:
        path: path of the file.
        size: bytes of the file.
        question, answer: its first two sentences.
        notes: sentences on what the report does not show.
    """

    path: Path
    size: int
    question: str
    answer: str
    notes: tuple[str, ...]


def write_report(
    runs: str | Path,
    out: str | Path = "report.html",
    *,
    ensemble: str | None = None,
    names: Collection[str] | None = None,
    about: str = "",
    images: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Report:
    """Write a report of runs that were scored on the same images as one HTML file, and explain their best ensemble.

    Args:
        runs: folder of runs.
        out: path of the file.
        ensemble: name of an ensemble; the report then shows only this ensemble and its members.
        names: names of runs, such as those of a study; the report then shows only these.
        about: a sentence above the question, such as the purpose of the runs.
        images: ids of scored images to show in addition to those that the report chooses.
        progress: callback that receives the progress.

    Raises:
        EnsError: there is no finished run, no such ensemble or image, or the file cannot be written.
    """
    if is_folder(Path(out)):
        raise EnsError(
            f"expected a file to write the report to, got the folder {out}; pass {Path(out) / 'report.html'}"
        )
    check_file(Path(out))
    data = read_report_data(Path(runs), ensemble, names, progress)
    tied = results.ties(data.frame, progress)
    question, answer = question_and_answer(data, tied)
    browser = _browser(data, images, progress)
    charts = [*run_charts(data, progress), *_explained(data, progress)]
    content = _render(
        about=about,
        question=question,
        answer=answer,
        facts=facts(data),
        table=make_table(data, tied),
        charts=_drawn(charts, progress),
        browser=browser,
        legend=_legend(browser.classes if browser else ()),
        notes=data.notes,
        subject=data.best.name,
    )
    write_bytes(Path(out), content)
    return Report(Path(out), len(content), question, answer, tuple(data.notes))


def _render(**content: Any) -> bytes:
    """Return the page with its style and its script; the page names the digest of the only script that may run."""
    loader = PackageLoader("ensemble.report", "template")
    pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    script, style = (Markup(loader.get_source(pages, name)[0]) for name in ("page.js", "page.css"))
    text = pages.get_template("page.html.jinja").render(
        **content,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=style,
        made=datetime.now(UTC),
        version=version("ens-toolkit"),
    )
    return text.encode(errors="replace")


def _drawn(charts: Sequence[Chart], progress: Progress) -> list[tuple[Chart, Markup]]:
    """Return the figures with their HTML."""
    drawn: list[tuple[Chart, Markup]] = []
    for chart in charts:
        drawn.append((chart, chart.html()))
        progress("drawing figures", len(drawn), len(charts))
    return drawn


def _legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the names of the classes with their colours."""
    colours = class_colours(range(len(names)))
    return [(name, "#" + bytes(colours[k]).hex()) for k, name in enumerate(names)]


def _browser(data: ReportData, images: Sequence[str], progress: Progress) -> ImageBrowser | None:
    """Return the images, or None with a note if the members' probabilities cannot be read."""
    try:
        return browse(data, images, progress)
    except EnsError as error:
        if images:
            raise
        data.add_note(f"The report shows no images: {error}.")
        return None


def _explained(data: ReportData, progress: Progress) -> list[Chart]:
    """Return the figures that explain the featured ensemble; a note gives the reason if there are none."""
    if data.featured is None:
        return []
    try:
        return explanation_charts(explain(data.featured, progress=progress), data.short)
    except EnsError as error:
        data.add_note(f"The report does not explain {data.featured.name}: {error}.")
        return []
