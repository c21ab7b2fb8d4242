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
    from ensemble.inference.evaluate import Evaluated

EXAMPLE = "Example:  ens evaluate learned-3-1a2b3c camvid/ --part test"


def evaluate(
    model: Annotated[str, typer.Argument(help="Member or ensemble: name, unique beginning of its name, or path.")],
    data: Data,
    *,
    part: Annotated[
        str | None,
        typer.Option(
            help="test: labelled test images; val: images held out of the training (of other data: their validation"
            " part); all: all labelled images of other data (default: test if they have labels, else val of its own"
            " data, else all).",
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
            on_note=lambda note: output.say(f"  note    {escape(note)}"),
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
        (name, percent(value), *(("", "") if few else _limits(scores, name)), percent(scores["dice_per_class"][name]))
        for name, value in scores["iou"].items()
    ]
    output.say(table("", ("class", "IoU %", "low", "high", "Dice %"), rows))
    output.say(score_line(scores, settings.values))
    if few:
        output.say(f"[dim]{escape(few)}[/]")


def _limits(scores: dict[str, Any], name: str) -> tuple[str, str]:
    return tuple(percent(scores[f"iou_{end}"][name]) for end in ("low", "high"))  # pyright: ignore[reportReturnType]


def _content(found: Evaluated) -> dict[str, Any]:
    about = found.settings
    return {
        "path": str(found.path), "model": about.model, "data": about.data, "part": about.part, "scores": found.scores,
    }  # fmt: skip
