"""``ens results``: the table of members and ensembles."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.errors import EnsError, UnknownName

if TYPE_CHECKING:
    from ensemble.results import ViewResult

EXAMPLE = (
    "Example:  ens results --where \"loss == 'unified' and seed == 0\"    or    ens results --by arch,loss"
    "    or    ens results --pivot arch x loss    or    ens results --out results.tex"
)
MOST_ROWS = 1000  # a terminal needs seconds to lay out more rows
MOST_LOSSES = 3  # runs with lost files that are named
FORMATS = ("table", "csv", "parquet", "markdown", "latex", "html")


def results(
    context: typer.Context,
    runs: Runs = Path("runs"),
    sort: Annotated[
        str, typer.Option(help="Column to sort by, best first; also the score of --pivot and --pareto.")
    ] = "miou",
    where: Annotated[str | None, typer.Option(help="Rows to show: \"loss == 'unified' and seed == 0\".")] = None,
    by: Annotated[str | None, typer.Option(help="Factors to average by: arch,loss.")] = None,
    pivot: Annotated[str | None, typer.Option(help="Two factors of a table of means: arch x loss.")] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show: name,loss,miou,big rock.")] = None,
    intervals: Annotated[bool, typer.Option("--intervals", help="Show the interval next to every score.")] = False,
    pareto: Annotated[bool, typer.Option("--pareto", help="Mark runs that no cheaper run beats.")] = False,
    cost: Annotated[str, typer.Option(help="Cost of --pareto: seconds, parameters, gflops, latency_ms.")] = "seconds",
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, csv, parquet, markdown, latex or html (default: ending of --out)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write (default: standard output).")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show every finished member and ensemble with its scores and their intervals."""
    output, form = Output(quiet=quiet, as_json=as_json), _format(form, out)
    names = [part.strip() for part in columns.split(",")] if columns else None
    factors, by_two = by.split(",") if by else [], _factors(pivot, context.args)
    from ensemble import results as table_of

    view = table_of.View(
        sort=sort, by=factors, pivot=by_two, columns=names, intervals=intervals, cost=cost if pareto else ""
    )
    with output.progress() as progress:
        frame, problems = table_of.scan(runs, progress, evaluations=True)
    known, total, lost = set(frame["name"]), len(frame), table_of.losses(frame)
    if where is not None:
        frame = table_of.where(frame, where)
    seen = view.of(frame)
    if as_json:
        output.result("", seen.numbers.astype(object).where(seen.numbers.notna(), None).to_dict(orient="records"))
    elif form == "table" and frame.empty:
        if total:
            output.say(f"--where matches none of the {total} runs; choose another condition")
        else:
            output.say(escape(f"there is no finished member in {runs}; train one with `ens train`"))
        _name_unfinished(runs, known, output)
    elif form == "table":
        _print(seen, output)
        _name_unfinished(runs, known, output)
    else:
        with output.progress() as progress:
            shown = None if form in ("csv", "parquet") else seen.with_ties(progress)
        text = table_of.write(seen.numbers, form, out, shown=shown)
        typer.echo(text, nl=False) if out is None else output.result(str(out), {})
    for sentence in lost[:MOST_LOSSES]:
        typer.echo(f"note: {sentence}", err=True)
    if len(lost) > MOST_LOSSES:
        typer.echo(f"note: and {len(lost) - MOST_LOSSES} more; `ens verify` names all", err=True)
    if problems:
        raise EnsError(_left_out(problems))


def _name_unfinished(runs: Path, known: Collection[str], output: Output) -> None:
    """Name the members that are not in the table because they are in training or were interrupted."""
    from ensemble.runs.folder import find_unfinished

    working, left = find_unfinished(runs, known)
    if working:
        output.say(f"[dim]in training now: {escape(', '.join(working))}[/]")
    if left:
        output.say(f"[dim]not finished: {escape(', '.join(left))}; repeat the train command to resume[/]")


def _print(seen: ViewResult, output: Output) -> None:
    from ensemble.cli.tables import fitting, results_table

    width, shown = output.console.width, seen.shown
    texts, best = shown.texts.head(MOST_ROWS), shown.best.head(MOST_ROWS)
    output.console.print(results_table(texts, width, best, seen.keep))
    missing = [title for title in texts if title not in fitting(texts, width, seen.keep)]
    notes = ["mIoU in % on images that the members were not trained on; ensembles are cross-fitted"]
    if missing:
        notes.append(f"columns left out to fit {width} characters: {', '.join(missing)}; --columns or --out shows them")
    if len(shown.texts) > MOST_ROWS:
        notes.append(f"only {MOST_ROWS} of {len(shown.texts)} rows are shown; --where chooses rows, --out writes all")
    notes += shown.notes
    for note in notes:
        output.say(f"[dim]{escape(note)}[/]")


def _format(form: str | None, out: Path | None) -> str:
    from ensemble.results import ENDINGS

    if form is not None and form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if form in (None, "table"):
        if out is not None and out.suffix and out.suffix.lower() not in ENDINGS:
            raise UnknownName("ending", out.suffix, ENDINGS, where="of --out")
        return "table" if out is None else ENDINGS.get(out.suffix.lower(), "markdown")
    return str(form)


def _factors(pivot: str | None, rest: Sequence[str]) -> tuple[str, str] | None:
    """Return the two factors of ``--pivot arch x loss``; without quotes the shell passes the words after the option."""
    if rest and pivot is None:
        raise EnsError(f"unexpected argument '{rest[0]}'; options begin with --, such as --sort {rest[0]}")
    if pivot is None:
        return None
    text = " ".join([pivot, *rest])
    parts = re.split(r"\s+[xX×]\s+|\s*,\s*", text.strip())
    if len(parts) != 2 or not all(parts):
        raise EnsError(f"expected two factors for --pivot, such as arch x loss, got '{text}'")
    return parts[0], parts[1]


def _left_out(problems: Sequence[str]) -> str:
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"left out of the table: {'; '.join(problems[:3])}{more}"
