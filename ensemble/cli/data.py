"""``ens data``: examine data before training."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape

from ensemble.cli.console import AFTER_TABLE, Output
from ensemble.cli.options import BACKGROUND_IS, AsJson, Augment, Background, Data, Device, Plugins, Quiet, Runs
from ensemble.core.errors import EnsError
from ensemble.core.formatting import counted, in_percent

if TYPE_CHECKING:
    from ensemble.config import DataSettings

EXAMPLE = "Example:  ens data summary mars.npz"
DESCRIBE_EXAMPLE = "Example:  ens data describe camvid --out camvid.toml    then    ens train camvid.toml"
SPLIT_EXAMPLE = (
    "Example:  ens data split street --folds 5 --out folds.csv    then    ens train street --split folds.csv"
)
CHECK_EXAMPLE = (
    "Example:  ens data check mars.npz    then    ens train mars.npz --exclude suspects.csv:repeated-mask ..."
)
NEXT_EXAMPLE = "Example:  ens data next photos/ --members unet-ce pspnet --n 20 --out next/"
PREVIEW_EXAMPLE = "Example:  ens data preview mars.npz --augment 'geometric + copy-paste' --out preview.png"


def describe(
    data: Annotated[str, typer.Argument(help="Folder or npz file.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="New TOML file to write (default: print it).", metavar="FILE")
    ] = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a description of a data set: where images and masks are, and what the values of masks mean."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.data.describe import describe as describe_data

    with output.progress() as progress:
        found = describe_data(data, out, progress)
    for note in (*found.notes, *(f"check: {doubt}" for doubt in found.doubts)):
        output.note(note)
    content = {"path": None if out is None else str(out), **asdict(found)}
    output.result(found.toml.rstrip() if out is None else str(out), content)


def split(
    data: Data = "sample",
    *,
    out: Annotated[Path, typer.Option(help="CSV file to write, with the columns id, fold or part, and group.")],
    folds: Annotated[int | None, typer.Option(min=2, help="Number of folds (default: a hold-out).")] = None,
    val_fraction: Annotated[float, typer.Option(help="Share of the images held out.")] = 0.2,
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the split.")] = 0,
    vault: Annotated[
        float | None,
        typer.Option(
            help="Share of the groups that training and combining never see; `ens evaluate --part vault` opens it"
            " (default: no vault).",
            metavar="SHARE",
        ),
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(
            help="Pattern with the site in brackets, for names of groups (or of images without groups); no site is"
            " divided, so that the score is one of unseen sites (default: groups are not divided).",
            metavar="REGEX",
        ),
    ] = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the split of a data set for other tools, or to train with --split."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.config import DataSettings
    from ensemble.data.write_split import write_split

    with output.progress() as progress:
        settings = DataSettings(source=data, folds=folds, val_fraction=val_fraction, split_seed=split_seed)
        counts = write_split(settings, out, progress, vault=vault, site=site)
    output.say("  " + ", ".join(f"{name}: {counted(number, 'image')}" for name, number in counts.items()))
    output.result(str(out), {"path": str(out), "images": counts})


def summary(
    data: Data = "sample",
    background: Background = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show sizes, class shares, images per class, void, duplicates, groups and suggested class weights."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table
    from ensemble.data import open_dataset
    from ensemble.data.summary import summarise

    with output.progress() as progress:
        facts = summarise(open_dataset(_settings(data, background), progress), progress)
    if as_json:
        output.result("", asdict(facts))
        return
    parts = f" ({', '.join(f'{number} {part}' for part, number in facts.parts.items())})" if facts.parts else ""
    test = "test images with masks" if facts.test_labelled else "unlabelled"
    rows = [
        ("images", f"{facts.images} labelled{parts}, {facts.test_images} {test}"),
        ("size", f"{facts.sizes}, {facts.bands} band(s), {facts.dtype}"),
        ("class 0 is", f"{BACKGROUND_IS[facts.background]} (--background {facts.background})"),
        ("pixels without label", f"{in_percent(facts.void_share)}; {facts.all_void_images} images are entirely void"),
        ("groups", f"{facts.groups} ({'given' if facts.groups_given else 'near-duplicates by perceptual hash'})"),
        ("images whose hash equals that of another", str(facts.near_duplicates)),
        ("masks that equal another", f"{facts.repeated_masks} (masks of uniform terrain are often equal)"),
        ("data hash", facts.data_hash),
        *(("note", note) for note in facts.notes),
    ]
    output.console.print(table(facts.name, ("", ""), rows, left=2))
    columns = ("class", "id", "pixels %", "images", "groups", "suggested weight")
    per_class = zip(
        facts.classes,
        facts.values,
        (f"{100 * share:.2f}" for share in facts.pixel_shares),
        facts.images_per_class,
        facts.groups_per_class,
        facts.class_weights,
        strict=True,
    )
    output.console.print(table("", columns, per_class))


def preview(
    data: Data = "sample",
    *,
    augment: Augment = "hflip",
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("preview.png"),
    count: Annotated[int, typer.Option(min=1, max=64, help="Number of images to show.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of images and of the augmentation.")] = 0,
    background: Background = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet of images and masks, before and after an augmentation."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.data import open_dataset
    from ensemble.data.augmentation.expression import describe_augmentation, resolve_augmentation, try_augmentation
    from ensemble.report.figures.augmentation_preview import draw_preview

    if out.suffix.lower() != ".png":
        raise EnsError(f"expected a file name that ends in .png as --out, got {out}; give for example preview.png")
    content = resolve_augmentation(augment)
    with output.progress() as progress:
        dataset = open_dataset(_settings(data, background), progress)
    try_augmentation(content, dataset.image(0))
    rows = draw_preview(dataset, content, out, count=count, seed=seed)
    ids = [dataset.ids[row] for row in rows]
    output.result(str(out), {"path": str(out), "augmentation": describe_augmentation(content), "images": ids})


def check(
    data: Data = "sample",
    *,
    out: Annotated[Path, typer.Option(help="Folder for suspects.csv and suspects.png.")] = Path(),
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--member", help="Member whose predictions are compared with the masks; repeatable (default: all members)."
        ),
    ] = None,
    runs: Runs = Path("runs"),
    background: Background = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find outliers, copies, masks that occur too often, almost void images and masks that all members contradict."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table
    from ensemble.data.cleaning.checks import REASONS
    from ensemble.report.check_data import check_data

    with output.progress() as progress:
        report = check_data(_settings(data, background), out=out, members=members, runs=runs, progress=progress)
    counts = Counter(suspect.reason for suspect in report.suspects)
    rows = [(reason, what, counts[reason]) for reason, what in REASONS.items()]
    title = f"{report.dataset.name}: {len(report.dataset.ids)} images"
    output.say(table(title, ("reason", "what it is", "images"), rows, left=2))
    if not report.members:
        output.say(
            "[dim]The check members-disagree needs members that were trained on these data; train one and run the"
            " command again.[/]"
        )
    output.say(f"picture: {escape(str(report.picture))}")
    content = {
        "path": str(report.table),
        "picture": str(report.picture),
        "suspects": [asdict(s) for s in report.suspects],
    }
    output.result(str(report.table), content)


def label_next(
    data: Annotated[
        str,
        typer.Argument(
            help="Data with test images, whose probabilities members stored when they were trained; or other images,"
            " which the members predict, as `ens predict` takes them.",
            metavar="IMAGES",
        ),
    ],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="MEMBERS", help="Further members, as after --members."),
    ] = None,
    *,
    members: Annotated[
        list[str] | None,
        typer.Option(
            "--members",
            help="Members whose disagreement counts, or an ensemble, which stands for its members: name, unique"
            " beginning or path (default: all that were trained on these data).",
            metavar="MEMBERS",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--n", min=1, help="Number of images to choose.", metavar="N")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for next.csv and next.png.")] = Path(),
    device: Device = "auto",
    runs: Runs = Path("runs"),
    background: Background = None,
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Choose the images to label next: members disagree about them, and no two are alike."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.cli.tables import table
    from ensemble.report.label_next import label_next as choose

    given = [*(members or []), *(more or [])]
    with output.progress() as progress:
        found = choose(
            _settings(data, background),
            given,
            count=count,
            out=out,
            device=device,
            runs=runs,
            progress=progress,
            on_note=output.note,
        )
    rows = found.chosen.to_dict("records")
    shown = [(row["rank"], row["id"], f"{row['information']:.4f}", row["group"]) for row in rows]
    title = f"{found.name}: {len(rows)} of {found.total} images"
    output.say(table(title, ("rank", "image", "mutual information", "group"), shown, left=2))
    if len(rows) < min(count, found.total):
        output.note(f"the other images are near-duplicates of these, so fewer than {count} are chosen", AFTER_TABLE)
    output.say(f"picture: {escape(str(found.picture))}")
    content = {"path": str(found.table), "picture": str(found.picture), "members": found.members, "images": rows}
    output.result(str(found.table), content)


def _settings(data: str, background: str | None) -> DataSettings:
    from ensemble.config import DataSettings

    return DataSettings(source=data, background=cast(Any, background))
