"""``ens reproduce``: train a member again and compare the two."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import OUTPUT, AsJson, Plugins, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.training.same_bits import Reproduction

EXAMPLE = "Example:  ens reproduce unet-ce-s0-7ca07c    or    ens reproduce unet-ce-s0-7ca07c --out again"


def reproduce(
    member: Annotated[str, typer.Argument(help="Member: name, unique beginning, STUDY:LABEL or path.")],
    data: Annotated[str | None, typer.Option(help="New location of its data, if they moved.", metavar="PATH")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the repetition (default: a temporary one).", rich_help_panel=OUTPUT, metavar="DIR"
        ),
    ] = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a member again from its configuration and compare the two; exit code 1 if any number differs."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.runs.folder import find_run
    from ensemble.training.reproduce import reproduce as train_again

    with output.progress() as progress:
        reproduction = train_again(find_run(member, runs), data=data, out=out, progress=progress)
    for line in describe(reproduction):
        output.say(f"  {escape(line)}")
    output.result(verdict(reproduction), {"exact": reproduction.exact, **asdict(reproduction)})
    if not reproduction.exact:
        raise typer.Exit(1)


def describe(reproduction: Reproduction) -> list[str]:
    """Return the differences, one line each."""
    apart = (
        [f"weights agree to {reproduction.weights:.1e} of the largest weight of their tensor"]
        if reproduction.weights
        else []
    )
    apart += [f"{100 * reproduction.pixels:.3f} % of the labelled pixels change class"] if reproduction.pixels else []
    lines = [f"files with other numbers: {', '.join(reproduction.files)}"] if reproduction.files else []
    lines += [f"{name}: {_number(then)} then, {_number(now)} now" for name, (then, now) in reproduction.scores.items()]
    if reproduction.epoch:
        lines.append(
            f"the training loss differs from epoch {reproduction.epoch[1]} of fold {reproduction.epoch[0]} onwards"
        )
    lines += apart
    if reproduction.path:
        lines.append(f"the repetition is in {reproduction.path}")
    changed = [f"{name} {then} then, {now} now" for name, (then, now) in reproduction.environment.items()]
    return [*lines, f"environment: {'; '.join(changed) or 'unchanged'}"]


def verdict(reproduction: Reproduction) -> str:
    """Return the outcome in one sentence."""
    if reproduction.exact:
        return f"reproduced {reproduction.name}: weights, probabilities and scores are bit-identical"
    changed = ", ".join(reproduction.environment)
    cause = f", in another environment ({changed})" if changed else ", although the environment is the same"
    return (
        f"not bit-identical{cause}: weights agree to {reproduction.weights:.1e},"
        f" scores to {reproduction.scores_apart:.1e},"
        f" class maps in {100 * (1 - reproduction.pixels):.3f} % of the pixels"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"
