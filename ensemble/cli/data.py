"""``ens data``: look at data before training."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet

EXAMPLE = "Example:  ens data summary mars.npz"


def summary(
    data: Annotated[str, typer.Argument(help="An npz file, a folder with images/ and masks/, or 'sample'.")] = "sample",
    background: Annotated[str | None, typer.Option(help="What class 0 is: void, class or zero-weight.")] = None,
    image_size: Annotated[str | None, typer.Option(help="Resize images to HEIGHTxWIDTH, such as 64x128.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Shapes, class shares, images per class, void, duplicates, groups and suggested class weights."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.api import data_settings
    from ensemble.cli.tables import table
    from ensemble.data import open_dataset
    from ensemble.data.audit import summarise

    with output.progress() as tick:
        found = summarise(open_dataset(data_settings(data, background=background, image_size=image_size)), tick)
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
