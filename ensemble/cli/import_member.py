"""``ens import-member``: make a member of the predictions of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.cli.train import score_line

if TYPE_CHECKING:
    from ensemble.importing.import_member import Imported

READING, SPLIT = "Reading", "Data and split"
EXAMPLE = (
    "Example:  ens import-member nnunet_predictions/ --name nnunet --data mars.npz --ids cases.csv --like unet-ce-s0"
)


def import_member(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS", help="FILE.npz, FILE.npy, zarr, or a folder with a file per image (npz, npy, PNG)."
        ),
    ],
    *,
    name: Annotated[str, typer.Option(help="Name of the member.", rich_help_panel="Member")],
    arch: Annotated[
        str, typer.Option(help="Architecture for the results table.", rich_help_panel="Member")
    ] = "imported",
    loss: Annotated[str, typer.Option(help="Loss for the results table.", rich_help_panel="Member")] = "unknown",
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Table with the image of each prediction: column id or row.", rich_help_panel=READING
        ),
    ] = None,
    logits: Annotated[
        bool,
        typer.Option("--logits", help="Numbers are logits (default: if the array says so).", rich_help_panel=READING),
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="scored: a channel per scored class; all: per id of the data (default: from their number).",
            rich_help_panel=READING,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Predictions of the unlabelled test images.", rich_help_panel=READING),
    ] = None,
    test_ids: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Table with the image of each test prediction.", rich_help_panel=READING),
    ] = None,
    data: Annotated[
        str,
        typer.Option(metavar="DATA", help="Labelled data, as for `ens train`.", rich_help_panel=SPLIT),
    ] = "sample",
    like: Annotated[
        str | None,
        typer.Option(
            metavar="MEMBER",
            help="Member whose data settings and split are used (default: newest member on the same data).",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(metavar="K", help="Folds of a new split.", rich_help_panel=SPLIT)] = None,
    val_fraction: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Validation share of a new split.", rich_help_panel=SPLIT),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Split that your tool used, as `ens data split` writes it.",
            rich_help_panel=SPLIT,
        ),
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(metavar="SEED", help="Seed of a new split.", rich_help_panel=SPLIT)
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Meaning of class 0 for a new split: void, class, zero-weight.", rich_help_panel=SPLIT
        ),
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Import predictions of any tool as a member, to be listed, combined and explained like any other."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.config import DataSettings
    from ensemble.importing.import_member import import_member as import_predictions

    given: dict[str, Any] = {"folds": folds, "val_fraction": val_fraction, "split_seed": split_seed}
    given |= {"background": background, "split": None if split is None else str(split)}
    given = {option: value for option, value in given.items() if value is not None}
    with output.progress() as progress:
        imported = import_predictions(
            predictions,
            name=name,
            data=DataSettings(source=str(data), **given) if given else data,
            like=like,
            ids=ids,
            test=test,
            test_ids=test_ids,
            logits=logits,
            channels=channels,
            arch=arch,
            loss=loss,
            runs=runs,
            progress=progress,
        )
    describe_import(imported, output)
    member = imported.member
    output.say(score_line(member.scores, member.facts.values))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


def describe_import(imported: Imported, output: Output) -> None:
    """Print how the file was read, for which images, and what cannot be checked."""
    plan = imported.plan
    target, dataset = plan.target, plan.target.dataset
    output.say(f"[bold]{escape(imported.member.name)}[/]")
    protocol = "out-of-fold" if plan.settings.data.folds else "hold-out"
    origin = f"split of {target.like or target.data.split or '`ens train`'}"
    output.say(f"  data    {escape(dataset.name)}: {len(target.ids)} {protocol} images, {escape(origin)}")
    for title, part in (("read", plan.validation), ("test", plan.test)):
        if part is None:
            continue
        conversion, predictions = part.conversion, part.predictions
        classes = ", ".join(dataset.names[value] for value in conversion.ids)
        source = f"'{predictions.key}' of {predictions.path.name}" if predictions.key else predictions.path.name
        kind = f"{conversion.kind} of {conversion.channels}"
        if conversion.kind == "class maps":
            kind = "class maps, made one-hot,"
        output.say(f"  {title:<8}{escape(source)} ({predictions.form}): {kind} classes {escape(classes)}")
        if part.ignored:
            output.say(f"          {part.ignored} predictions of other images are ignored")
    output.say("  trust   the score is honest only if the tool did not train on these images")
    if not imported.new:
        output.say("  already imported: same predictions, same data; nothing to do")
