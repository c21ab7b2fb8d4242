"""Decide, before anything is predicted, which files predictions go to, and find every mistake that can be foreseen."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import check_folder, check_names
from ensemble.core.reading import is_folder
from ensemble.data.formats.pixels import natural_span
from ensemble.inference import georeference
from ensemble.inference.bands import check_bands, conversion_note
from ensemble.inference.image_sources import Head, Images
from ensemble.inference.large_files import check_large
from ensemble.inference.predictor import Predictor
from ensemble.inference.replaceable import ADVICE, check_replaceable
from ensemble.inference.uncertainty_maps import check_uncertainty

Form = Literal["png", "tif", "npz", "csv", "rle"]
FORMS: tuple[Form, ...] = ("png", "tif", "npz", "csv", "rle")
ENDINGS: dict[str, Form] = {".png": "png", ".tif": "tif", ".tiff": "tif", ".npz": "npz", ".csv": "csv"}
PROBABILITIES, SETS = "probabilities", "sets"
QUALITY = "quality.csv"


@dataclass(frozen=True)
class OutputPlan:
    """Where predictions go.

    Attributes:
        form: form of the masks; in a folder of PNG files, GeoTIFFs have GeoTIFFs as masks.
        place: the file or folder.
        masks: file of each image; None if one file holds all.
        probabilities: whether probabilities are written, too.
        uncertainty: kinds of maps of uncertainty that are written, too.
        sets: whether class sets are written, too.
        quality: file of the estimated quality; None if it is not asked for.
        instances: whether run lengths are those of objects.
        geo: georeference of an image by its row.
        notes: sentences about what is changed or not kept.
    """

    form: Form
    place: Path
    masks: tuple[Path, ...] | None
    probabilities: bool = False
    uncertainty: tuple[str, ...] = ()
    sets: bool = False
    quality: Path | None = None
    instances: bool = False
    geo: dict[int, georeference.GeoReference] = field(default_factory=dict[int, georeference.GeoReference])
    notes: tuple[str, ...] = ()

    @property
    def more(self) -> tuple[str, ...]:
        """What is written in addition to the masks."""
        return (*(PROBABILITIES,) * self.probabilities, *self.uncertainty, *(SETS,) * self.sets)

    def files_of(self, row: int) -> dict[str, Path]:
        """Return the files of one image that are next to its mask, by what they hold; an npz holds everything."""
        assert self.masks is not None
        mask = self.masks[row]
        return {} if self.form == "npz" else {kind: mask.with_name(f"{mask.stem}.{kind}.tif") for kind in self.more}


def plan_output(
    predictor: Predictor,
    images: Images,
    out: Path,
    *,
    form: str | None = None,
    probabilities: bool = False,
    uncertainty: Sequence[str] = (),
    quality: bool = False,
    instances: bool = False,
) -> OutputPlan:
    """Check the heads of all images and the place of the output, and return where each prediction goes.

    Args:
        predictor: the member or ensemble; if it has class sets, these are written, too.
        images: the images.
        out: ``FILE.png`` or ``FILE.tif`` (one image), ``FILE.npz``, ``FILE.csv`` or a folder.
        form: one of `FORMS`; by default the ending of ``out`` decides, and a folder holds PNG files.
        probabilities: write probabilities, too.
        uncertainty: kinds of maps of uncertainty to write, too.
        quality: write a table of the estimated quality, too.
        instances: write run lengths per object.

    Raises:
        EnsError: there are no images, an image does not fit the model, two images would share a file, the form does
            not fit the ending, more than the mask of a large image is asked for, the maps of uncertainty are unknown or
            need several members, or the place holds files that `ens predict` did not write.
    """
    kind = _form(out, form)
    if instances and kind != "rle":
        raise EnsError(f"objects are written as run lengths, but the form is {kind}; choose the form rle")
    check_uncertainty(uncertainty, predictor)
    sets = predictor.in_set_c is not None
    if (probabilities or uncertainty or sets) and kind in ("csv", "rle"):
        what = PROBABILITIES if probabilities else "maps of uncertainty" if uncertainty else "class sets"
        raise EnsError(f"{kind} holds masks only, but {what} were asked for; write an npz, or a folder")
    if not images.ids:
        raise EnsError("there are no images to predict; an npz needs a test_set with at least one image")
    heads = [images.head(row) for row in range(len(images.ids))]
    notes = [check_heads(predictor, images, heads)]
    if (probabilities or uncertainty or sets or quality) and kind in ("png", "tif"):
        for row, head in enumerate(heads):
            check_large(head, images.name(row))
    place, masks = out, None
    sizes = {(head.height, head.width) for head in heads}
    if out.suffix.lower() in (".png", ".tif", ".tiff"):
        if len(heads) > 1:
            raise EnsError(f"{out.name} holds the mask of one image, but {len(heads)} images came; give a folder")
        masks = (out,)
    elif not out.suffix or (len(sizes) > 1 and kind in ("npz", "csv")):
        place = out.with_suffix("")
        if out.suffix:
            (a, b), (c, d) = sorted(sizes)[0], sorted(sizes)[-1]
            notes.append(
                f"the images have {len(sizes)} sizes ({a}x{b} to {c}x{d}), which one {kind} cannot hold: {place}/ holds"
                f" one {kind} per image"
            )
        masks = _files(images, place, kind)
    geo, note = _georeferences(images, kind, out)
    if masks and kind == "png" and place is not masks[0]:
        masks = tuple(file.with_suffix(".tif") if row in geo else file for row, file in enumerate(masks))
    maps = tuple(dict.fromkeys(uncertainty))
    found, table = tuple(filter(None, [*notes, note])), quality_file(place) if quality else None
    plan = OutputPlan(kind, place, masks, probabilities, maps, sets, table, instances, geo, found)
    _check_place(plan)
    return plan


def quality_file(place: Path) -> Path:
    """Return ``quality.csv`` in a folder, ``NAME.quality.csv`` next to a file."""
    return place.with_name(f"{place.stem}.{QUALITY}") if place.suffix else place / QUALITY


def _form(out: Path, form: str | None) -> Form:
    """Return the form, from the argument or the ending."""
    ending = out.suffix.lower()
    if ending and ending not in ENDINGS:
        raise EnsError(
            f"expected an output that ends in {', '.join(ENDINGS)}, or a folder without an ending, got {out}; choose"
            " one of these"
        )
    if form is None:
        return ENDINGS.get(ending, "png")
    if form not in FORMS:
        raise UnknownName("form of predictions", form, FORMS)
    if form == "rle" and ending != ".csv":
        raise EnsError(f"run lengths of all images go to one FILE.csv, got {out}; give such a file")
    if ending and ENDINGS[ending] != form and form != "rle":
        raise EnsError(f"the ending of {out} does not fit the form {form}; change one of them")
    return form


def check_heads(predictor: Predictor, images: Images, heads: Sequence[Head]) -> str | None:
    """Check the bands and types of all images by their heads; return a sentence about images that are converted.

    Raises:
        EnsError: an image does not fit the model; the text names it.
    """
    facts, converted = predictor.facts, list[str]()
    for row, head in enumerate(heads):
        check_bands(head.bands, facts.bands, images.name(row), predictor.name)
        if natural_span(head.dtype) not in (None, facts.span):
            raise EnsError(
                f"expected pixels in the units of the training images, {facts.span[0]:g} to {facts.span[1]:g}, got"
                f" {head.dtype} in {images.name(row)}; convert them"
            )
        if head.bands != facts.bands:
            converted.append(images.ids[row])
    return conversion_note(converted, facts.bands)


def _files(images: Images, folder: Path, form: Form) -> tuple[Path, ...]:
    """Return a file per image; names that some file systems take for the same are refused."""
    files, taken = list[Path](), dict[str, int]()
    for row, name in enumerate(images.ids):
        file = folder / f"{name}.{form}"
        key = unicodedata.normalize("NFC", str(file)).casefold()
        if key in taken:
            raise EnsError(
                f"the predictions of {images.name(taken[key])} and {images.name(row)} would have the same name"
                f" {file.name}; rename one"
            )
        taken[key] = row
        files.append(file)
    return tuple(files)


def _georeferences(images: Images, form: Form, out: Path) -> tuple[dict[int, georeference.GeoReference], str | None]:
    """Return the georeferences by row, and a sentence if they cannot be kept."""
    files = images.files or ()
    rows = [row for row, file in enumerate(files) if georeference.is_geotiff(file)]
    if not rows:
        return {}, None
    several = "s" * (len(rows) > 1)
    if form not in ("png", "tif") or out.suffix.lower() == ".png":
        kind = "a csv" if form == "rle" else f"{'an' if form == 'npz' else 'a'} {form}"
        return {}, f"{kind} cannot hold the georeference of {len(rows)} GeoTIFF{several}; write a folder, or FILE.tif"
    if georeference.rasterio() is None:
        return {}, georeference.MISSING.format(count=len(rows), s=several)
    return {row: georeference.read_georeference(files[row]) for row in rows}, None


def _check_place(plan: OutputPlan) -> None:
    """Check that the output can be written, and that it replaces nothing but predictions."""
    masks = plan.masks or (plan.place,)
    more = [plan.files_of(row) for row in range(len(plan.masks or ()))]
    for file in (*masks, *(file for files in more for file in files.values())):
        check_names(file)
    one = masks == (plan.place,)
    check_folder(plan.place.parent if one else plan.place)
    check_replaceable(plan.place)
    for file in more[0].values() if one and plan.masks else ():
        check_replaceable(file)
    if plan.quality is not None:
        if plan.quality in masks:
            raise EnsError(
                f"{QUALITY} would hold the mask of an image and the table of quality; rename the image, or leave the"
                " quality out"
            )
        check_names(plan.quality)
        check_replaceable(plan.quality)
    if plan.form == "csv" and plan.masks and is_folder(plan.place) and any(plan.place.iterdir()):
        raise EnsError(f"expected a new folder for one csv per image, but {plan.place} holds files; {ADVICE}")
