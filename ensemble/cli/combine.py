"""``ens combine``: combine members and judge the ensemble."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.pool.ensembles import Combination

EXAMPLE = "Example:  ens combine --method learned    or    ens combine MEMBER MEMBER --method weighted --weights 2,1"


def combine(
    members: Annotated[
        list[str] | None, typer.Argument(help="Members by name, unique beginning or path (all of the newest data).")
    ] = None,
    method: Annotated[str, typer.Option(help="average, weighted or learned.")] = "learned",
    weights: Annotated[str | None, typer.Option(help="Weights of --method weighted, such as 2,1,1.")] = None,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of the cross-fitted score (5).")] = None,
    runs: Runs = Path("runs"),
    picture: Annotated[bool, typer.Option(help="Draw examples.png where the data can be opened.")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Combine members, score the ensemble on images its weights were not fitted on, and give a verdict."""
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.api import combine as combine_from

    with output.progress() as tick:
        done = combine_from(members or (), method=method, weights=weights, folds=folds, runs=runs, tick=tick)
    show_combination(done, output)
    if picture:
        from ensemble.report.examples import draw_examples

        drawn = draw_examples(done.ensemble, done.aligned, done.fitted)
        output.say(f"picture: {drawn}" if drawn else "no picture: the data is not where it was")
    ensemble = done.ensemble
    output.result(str(ensemble.path), {"path": str(ensemble.path), "name": ensemble.name, "scores": ensemble.scores})


def show_combination(done: Combination, output: Output) -> None:
    """Weights, cross-fitted and in-sample score, differences and the sentence of advice."""
    from ensemble.cli.tables import percent, table

    scores, verdict = done.ensemble.scores, done.verdict
    weights = done.fitted.pool.weights_m / done.fitted.pool.weights_m.sum()
    rows = [(name, f"{weight:.3f}") for name, weight in zip(done.aligned.names, weights, strict=True)]
    output.say(table(f"{done.ensemble.name}: {verdict.method} of {len(rows)} members", ("member", "weight"), rows))
    in_sample = percent(scores["in_sample"]["miou"])
    optimism = f"in-sample, which is too good: {in_sample} %" if done.fitted.was_fitted else "nothing was fitted"
    output.say(
        f"[bold]mIoU {percent(scores['miou'])} %[/], {scores['protocol']} (95 % interval {percent(scores['miou_low'])}"
        f" to {percent(scores['miou_high'])}); {optimism}; log-loss {scores['log_loss']:.3f},"
        f" ECE {percent(scores['ece'])} %"
    )
    title = "differences in points of mIoU, 95 % interval (positive: the first is better)"
    output.say(table(title, *_differences(done)))
    output.say(
        "[dim]* the member that is best on the other folds, so that the choice is not made on the images scored[/]"
    )
    for note in verdict.notes:
        output.say(escape(f"note: {note}"))
    output.say(f"[bold]verdict:[/] {escape(verdict.advice)}")


def _differences(done: Combination) -> tuple[list[str], list[list[str]]]:
    from ensemble.pool.verdict import describe

    verdict = done.verdict
    name = verdict.method
    titles = {
        "method - average": f"{name} - average",
        "method - best member": f"{name} - best member*",
        "method - member": f"{name} - {verdict.best_member}",
    }
    if name == "average":
        del titles["method - average"]
    rows = [["mIoU", *(describe(verdict.differences[key]) for key in titles)]]
    for name in done.aligned.classes:
        rows.append([name, *(describe(verdict.per_class[key][name]) for key in titles)])
    return ["", *titles.values()], rows
