"""``ens import-member``: predictions of another tool become a member."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.cli.train import score_line

if TYPE_CHECKING:
    from ensemble.importing import Imported

EXAMPLE = (
    "Example:  ens import-member nnunet_predictions/ --name nnunet --data mars.npz --ids cases.csv --like unet-ce-s0"
)


def import_member(
    predictions: Annotated[
        Path, typer.Argument(help="FILE.npz, FILE.npy, zarr, or a folder with an npz, npy or PNG class map per image.")
    ],
    *,
    name: Annotated[str, typer.Option(help="Name of the member.")],
    data: Annotated[str, typer.Option(help="An npz file, a folder with images/ and masks/, or 'sample'.")] = "sample",
    like: Annotated[
        str | None, typer.Option(help="Member whose settings of the data and split to take (the newest of these data).")
    ] = None,
    split: Annotated[str, typer.Option(help="val: the images that members are scored on.")] = "val",
    ids: Annotated[
        Path | None, typer.Option(help="CSV that names the images: column id or row (and file, for a folder).")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Predictions of the unlabelled test images.")] = None,
    test_ids: Annotated[Path | None, typer.Option(help="CSV that names the images of --test.")] = None,
    logits: Annotated[
        bool, typer.Option("--logits", help="The numbers are logits (not needed where the array is called so).")
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(help="scored classes, or all ids with background, which is dropped (told by their number)."),
    ] = None,
    arch: Annotated[str, typer.Option(help="Architecture, for the results table.")] = "imported",
    loss: Annotated[str, typer.Option(help="Loss, for the results table.")] = "unknown",
    folds: Annotated[int | None, typer.Option(help="Split into K folds as ens train does, instead of --like.")] = None,
    val_fraction: Annotated[
        float | None, typer.Option(help="Hold out this share as ens train does, instead of --like.")
    ] = None,
    split_seed: Annotated[
        int | None, typer.Option(help="Seed of the split as in ens train, instead of --like.")
    ] = None,
    background: Annotated[str | None, typer.Option(help="What class 0 is, as in ens train, instead of --like.")] = None,
    image_size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH as in ens train, instead of --like.")] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a member of the predictions of any tool, to be listed, combined and explained like any other."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.config import data_settings
    from ensemble.importing import import_member as import_from

    given: dict[str, Any] = {"folds": folds, "val_fraction": val_fraction, "split_seed": split_seed}
    given |= {"background": background, "image_size": image_size}
    given = {option: value for option, value in given.items() if value is not None}
    with output.progress() as progress:
        done = import_from(
            predictions,
            name=name,
            data=data_settings(data, **given) if given else data,
            like=like,
            split=split,
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
    describe_import(done, output)
    member = done.member
    output.say(score_line(member.scores))
    output.result(str(member.path), {"path": str(member.path), "name": member.name, "scores": member.scores})


def describe_import(done: Imported, output: Output) -> None:
    """How the file was read, for which images, and what has to be taken on trust."""
    plan = done.plan
    target, dataset = plan.target, plan.target.dataset
    output.say(f"[bold]{done.member.name}[/]")
    made = "out-of-fold" if plan.settings.data.folds else "hold-out"
    origin = f"split of {target.like}" if target.like else "split as ens train makes it"
    output.say(f"  data    {escape(dataset.name)}: {len(target.ids)} {made} images, {escape(origin)}")
    for title, chosen in (("read", plan.validation), ("test", plan.test)):
        if chosen is None:
            continue
        reading, found = chosen.reading, chosen.predictions
        classes = ", ".join(dataset.names[value] for value in reading.ids)
        array = f"'{found.key}' of " if found.key else ""
        what = "class maps, made one-hot," if reading.kind == "class maps" else f"{reading.kind} of {reading.channels}"
        output.say(f"  {title:<8}{escape(array + found.path.name)} ({found.form}): {what} classes {escape(classes)}")
        if chosen.ignored:
            output.say(f"          {chosen.ignored} other images in it are ignored")
    output.say("  trust   that the tool did not train on these images; its score is honest only then")
    if not done.new:
        output.say("  already imported: same predictions, same data; nothing to do")
