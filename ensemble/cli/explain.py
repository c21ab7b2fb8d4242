"""``ens explain``: why an ensemble works, in tables, pictures and one sentence."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.explanation.result import Explanation

EXAMPLE = "Example:  ens explain learned-8-1a2b3c    or    ens explain runs/ensembles/learned-8-1a2b3c --out why"
MOST_PAIRS = 10


def explain(
    ensemble: Annotated[str, typer.Argument(help="Ensemble: name, unique beginning, STUDY:LABEL or path.")],
    runs: Runs = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for pictures and tables (default: `explain` in the folder of the ensemble).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Pictures (PNG) and tables (CSV).", rich_help_panel=OUTPUT)
    ] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Explain an ensemble: how different its members are, what each adds, which to drop, and where it is unsure."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.explanation.explain import explain as explain_ensemble
    from ensemble.runs.folder import find_run

    path = find_run(ensemble, runs)
    written: list[Path] = []
    with output.progress() as progress:
        explanation = explain_ensemble(path, progress=progress)
        if picture:
            from ensemble.report.write_explanation import write_explanation

            written = write_explanation(explanation, out or path / "explain", progress)
    show_explanation(explanation, output)
    if written:
        output.say(escape(f"{len(written)} pictures and tables in {written[0].parent}"))
    tables = {
        name: table.astype(object).where(table.notna(), None).to_dict(orient="records")
        for name, table in explanation.tables.items()
    }
    content = {"name": explanation.name, "sentence": explanation.sentence, "files": [str(file) for file in written]}
    output.result(explanation.sentence, {**content, "sampled_pixels": explanation.sampled, "tables": tables})


def show_explanation(explanation: Explanation, output: Output) -> None:
    """Print all tables; scores are in %, differences in points."""
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent
    from ensemble.evaluation.caveats import RARE_NOTE

    systems = explanation.systems
    rows = [[row[0], *map(percent, row[1:])] for row in systems.itertuples(index=False)]
    title = f"{explanation.name}: IoU in %; the ensemble is cross-fitted; the oracle is right where any member is right"
    output.say(table(title, ["", "mIoU", "accuracy", *explanation.classes], rows))
    output.say(_pairs(explanation))
    title = "log-loss in nats: members - diversity = geometric; members - ambiguity = average; ensemble: in-sample"
    names = ["members", "diversity", "geometric", "ambiguity", "average", "ensemble"]
    rows = [
        [row["class"], *(_number(row[name], 3) for name in names)] for row in explanation.log_loss.to_dict("records")
    ]
    output.say(table(title, ["", *names], rows))
    for measure, meaning in (
        ("shapley", "Shapley value, from no member (the most frequent class everywhere) to all of them"),
        ("leave-one-out", "average of all minus average of the others"),
    ):
        output.say(_contributions(explanation, measure, meaning))
    if any(explanation.rare):
        output.say(f"[dim]{RARE_NOTE}[/]")
    output.say(_dropping(explanation))
    if explanation.contribution.reason:
        output.say(f"  {explanation.contribution.reason}")
    uncertainty = explanation.uncertainty
    shares = [str(column) for column in uncertainty if str(column).startswith("errors_in_top_")]
    rows = [
        [row["score"], percent(row["aurc"]), *(percent(row[name]) for name in shares)]
        for row in uncertainty.to_dict("records")
    ]
    error = percent(float(uncertainty["chance_aurc"].iloc[0]))
    title = f"share of the ensemble's errors (%) in its most uncertain pixels; {error} % of all pixels are wrong"
    output.say(table(title, ["", "AURC", *(name.removeprefix("errors_in_top_") for name in shares)], rows))
    rows = [
        [
            row["system"],
            percent(row["ece"]),
            f"{row['log_loss']:.3f}",
            f"{row['temperature']:.2f}",
            percent(row["ece_after"]),
            f"{row['log_loss_after']:.3f}",
        ]
        for row in explanation.calibration.to_dict("records")
    ]
    title = "calibration before and after a temperature that was fitted on the other half of the images"
    output.say(table(title, ["", "ECE %", "log-loss", "T", "ECE % after", "log-loss after"], rows))


def _pairs(explanation: Explanation) -> object:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    rows = [
        [
            row["member"],
            row["other"],
            percent(row["disagreement"]),
            _number(row["error_correlation"], 2),
            percent(row["double_fault"]),
            _number(row["q_statistic"], 2),
        ]
        for row in explanation.pairwise.to_dict("records")[:MOST_PAIRS]
    ]
    more = (
        f", the {MOST_PAIRS} most similar of {len(explanation.pairwise)}"
        if len(explanation.pairwise) > MOST_PAIRS
        else ""
    )
    columns = ["", "", "disagree %", "error correlation", "both wrong %", "Q"]
    return table(f"pairs of members{more}", columns, rows, left=2)


def _contributions(explanation: Explanation, measure: str, meaning: str) -> object:
    from ensemble.cli.tables import table
    from ensemble.evaluation.caveats import RARE

    part = explanation.contributions[explanation.contributions["measure"] == measure]
    values = part.pivot(index="member", columns="target", values="value")
    whole = part.query("target == 'miou'").set_index("member")
    rows: list[list[str]] = []
    for name in explanation.members:
        mine = whole.loc[name].to_dict()
        per_class = (
            f"{RARE if rare else ''}{_with_interval(float(values.loc[name, target]))}"  # pyright: ignore[reportArgumentType]
            for target, rare in zip(explanation.classes, explanation.rare, strict=True)
        )
        rows.append([name, _with_interval(mine["value"], mine["low"], mine["high"]), *per_class])
    level = "no interval" if explanation.contribution.reason else "95 % interval"
    title = f"{meaning}, points of the average's IoU, {level} ({explanation.sampled} labelled pixels)"
    return table(title, ["", "mIoU", *explanation.classes], rows)


def _dropping(explanation: Explanation) -> object:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    rows = [
        [
            row["dropped"],
            percent(row["miou"]),
            _with_interval(row["change"], row["low"], row["high"]),
            f"{row['parameters_left'] / 1e6:.1f}" if row["parameters_left"] >= 0 else "-",
            "" if explanation.contribution.reason else "yes" if row["no_loss"] else "no",
        ]
        for row in explanation.dropping.to_dict("records")
    ]
    columns = ["dropped", "mIoU left", "change", "parameters left (M)", "without loss"]
    return table("members dropped one after the other; each step drops the one that costs least", columns, rows)


def _number(value: float, digits: int) -> str:
    """Return a number, or ``-`` if nothing can be said."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _with_interval(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Return a difference in points, with its limits if it has some; ``-`` if nothing can be said."""
    if math.isnan(value):
        return "-"
    limits = "" if math.isnan(low) else f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return f"{100 * value:+.2f}{limits}"
