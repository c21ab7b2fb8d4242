"""What ``ens combine`` prints: an ensemble with its verdict, or the table of all methods."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from ensemble.cli.console import AFTER_TABLE, Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ensemble.combining.combine import Combination
    from ensemble.combining.verdict import Verdict


def show_combination(combination: Combination, output: Output) -> None:
    """Print the weights, the cross-fitted and the in-sample score, the differences and the advice."""
    from ensemble.cli.tables import table
    from ensemble.core.formatting import percent
    from ensemble.evaluation.caveats import RARE_NOTE, no_interval
    from ensemble.evaluation.quality import WHOLE, quality_sentence
    from ensemble.runs.looks import looks_sentence

    ensemble, verdict = combination.ensemble, combination.verdict
    scores, members, used = ensemble.scores, len(combination.aligned.names), len(combination.fitted.pool.used)
    title = f"{ensemble.name}: {ensemble.settings.method} of {members} members"
    output.say(table(title + (f", {used} of them used" if used < members else ""), *_parts(combination)))
    if choices := _choices(combination):
        output.say(choices)
    on_fit = optimism(scores) if combination.fitted.was_fitted else "nothing was fitted"
    interval = f"95 % interval {percent(scores['miou_low'])} to {percent(scores['miou_high'])}"
    interval = no_interval(scores["groups"]) or interval
    output.say(
        f"[bold]mIoU {percent(scores['miou'])} %[/], {scores['protocol']} ({interval}); {on_fit};"
        f" log-loss {scores['log_loss']:.3f}, ECE {percent(scores['ece'])} %"
    )
    title = "differences in points of mIoU (positive: the first is better), intervals that hold together with 95 %"
    output.say(table(title, *differences(verdict, combination.aligned.classes)))
    output.say(
        "[dim]* the member that is best on the other folds, so that the scored images do not choose it;"
        f" {escape(verdict.best_member)} is the best on these images[/]"
    )
    if any(one.few_groups for each in verdict.per_class.values() for one in each.values()):
        output.say(f"[dim]{RARE_NOTE}[/]")
    for note in verdict.notes:
        output.note(note, AFTER_TABLE)
    output.say(f"[bold]verdict:[/] {escape(verdict.advice)}")
    output.say(quality_sentence(scores["quality"][WHOLE]))
    output.say(looks_sentence(combination.looks))


def optimism(scores: dict[str, Any]) -> str:
    """Return how the score on the images of the fit compares with the cross-fitted one."""
    from ensemble.core.formatting import percent

    shown, honest = (round(100 * miou, 1) for miou in (scores["in_sample"]["miou"], scores["miou"]))
    comment = f"{shown - honest:.1f} points higher" if shown > honest else "not higher"
    return f"on the images of the fit (in-sample) {percent(scores['in_sample']['miou'])} %, {comment}"


def _parts(combination: Combination) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the members with their weights, and with their temperatures if any was fitted."""
    pool = combination.fitted.pool
    weights_m = pool.weights_m / max(float(pool.weights_m.sum()), 1e-300)
    has_temperatures = bool((pool.temperatures_m != 1).any())
    rows = [
        [name, f"{weight:.3f}", *([f"{temperature:.2f}"] if has_temperatures else [])]
        for name, weight, temperature in zip(combination.aligned.names, weights_m, pool.temperatures_m, strict=True)
    ]
    return ["member", "weight", *(["temperature"] if has_temperatures else [])], rows


def _choices(combination: Combination) -> str:
    """Return a line with the chosen method, the temperature and the decision; empty if there are none."""
    from ensemble.core.formatting import percent

    pool, parts = combination.fitted.pool, list[str]()
    if pool.chosen:
        same = sum(fold_pool.chosen == pool.chosen for fold_pool in combination.fitted.fold_pools)
        folds = len(combination.fitted.fold_pools)
        parts.append(f"{combination.ensemble.settings.method} chose {pool.chosen} (also in {same} of {folds} folds)")
    if pool.temperature != 1:
        parts.append(f"temperature after pooling {pool.temperature:.2f}")
    if pool.offsets_c is not None:
        each = (
            f"{name} {offset:+.2f}" for name, offset in zip(combination.aligned.classes, pool.offsets_c, strict=True)
        )
        parts.append(f"offsets {', '.join(each)}")
    if pool.decision is not None:
        each = (
            f"{name} {percent(expected)}"
            for name, expected in zip(combination.aligned.classes, pool.decision.expected_c, strict=True)
        )
        score = {"iou": "IoU", "dice": "Dice"}[pool.decision.score]
        shown = f"expected {score} %: {', '.join(each)}"
        if not pool.decision.expected_c.any():
            shown = "the argmax has the largest"
        parts.append(f"decided for the expected mean {score}: {shown}")
    if pool.smallest_c is not None:
        named = zip(combination.aligned.classes, pool.smallest_c, strict=True)
        each = [f"{name} {size}" for name, size in named if size > 1]
        parts.append(f"smallest object in pixels: {', '.join(each)}" if each else "objects of any size stay")
    return escape("; ".join(parts))


def differences(verdict: Verdict, classes: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the differences in mIoU and in the IoU of each class."""
    name = verdict.method
    titles = {
        "method - average": f"{name} - {verdict.rival.removeprefix('the ')}",
        "method - best member": f"{name} - best member*",
        "method - member": f"{name} - {verdict.best_member}",
    }
    if name == "average":  # the plain average; with a temperature or offsets its name is longer
        del titles["method - average"]
    rows = [["mIoU", *(verdict.differences[key].in_points for key in titles)]]
    rows += [[each, *(verdict.per_class[key][each].in_points for key in titles)] for each in classes]
    return ["", *titles.values()], rows


def compare_all(members: list[str], settings: dict[str, Any], runs: Path, output: Output) -> None:
    """Print the table of all methods; with --quiet only the name of the best, with --json the rows."""
    from ensemble.cli.tables import table
    from ensemble.combining.compare_methods import combine_all, summarise
    from ensemble.core.formatting import percent
    from ensemble.runs.looks import looks_sentence

    with output.progress() as progress:
        frame = combine_all(members, runs=runs, progress=progress, **settings)
    rows: list[dict[str, Any]] = [
        {str(key): None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]
    shown = [
        (
            row["method"] + (f" ({row['chosen']}; {row['chosen_in_folds']} folds)" if row["chosen"] else ""),
            percent(row["miou"]),
            "-" if row["miou_low"] is None else f"{percent(row['miou_low'])} to {percent(row['miou_high'])}",
            percent(row["miou_in_sample"]),
            _number(row["log_loss"], ".4f"),
            percent(row["ece"]),
            _gain(row, "difference"),
            _gain(row, "to_best") if row is not rows[-1] else "-",
            _number(row["seconds"], ".1f"),
        )
        for row in rows
    ]
    columns = (
        "method", "mIoU %", "95 % interval", "in-sample", "log-loss", "ECE %", "- average", "- best member", "seconds",
    )  # fmt: skip
    output.say(table("all methods, cross-fitted on the same folds", columns, shown))
    chosen = "; in brackets: what auto chose on all images, and in how many folds it chose the same"
    output.say(
        "[dim]in-sample: on the images of the fit, for comparison only; - average, - best member: differences in points"
        " of mIoU, all their intervals hold together with 95 % (max-t over the resamples of groups); best member: the"
        " member that is best on the other folds; seconds: time to fit all"
        f" folds, several methods at once{chosen if any(row['chosen'] for row in rows) else ''}[/]"
    )
    failed = [f"{row['method']} could not be fitted: {row['failed']}" for row in rows if row["failed"]]
    for note in (*failed, *frame.attrs["notes"]):
        output.note(note, AFTER_TABLE)
    judged = sum(not row["failed"] for row in rows[:-1])
    output.say(looks_sentence(frame.attrs["looks"], judged))
    best = str(rows[0]["method"])
    output.result(best if output.quiet else summarise(rows, frame.attrs["groups"]), rows)


def _gain(row: dict[str, Any], name: str) -> str:
    """Return a difference in points of mIoU with its interval; ``-`` without one."""
    value, low, high = (_number(row.get(f"{name}{end}"), "+.2f", 100) for end in ("", "_low", "_high"))
    return value if low == "-" else f"{value} ({low} to {high})"


def _number(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else format(factor * value, form)
