"""``ens results``: the table of members and ensembles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.errors import UnknownName

EXAMPLE = "Example:  ens results --sort log_loss    or    ens results --format csv --out results.csv"
FORMATS = ("table", "csv", "parquet", "markdown")


def results(
    runs: Runs = Path("runs"),
    sort: Annotated[str, typer.Option(help="Column to sort by, best first.")] = "miou",
    form: Annotated[str, typer.Option("--format", help="table, csv, parquet or markdown.")] = "table",
    out: Annotated[Path | None, typer.Option(help="File to write to (standard output).")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show every finished member and ensemble with its scores and their intervals."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble import results as table_of
    from ensemble.cli.tables import results_table

    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    frame = table_of.sort(table_of.load(runs), sort)
    if as_json:
        output.result("", frame.astype(object).where(frame.notna(), None).to_dict(orient="records"))
    elif form == "table" and out is None:
        if frame.empty:
            output.say(f"no finished member in {runs}; train one with `ens train`")
            return
        output.console.print(results_table(table_of.display(frame), output.console.width))
        output.say("[dim]mIoU in % on images the members did not train on; ensembles are cross-fitted[/]")
    else:
        text = table_of.write(frame, "markdown" if form == "table" else form, out)  # pyright: ignore[reportArgumentType]
        typer.echo(text, nl=False) if out is None else output.result(str(out), {})
