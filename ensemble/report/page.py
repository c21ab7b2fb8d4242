"""The report: one self-contained HTML file that needs no network."""

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
from ensemble.core.files import write_bytes
from ensemble.core.palette import class_colours
from ensemble.core.progress import Progress, no_progress
from ensemble.explanation.explain import explain
from ensemble.report.browser import Browser, browse
from ensemble.report.ensemble_charts import ensemble_charts
from ensemble.report.report_data import Material, collect
from ensemble.report.run_charts import run_charts
from ensemble.report.summary import facts, question_and_answer
from ensemble.report.svg import Chart
from ensemble.report.table import make_table


@dataclass(frozen=True)
class Report:
    """What was written: where, how many bytes, the question, its answer, and what is not shown."""

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
    """Write a report of runs that were scored on the same images as one HTML file; its best ensemble is explained.

    Args:
        runs: folder of runs.
        out: the file.
        ensemble: name of an ensemble, to report on it and its members alone.
        names: names of runs, to report on them alone: those of a study.
        about: a sentence above the question: what the runs were made for.
        images: ids of scored images to show besides those that are chosen.
        progress: callback that receives the progress.

    Raises:
        EnsError: no finished run, an ensemble or an image that is not there, or a file that cannot be written.
    """
    if Path(out).is_dir():
        raise EnsError(f"expected a file to write the report to, got the folder {out}; try {Path(out) / 'report.html'}")
    material = collect(Path(runs), ensemble, names, progress)
    tied = results.ties(material.frame, progress)
    question, answer = question_and_answer(material, tied)
    browser = _browser(material, images, progress)
    charts = [*run_charts(material, progress), *_explained(material, progress)]
    content = _render(
        about=about,
        question=question,
        answer=answer,
        facts=facts(material),
        table=make_table(material, tied),
        charts=_drawn(charts, progress),
        browser=browser,
        legend=_legend(browser.classes if browser else ()),
        notes=material.notes,
        subject=material.best.name,
    )
    write_bytes(Path(out), content)
    return Report(Path(out), len(content), question, answer, tuple(material.notes))


def _render(**content: Any) -> bytes:
    """The page with its style and its one script, which alone may run: the page names its digest."""
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
    """The figures with their HTML."""
    drawn: list[tuple[Chart, Markup]] = []
    for chart in charts:
        drawn.append((chart, chart.html()))
        progress("drawing figures", len(drawn), len(charts))
    return drawn


def _legend(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names of the classes with their colours."""
    colours = class_colours(range(len(names)))
    return [(name, "#" + bytes(colours[k]).hex()) for k, name in enumerate(names)]


def _browser(material: Material, images: Sequence[str], progress: Progress) -> Browser | None:
    """The images; without the members' probabilities there are none, and a note says why."""
    try:
        return browse(material, images, progress)
    except EnsError as error:
        if images:
            raise
        material.miss(f"No images are shown: {error}.")
        return None


def _explained(material: Material, progress: Progress) -> list[Chart]:
    """The figures that explain the featured ensemble; a note says why there are none."""
    if material.featured is None:
        return []
    try:
        return ensemble_charts(explain(material.featured, progress=progress))
    except EnsError as error:
        material.miss(f"{material.featured.name} is not explained: {error}.")
        return []
