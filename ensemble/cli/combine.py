"""``ens combine``: combine members and judge the ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.combine_tables import compare_all, show_combination
from ensemble.cli.console import AFTER_TABLE, Output
from ensemble.cli.options import OUTPUT, AsJson, Plugins, Quiet, Runs
from ensemble.core.errors import EnsError

METHOD, CHEAPER, SCORING = "Method", "Cheaper predictions", "Scoring"
KEEP_GAIN = 0.95  # of a cascade
EXAMPLE = (
    "Example:  ens combine --method learned    or    ens combine --all-methods    or    ens combine --method"
    ' "greedy(bags=20)" --top 5    or    ens combine MEMBER MEMBER --method "weighted(weights=[2, 1])"'
)


def combine(
    members: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MEMBERS",
            help="Names, unique beginnings, STUDY:LABEL or paths (default: all members of the newest data).",
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="MEMBER", help="Member to leave out; may be repeated.", rich_help_panel="Members"),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Number of members to keep, the best by mIoU.", rich_help_panel="Members"
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help='Method of `ens list methods`, with options in brackets: "greedy(bags=20)" (default: learned).',
            rich_help_panel=METHOD,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table (CSV) of your weights, instead of a method: columns 'member' and 'weight', or 'member' and one"
            " per class; its members are combined if no MEMBERS are named.",
            rich_help_panel=METHOD,
        ),
    ] = None,
    calibrate: Annotated[
        str,
        typer.Option(
            metavar="WHERE",
            help="Temperatures to fit: none, members (before the method), pool (after it) or both.",
            rich_help_panel=METHOD,
        ),
    ] = "none",
    decide: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="Decision: argmax; expected-iou or expected-dice (the class maps with the largest expected mean IoU or"
            " Dice, from the probabilities alone); or offsets (a bonus per class, fitted to maximise mIoU).",
            rich_help_panel=METHOD,
        ),
    ] = "argmax",
    decide_from: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Images whose expected scores decide: validation (those of the fit), or images (those that are"
            " predicted, all together).",
            rich_help_panel=METHOD,
        ),
    ] = "validation",
    smallest_object: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Pixels of the smallest object (connected region of a class) that stays in class maps, or auto: a"
            " number per class, fitted to maximise mIoU. Holes are objects of another class (default: all stay).",
            rich_help_panel=METHOD,
        ),
    ] = None,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="BUDGET",
            help="What predicting one image may cost: 20ms (measured here, member by member) or 2GFLOPs. The best"
            " members and weights within it are combined.",
            rich_help_panel=CHEAPER,
        ),
    ] = None,
    within_by: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="What the best members of --within are: those with the largest miou, or the smallest log-loss, for"
            " probabilities (default: miou).",
            rich_help_panel=CHEAPER,
        ),
    ] = None,
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Early exit: members run one after another, and an image that is sure enough needs no more of them.",
            rich_help_panel=CHEAPER,
        ),
    ] = False,
    keep_gain: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the gain in log-loss over the best member that --cascade keeps (default: 0.95).",
            rich_help_panel=CHEAPER,
        ),
    ] = None,
    all_methods: Annotated[
        bool,
        typer.Option(
            "--all-methods", help="Comparison of all methods in one table, not saved.", rich_help_panel=METHOD
        ),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(metavar="K", min=2, help="Folds of the cross-fitted score (default: 5).", rich_help_panel=SCORING),
    ] = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    picture: Annotated[
        bool,
        typer.Option(
            "--picture/--no-picture", help="Examples of the ensemble's masks in examples.png.", rich_help_panel=OUTPUT
        ),
    ] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Combine members, score the ensemble on images it was not fitted on, and give a verdict.

    Weights, temperatures, offsets, and the choice of members and method are fitted fold by fold, without the images
    that they are scored on. The score on the images of the fit is printed as well. The best member has two columns: the
    one with * is picked on other images, so its score is honest; the named one is the best on these images.
    """
    output = Output(quiet=quiet, as_json=as_json)
    settings: dict[str, Any] = {
        "calibrate": calibrate,
        "decide": decide,
        "decide_from": decide_from,
        "smallest_object": int(smallest_object) if smallest_object and smallest_object.isdecimal() else smallest_object,
        "top": top,
        "drop": drop or (),
        "folds": folds,
    }
    if keep_gain is not None and not cascade:
        raise EnsError("expected --cascade with --keep-gain, got --keep-gain alone; add --cascade, or leave it out")
    if within_by is not None and within is None:
        raise EnsError("expected --within with --within-by, got --within-by alone; add a budget, or leave it out")
    if all_methods:
        ignored = {"method": method, "weights": weights, "within": within, "cascade": cascade or None}
        for name, value in ignored.items():
            if value is not None:
                shown = f"--{name}" if value is True else f"--{name} {value}"
                output.note(f"--all-methods compares all methods, so {shown} is not used", AFTER_TABLE)
        compare_all(members or [], settings, runs, output)
        return
    from ensemble.combining.combine import combine as combine_from

    with output.progress() as progress:
        budget = None
        if within is not None:
            from ensemble.inference.member_costs import measure_budget

            by = within_by or "miou"
            budget = measure_budget(within, members or (), by=by, drop=drop or (), runs=runs, progress=progress)
        combination = combine_from(
            members or (),
            method=method,
            weights=weights,
            within=budget,
            keep_gain=(KEEP_GAIN if keep_gain is None else keep_gain) if cascade else None,
            runs=runs,
            progress=progress,
            **settings,
        )
    show_combination(combination, output)
    if combination.removed:
        output.say(escape(f"removed, because the ensemble has changed: {', '.join(combination.removed)}"))
    if picture:
        from ensemble.report.figures import draw_examples

        drawn = draw_examples(combination.ensemble, combination.aligned, combination.fitted)
        output.say(
            f"picture: {escape(str(drawn))}"
            if drawn
            else "no picture: the data was not found where the members read it"
        )
    ensemble = combination.ensemble
    content = {"path": str(ensemble.path), "name": ensemble.name, "scores": ensemble.scores, "looks": combination.looks}
    output.result(str(ensemble.path), content)
