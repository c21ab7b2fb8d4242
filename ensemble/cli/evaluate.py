"""``ens evaluate``: score a model on labelled images that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Data, Decide, DecideFrom, Device, Plugins, Quiet, Runs, Tta
from ensemble.cli.train import score_line
from ensemble.core.formatting import counted, percent

if TYPE_CHECKING:
    from rich.console import Group

    from ensemble.inference.evaluate import Evaluated

EXAMPLE = "Example:  ens evaluate learned-3-1a2b3c camvid/ --part test"


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Member or ensemble: name, unique beginning, STUDY:LABEL or path; or a bundle.")
    ],
    data: Data,
    *,
    part: Annotated[
        str | None,
        typer.Option(
            help="test: labelled test images; val: images held out of the training (of other data: their validation"
            " part); vault: images set aside by `ens data split --vault`, each look is recorded for good; all: all"
            " labelled images of other data (default: test if they have labels, else val of its own data, else all).",
            metavar="PART",
        ),
    ] = None,
    tta: Tta = None,
    decide: Decide = None,
    decide_from: DecideFrom = None,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="CSV file for the scores, one a line.", rich_help_panel=OUTPUT, metavar="FILE"),
    ] = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Score a member or an ensemble on labelled images that it was not trained on, as a row of `ens results`."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.inference.evaluate import check_table, write_table
    from ensemble.inference.evaluate import evaluate as evaluate_on

    if out is not None:
        check_table(out)
    with output.progress() as progress:
        found = evaluate_on(
            model,
            data,
            part=part,
            tta=tta,
            decide=decide,  # pyright: ignore[reportArgumentType]  (checked there)
            decide_from=decide_from,  # pyright: ignore[reportArgumentType]
            device=device,
            runs=runs,
            progress=progress,
            on_note=output.note,
        )
    _print(found, output)
    if out is not None:
        write_table(found, out)
    output.result(str(found.path), _content(found))


def _print(found: Evaluated, output: Output) -> None:
    """Print the scores and those of each class."""
    from ensemble.cli.tables import table
    from ensemble.evaluation.caveats import too_few_groups

    scores, settings = found.scores, found.settings
    images = f"{counted(scores['images'], 'image')} of {counted(scores['groups'], 'group')}"
    output.say(
        f"[bold]{escape(settings.model)}[/] on {escape(settings.data)}: {images}, {settings.part}, native pixels"
    )
    few = too_few_groups(scores["groups"])
    rows = [
        (
            name,
            percent(value),
            *(("", "") if few else _limits(scores, "iou", name)),
            *(percent(scores[each][name]) for each in ("dice_per_class", "ece_per_class")),
            "-" if scores["brier_per_class"][name] is None else f"{scores['brier_per_class'][name]:.3f}",
        )
        for name, value in scores["iou"].items()
    ]
    output.say(table("", ("class", "IoU %", "low", "high", "Dice %", "ECE %", "Brier"), rows))
    output.say(object_table(scores))
    output.say(score_line(scores, settings.values))
    output.say(escape("  " + "; ".join(_robust(scores))))
    if few:
        output.say(f"[dim]{escape(few)}[/]")


def _limits(scores: dict[str, Any], score: str, name: str) -> tuple[str, str]:
    return percent(scores[f"{score}_low"][name]), percent(scores[f"{score}_high"][name])


def object_table(scores: dict[str, Any]) -> Group:
    """Return a row per class: whether its objects are found, whether the predicted ones are right, and their sizes."""
    from ensemble.cli.tables import table
    from ensemble.evaluation.caveats import too_few_groups
    from ensemble.evaluation.objects import SIZES

    few, counts = too_few_groups(scores["groups"]), scores["objects"]
    rows = [
        (
            name,
            str(one["true"]),
            *(percent(scores[f"object_{each}_per_class"][name]) for each in ("recall", "precision", "f1")),
            *(("", "") if few else _limits(scores, "object_f1_per_class", name)),
            *(f"{one[size]['found']} of {one[size]['true']}" if one[size]["true"] else "-" for size in SIZES),
        )
        for name, one in counts.items()
    ]
    sizes = ", ".join(f"{size} from {fewest}" for size, fewest in SIZES.items() if fewest)
    title = (
        "objects: connected regions; found and right: an IoU of at least 0.5 with one of the other side;"
        f" sizes in pixels: {sizes}"
    )
    return table(title, ("class", "true", "found %", "right %", "F1 %", "low", "high", *SIZES), rows)


def _robust(scores: dict[str, Any]) -> list[str]:
    """Return the mean IoU of images, and that without the classes or the group that decide."""
    found = [f"image-level mIoU {percent(scores['image_miou'])} %"]
    if scores["miou_without_rare"] is not None:
        found.append(f"mIoU without {', '.join(scores['rare_classes'])} {percent(scores['miou_without_rare'])} %")
    if (group := scores["deciding_group"]) is not None:
        found.append(f"one group decides: mIoU without '{group}' {percent(scores['miou_without_group'])} %")
    return found


def _content(found: Evaluated) -> dict[str, Any]:
    about = found.settings
    return {
        "path": str(found.path), "model": about.model, "data": about.data, "part": about.part, "scores": found.scores,
    }  # fmt: skip
