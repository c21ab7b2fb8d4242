"""``ens data``: look at data before training."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Augment, Background, Data, ImageSize, Quiet, Runs
from ensemble.core.errors import EnsError

EXAMPLE = "Example:  ens data summary mars.npz"
CHECK_EXAMPLE = (
    "Example:  ens data check mars.npz    then    ens train mars.npz --exclude suspects.csv:repeated-mask ..."
)
PREVIEW_EXAMPLE = "Example:  ens data preview mars.npz --augment 'geometric + copy-paste' --out preview.png"


def summary(
    data: Data = "sample",
    background: Background = None,
    image_size: ImageSize = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Shapes, class shares, images per class, void, duplicates, groups and suggested class weights."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table
    from ensemble.config import DataSettings
    from ensemble.data import open_dataset
    from ensemble.data.summary import summarise

    with output.progress() as progress:
        found = summarise(
            open_dataset(
                DataSettings(source=str(data), background=cast(Any, background), image_size=cast(Any, image_size))
            ),
            progress,
        )
    if as_json:
        output.result("", asdict(found))
        return
    bands, height, width = found.shape
    kind = {"void": "void", "class": "a class", "zero-weight": "an output of weight zero"}[found.background]
    facts = [
        ("images", f"{found.images} labelled, {found.test_images} unlabelled"),
        ("size", f"{height}x{width}, {bands} band(s), {found.dtype}"),
        ("class 0 is", f"{kind} (--background {found.background})"),
        ("pixels without label", f"{100 * found.void_share:.1f} %; {found.all_void_images} images are void throughout"),
        ("groups", f"{found.groups} ({'given' if found.groups_given else 'near-duplicates by perceptual hash'})"),
        ("images with the hash of another", str(found.near_duplicates)),
        ("masks that repeat another", f"{found.repeated_masks} (uniform terrain repeats naturally)"),
        ("data hash", found.data_hash),
    ]
    output.console.print(table(found.name, ("", ""), facts, left=2))
    columns = ("class", "id", "pixels %", "images", "groups", "suggested weight")
    per_class = zip(
        found.classes,
        found.values,
        (f"{100 * share:.2f}" for share in found.pixel_shares),
        found.images_per_class,
        found.groups_per_class,
        found.class_weights,
        strict=True,
    )
    output.console.print(table("", columns, per_class))


def preview(
    data: Data = "sample",
    *,
    augment: Augment = "flips",
    out: Annotated[Path, typer.Option(help="The picture to write, as PNG.")] = Path("preview.png"),
    count: Annotated[int, typer.Option(min=1, max=64, help="Images to show.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images shown and of what happens to them.")] = 0,
    background: Background = None,
    image_size: ImageSize = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet of images beside what an augmentation makes of them and of their masks."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.config import DataSettings
    from ensemble.data import open_dataset
    from ensemble.data.augmentation.expression import describe_augmentation, resolve_augmentation, try_augmentation
    from ensemble.report.figures.augmentation_preview import draw_preview

    if out.suffix.lower() != ".png":
        raise EnsError(f"expected a picture that ends in .png as --out, got {out}")
    content = resolve_augmentation(augment)
    dataset = open_dataset(
        DataSettings(source=str(data), background=cast(Any, background), image_size=cast(Any, image_size))
    )
    try_augmentation(content, dataset.images([0])[0])
    rows = draw_preview(dataset, content, out, count=count, seed=seed)
    ids = [dataset.ids[row] for row in rows]
    output.result(str(out), {"path": str(out), "augmentation": describe_augmentation(content), "images": ids})


def check(
    data: Data = "sample",
    *,
    out: Annotated[Path, typer.Option(help="Folder for suspects.csv and suspects.png.")] = Path(),
    members: Annotated[
        list[str] | None, typer.Option("--member", help="Members whose predictions masks are held against (all).")
    ] = None,
    runs: Runs = Path("runs"),
    background: Background = None,
    image_size: ImageSize = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find outliers, copies, masks that repeat too often, nearly void images and masks that all members contradict."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table
    from ensemble.config import DataSettings
    from ensemble.data.cleaning.checks import REASONS
    from ensemble.report.check_data import check_data

    settings = DataSettings(source=str(data), background=cast(Any, background), image_size=cast(Any, image_size))
    with output.progress() as progress:
        found = check_data(settings, out=out, members=members, runs=runs, progress=progress)
    counts = Counter(suspect.reason for suspect in found.suspects)
    rows = [(reason, what, counts[reason]) for reason, what in REASONS.items()]
    title = f"{found.dataset.name}: {len(found.dataset.ids)} images"
    output.say(table(title, ("reason", "what it is", "images"), rows, left=2))
    if not found.members:
        output.say("[dim]members-disagree needs members trained on these data; run it again when there are some[/]")
    output.say(f"picture: {found.picture}")
    content = {"path": str(found.table), "picture": str(found.picture), "suspects": [asdict(s) for s in found.suspects]}
    output.result(str(found.table), content)
