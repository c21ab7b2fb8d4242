"""The command line: one thin file per command; the only place that prints."""

from __future__ import annotations

import os

import typer

from ensemble.cli import (
    combine,
    compare,
    data,
    doctor,
    explain,
    import_member,
    listing,
    predict,
    quickstart,
    remove,
    report,
    reproduce,
    results,
    study,
    track,
    train,
    tune,
    verify,
)
from ensemble.cli.console import Commands

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):  # torch warns once that processes look for unused parameters
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

app = typer.Typer(
    name="ens",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Ensembles for semantic segmentation: train members independently, combine them, know whether it helped.",
    epilog="Start with:  ens quickstart",
)
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training.")
app.add_typer(data_app, name="data", cls=Commands)

app.command("quickstart", epilog=quickstart.EXAMPLE)(quickstart.quickstart)
app.command("train", epilog=train.EXAMPLE)(train.train)
app.command("combine", epilog=combine.EXAMPLE)(combine.combine)
app.command("compare", epilog=compare.EXAMPLE)(compare.compare)
app.command("explain", epilog=explain.EXAMPLE)(explain.explain)
app.command("import-member", epilog=import_member.EXAMPLE)(import_member.import_member)
app.command("report", epilog=report.EXAMPLE)(report.report)
app.command("study", epilog=study.EXAMPLE)(study.study)
app.command("tune", epilog=tune.EXAMPLE)(tune.tune)
app.command("results", epilog=results.EXAMPLE)(results.results)
app.command("predict", epilog=predict.EXAMPLE)(predict.predict)
app.command("track", epilog=track.EXAMPLE)(track.track)
app.command("reproduce", epilog=reproduce.EXAMPLE)(reproduce.reproduce)
app.command("verify", epilog=verify.EXAMPLE)(verify.verify)
app.command("remove", epilog=remove.EXAMPLE)(remove.remove)
app.command("list", epilog=listing.EXAMPLE)(listing.list_components)
data_app.command("summary", epilog=data.EXAMPLE)(data.summary)
data_app.command("check", epilog=data.CHECK_EXAMPLE)(data.check)
data_app.command("preview", epilog=data.PREVIEW_EXAMPLE)(data.preview)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)


def main() -> None:
    """Entry point of the ``ens`` command."""
    app()
