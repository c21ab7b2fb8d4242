"""``ens combine``: combine members and judge the ensemble."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.combining.combine import Combination

EXAMPLE = (
    "Example:  ens combine --method learned    or    ens combine --all-methods    or    ens combine --method greedy"
    " --option bags=20 --top 5    or    ens combine MEMBER MEMBER --method weighted --weights 2,1"
)


def combine(
    members: Annotated[
        list[str] | None, typer.Argument(help="Members by name, unique beginning or path (all of the newest data).")
    ] = None,
    method: Annotated[str, typer.Option(help="A method of `ens list methods`; auto chooses one.")] = "learned",
    weights: Annotated[str | None, typer.Option(help="Weights of --method weighted, such as 2,1,1.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", help="Option of the method, such as objective=soft-miou.")
    ] = None,
    calibrate: Annotated[
        str, typer.Option(help="Temperatures to fit: none, members (before the method), pool (after it) or both.")
    ] = "none",
    decide: Annotated[
        str, typer.Option(help="argmax, or offsets: a bonus per class, fitted to maximise mIoU.")
    ] = "argmax",
    top: Annotated[int | None, typer.Option(min=1, help="Keep the best N members by mIoU.")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Leave this member out; may be repeated.")] = None,
    all_methods: Annotated[
        bool, typer.Option("--all-methods", help="Compare all methods in one table; nothing is saved.")
    ] = False,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds of the cross-fitted score (5).")] = None,
    runs: Runs = Path("runs"),
    picture: Annotated[bool, typer.Option(help="Draw examples.png where the data can be opened.")] = True,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Combine members, score the ensemble on images it was not fitted on, and give a verdict.

    Whatever is fitted (weights, temperatures, offsets, the choice of members and of a method) is fitted without the
    images it is scored on, fold by fold; the score on the images it was fitted on is printed beside it.
    """
    output = Output(quiet=quiet, as_json=as_json)
    common: dict[str, Any] = {"calibrate": calibrate, "decide": decide, "top": top, "drop": drop or (), "folds": folds}
    if all_methods:
        _compare(members or [], common, runs, output)
        return
    from ensemble.combining.combine import combine as combine_from
    from ensemble.core.registry import split_pairs

    options = split_pairs(option or [])
    with output.progress() as progress:
        done = combine_from(
            members or (), method=method, weights=weights, options=options, runs=runs, progress=progress, **common
        )
    show_combination(done, output)
    if picture:
        from ensemble.report.figures import draw_examples

        drawn = draw_examples(done.ensemble, done.aligned, done.fitted)
        output.say(f"picture: {drawn}" if drawn else "no picture: the data is not where it was")
    ensemble = done.ensemble
    output.result(str(ensemble.path), {"path": str(ensemble.path), "name": ensemble.name, "scores": ensemble.scores})


def _compare(members: list[str], common: dict[str, Any], runs: Path, output: Output) -> None:
    """The table of all methods; under --quiet the name of the best, under --json the rows."""
    from ensemble.cli.tables import table
    from ensemble.combining.compare_methods import combine_all
    from ensemble.core.formatting import percent

    with output.progress() as progress:
        frame = combine_all(members, runs=runs, progress=progress, **common)
    rows: list[dict[str, Any]] = [
        {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]
    shown = [
        (
            row["method"] + (f" ({row['chosen']}; {row['chosen_in_folds']} folds)" if row["chosen"] else ""),
            percent(row["miou"]),
            f"{percent(row['miou_low'])} to {percent(row['miou_high'])}",
            percent(row["miou_in_sample"]),
            _number(row["log_loss"], ".4f"),
            percent(row["ece"]),
            _number(row["difference"], "+.2f", 100),
            f"{_number(row['difference_low'], '+.2f', 100)} to {_number(row['difference_high'], '+.2f', 100)}",
            _number(row["seconds"], ".1f"),
        )
        for row in rows
    ]
    columns = (
        "method", "mIoU %", "95 % interval", "in-sample", "log-loss", "ECE %", "- average", "95 % interval", "seconds",
    )  # fmt: skip
    output.say(table("all methods, cross-fitted on the same folds", columns, shown))
    output.say(
        "[dim]in-sample scores are too good; differences to the plain average in points of mIoU; best member: the one"
        " that is best on the other folds; seconds of fitting, all folds[/]"
    )
    output.result(str(rows[0]["method"]), rows)


def _number(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else format(factor * value, form)


def show_combination(done: Combination, output: Output) -> None:
    """Weights, cross-fitted and in-sample score, differences and the sentence of advice."""
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent

    scores, verdict = done.ensemble.scores, done.verdict
    output.say(
        table(
            f"{done.ensemble.name}: {done.ensemble.settings.method} of {len(done.aligned.names)} members", *_parts(done)
        )
    )
    if beside := _beside(done):
        output.say(beside)
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


def _parts(done: Combination) -> tuple[list[str], list[list[str]]]:
    """Members with their weights, and with their temperatures where there are any."""
    pool = done.fitted.pool
    weights_m = pool.weights_m / max(float(pool.weights_m.sum()), 1e-300)
    warm = bool((pool.temperatures_m != 1).any())
    rows = [
        [name, f"{weight:.3f}", *([f"{temperature:.2f}"] if warm else [])]
        for name, weight, temperature in zip(done.aligned.names, weights_m, pool.temperatures_m, strict=True)
    ]
    return ["member", "weight", *(["temperature"] if warm else [])], rows


def _beside(done: Combination) -> str:
    """What else was chosen and fitted, in a line; empty where nothing was."""
    pool, told = done.fitted.pool, list[str]()
    if pool.chosen:
        same = sum(fold_pool.chosen == pool.chosen for fold_pool in done.fitted.fold_pools)
        folds = len(done.fitted.fold_pools)
        told.append(f"{done.ensemble.settings.method} chose {pool.chosen} (also in {same} of {folds} folds)")
    if pool.temperature != 1:
        told.append(f"temperature after pooling {pool.temperature:.2f}")
    if pool.offsets_c is not None:
        each = (f"{name} {offset:+.2f}" for name, offset in zip(done.aligned.classes, pool.offsets_c, strict=True))
        told.append(f"offsets {', '.join(each)}")
    return escape("; ".join(told))


def _differences(done: Combination) -> tuple[list[str], list[list[str]]]:
    from ensemble.combining.verdict import describe

    verdict = done.verdict
    name = verdict.method
    titles = {
        "method - average": f"{name} - average",
        "method - best member": f"{name} - best member*",
        "method - member": f"{name} - {verdict.best_member}",
    }
    if name == "average":  # nothing but the average: with a temperature or offsets it is called otherwise
        del titles["method - average"]
    rows = [["mIoU", *(describe(verdict.differences[key]) for key in titles)]]
    for name in done.aligned.classes:
        rows.append([name, *(describe(verdict.per_class[key][name]) for key in titles)])
    return ["", *titles.values()], rows
