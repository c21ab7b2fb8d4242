"""``ens explain``: why an ensemble works, in tables, pictures and one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.explain.explanation import Explanation

EXAMPLE = "Example:  ens explain learned-8-1a2b3c    or    ens explain runs/ensembles/learned-8-1a2b3c --out why"
MOST_PAIRS = 10


def explain(
    ensemble: Annotated[str, typer.Argument(help="Ensemble by name, unique beginning of its name or path.")],
    out: Annotated[Path | None, typer.Option(help="Folder for pictures and tables (explain, in the ensemble).")] = None,
    runs: Runs = Path("runs"),
    picture: Annotated[bool, typer.Option(help="Write pictures (PNG) and tables (CSV).")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Tell how different the members are, what each adds, which could go, and where the ensemble is unsure."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.explain.explain import explain as explain_ensemble
    from ensemble.runs.folder import find_run

    path = find_run(ensemble, runs)
    written: list[Path] = []
    with output.progress() as progress:
        found = explain_ensemble(path, progress=progress)
        if picture:
            from ensemble.report.explain import write_explanation

            written = write_explanation(found, out or path / "explain", progress)
    show_explanation(found, output)
    if written:
        output.say(f"{len(written)} pictures and tables in {written[0].parent}")
    tables = {
        name: table.astype(object).where(table.notna(), None).to_dict(orient="records")
        for name, table in found.tables.items()
    }
    content = {"name": found.name, "sentence": found.sentence, "files": [str(file) for file in written]}
    output.result(found.sentence, {**content, "sampled_pixels": found.sampled, "tables": tables})


def show_explanation(found: Explanation, output: Output) -> None:
    """The tables as people read them; scores in %, differences in points."""
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    systems = found.systems
    rows = [[row[0], *map(percent, row[1:])] for row in systems.itertuples(index=False)]
    title = f"{found.name}: IoU in %; the ensemble is cross-fitted; the oracle is right where any member is"
    output.say(table(title, ["", "mIoU", "accuracy", *found.classes], rows))
    output.say(_pairs(found))
    title = "log-loss in nats: members - diversity = geometric mean; members - ambiguity = average; ensemble in-sample"
    names = ["members", "diversity", "geometric", "ambiguity", "average", "ensemble"]
    rows = [[row["class"], *(f"{row[name]:.3f}" for name in names)] for row in found.log_loss.to_dict("records")]
    output.say(table(title, ["", *names], rows))
    for measure, what in (("shapley", "Shapley value"), ("leave-one-out", "average of all minus that of the others")):
        output.say(_contributions(found, measure, what))
    output.say(_dropping(found))
    uncertainty = found.uncertainty
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
        for row in found.calibration.to_dict("records")
    ]
    title = "calibration as it is, and after a temperature fitted on the other half of the images"
    output.say(table(title, ["", "ECE %", "log-loss", "T", "ECE % after", "log-loss after"], rows))


def _pairs(found: Explanation) -> object:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    rows = [
        [
            row["member"],
            row["other"],
            percent(row["disagreement"]),
            f"{row['error_correlation']:.2f}",
            percent(row["double_fault"]),
            f"{row['q_statistic']:.2f}",
        ]
        for row in found.pairwise.to_dict("records")[:MOST_PAIRS]
    ]
    more = f", the {MOST_PAIRS} most alike of {len(found.pairwise)}" if len(found.pairwise) > MOST_PAIRS else ""
    columns = ["", "", "disagree %", "error correlation", "both wrong %", "Q"]
    return table(f"pairs of members{more}", columns, rows, left=2)


def _contributions(found: Explanation, measure: str, what: str) -> object:
    from ensemble.cli.tables import table

    part = found.contributions[found.contributions["measure"] == measure]
    values = part.pivot(index="member", columns="target", values="value")
    whole = part.query("target == 'miou'").set_index("member")
    rows: list[list[str]] = []
    for name in found.members:
        value, low, high = (100 * float(whole.loc[name, key]) for key in ("value", "low", "high"))  # pyright: ignore[reportArgumentType]
        per_class = (f"{100 * float(values.loc[name, target]):+.2f}" for target in found.classes)  # pyright: ignore[reportArgumentType]
        rows.append([name, f"{value:+.2f} ({low:+.2f} to {high:+.2f})", *per_class])
    title = f"{what}, points of the average's IoU, 95 % interval ({found.sampled} labelled pixels)"
    return table(title, ["", "mIoU", *found.classes], rows)


def _dropping(found: Explanation) -> object:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    rows = [
        [
            row["dropped"],
            percent(row["miou"]),
            f"{100 * row['change']:+.2f} ({100 * row['low']:+.2f} to {100 * row['high']:+.2f})",
            f"{row['parameters_left'] / 1e6:.1f}" if row["parameters_left"] >= 0 else "-",
            "yes" if row["no_loss"] else "no",
        ]
        for row in found.dropping.to_dict("records")
    ]
    columns = ["dropped", "mIoU left", "change to all", "parameters left M", "at no loss"]
    return table("dropping members one after the other, the one that costs least first", columns, rows)
