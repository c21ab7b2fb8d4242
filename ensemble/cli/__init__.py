"""The command line: one thin file per command; the only place that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from typing import Annotated

import typer

from ensemble.cli import (
    bundle,
    card,
    combine,
    compare,
    data,
    distil,
    doctor,
    evaluate,
    explain,
    export,
    import_member,
    listing,
    pack,
    predict,
    quickstart,
    refit,
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
from ensemble.cli.console import FULL, Commands, flushed, never_raise
from ensemble.core.garbage import collect_later

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):  # hide torch's warning about unused parameters
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


def _version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        try:
            typer.echo(f"ens {metadata.version('ens-toolkit')}")
        except metadata.PackageNotFoundError:
            typer.echo("ens (not installed: run from a folder)")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Ensembles for semantic segmentation: train members independently, combine them, know whether it helped."""


# Panels of ``ens --help``: name, function, example and one line of at most 61 characters per command.
PANELS: dict[str, tuple[tuple[str, Callable[..., None], str, str], ...]] = {
    "Start": (
        ("quickstart", quickstart.quickstart, quickstart.EXAMPLE, "Try everything on the embedded sample in a minute."),
        ("doctor", doctor.doctor, doctor.EXAMPLE, "Show machine, libraries, device and precision."),
        ("list", listing.list_components, listing.EXAMPLE, "List architectures, losses, augmentations, methods ..."),
    ),
    "Train": (
        ("train", train.train, train.EXAMPLE, "Train one member."),
        ("study", study.study, study.EXAMPLE, "Train and combine all members of a recipe."),
        ("tune", tune.tune, tune.EXAMPLE, "Search for better options with Optuna."),
        ("import-member", import_member.import_member, import_member.EXAMPLE, "Import predictions of another tool."),
    ),
    "Combine and judge": (
        ("combine", combine.combine, combine.EXAMPLE, "Combine members into an ensemble, with a verdict."),
        ("evaluate", evaluate.evaluate, evaluate.EXAMPLE, "Score a model on images that it was not trained on."),
        ("results", results.results, results.EXAMPLE, "Show all members and ensembles in one table."),
        ("compare", compare.compare, compare.EXAMPLE, "Compare runs pair by pair, with intervals."),
        ("explain", explain.explain, explain.EXAMPLE, "Show what each member adds and where an ensemble is unsure."),
        ("report", report.report, report.EXAMPLE, "Write results, figures and images into one HTML file."),
    ),
    "Use elsewhere": (
        ("predict", predict.predict, predict.EXAMPLE, "Predict class maps of images."),
        ("bundle", bundle.bundle, bundle.EXAMPLE, "Write a model as one file that predicts elsewhere."),
        ("card", card.card, card.EXAMPLE, "Show the model card of a bundle or of a run."),
        ("export", export.export, export.EXAMPLE, "Write a model as one ONNX file."),
        ("refit", refit.refit, refit.EXAMPLE, "Train a model again on all labelled images."),
        ("distil", distil.distil, distil.EXAMPLE, "Train one network on what an ensemble predicts."),
        ("pack", pack.pack, pack.EXAMPLE, "Pack runs so that a reviewer can recompute the table."),
        ("track", track.track, track.EXAMPLE, "Export runs to MLflow or TensorBoard."),
    ),
    "Look after runs": (
        ("reproduce", reproduce.reproduce, reproduce.EXAMPLE, "Train a member again and compare the two."),
        ("verify", verify.verify, verify.EXAMPLE, "Find damaged and missing files."),
        ("remove", remove.remove, remove.EXAMPLE, "Delete members and ensembles."),
    ),
}
_CLASSES = {
    "train": train.TrainCommand,
    "tune": tune.TuneCommand,
    "distil": distil.DistilCommand,
}  # commands with an option for every setting
for _panel, _commands in PANELS.items():
    for _name, _function, _example, _line in _commands:
        app.command(
            _name,
            cls=_CLASSES.get(_name),
            epilog=_example,
            short_help=_line,
            rich_help_panel=_panel,
            context_settings={"allow_extra_args": _name == "results"},  # the words after --pivot arch
        )(_function)

data_app = typer.Typer(no_args_is_help=True)
data_app.command("describe", epilog=data.DESCRIBE_EXAMPLE)(data.describe)
data_app.command("summary", epilog=data.EXAMPLE)(data.summary)
data_app.command("check", epilog=data.CHECK_EXAMPLE)(data.check)
data_app.command("preview", epilog=data.PREVIEW_EXAMPLE)(data.preview)
data_app.command("split", epilog=data.SPLIT_EXAMPLE)(data.split)
data_app.command("next", epilog=data.NEXT_EXAMPLE)(data.label_next)
app.add_typer(
    data_app, name="data", cls=Commands, help="Data: describe, look at, check, split, label next.",
    rich_help_panel="Start",
)  # fmt: skip


def main() -> None:
    """Run the ``ens`` command; a stream that cannot be written, as on a full disk, ends it with status 2."""
    collect_later()  # a command loads libraries first; `Output.progress` ends this
    never_raise()
    try:
        app()
    except SystemExit as end:
        sys.exit(flushed(end.code))
    except OSError as error:
        if error.errno not in FULL or error.filename is not None:  # files have their own sentences
            raise
        sys.exit(flushed(2, error))
