"""``ens reproduce``: train a member again and say whether the same comes out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet, Runs

if TYPE_CHECKING:
    from ensemble.training.reproduce import Reproduction

EXAMPLE = "Example:  ens reproduce unet-ce-s0-7ca07c    or    ens reproduce unet-ce-s0-7ca07c --out again"


def reproduce(
    member: Annotated[str, typer.Argument(help="Member by name, unique beginning of its name or path.")],
    data: Annotated[str | None, typer.Option(help="Where its data are now, if elsewhere.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to keep the repetition in (a temporary one).")] = None,
    runs: Runs = Path("runs"),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a member again from its configuration and compare what comes out; exit code 1 where it is not the same."""
    output = Output(quiet=quiet, as_json=as_json)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.runs.folder import find_run
    from ensemble.training.reproduce import reproduce as train_again

    with output.progress() as progress:
        found = train_again(find_run(member, runs), data=data, out=out, progress=progress)
    for line in told(found):
        output.say(f"  {escape(line)}")
    output.result(verdict(found), {"exact": found.exact, **asdict(found)})
    if not found.exact:
        raise typer.Exit(1)


def told(found: Reproduction) -> list[str]:
    """What was compared, a line each."""
    apart = [f"weights agree to {found.weights:.1e} of the largest of their tensor"] if found.weights else []
    apart += [f"{100 * found.pixels:.3f} % of the labelled pixels change class"] if found.pixels else []
    lines = [f"not the same: {', '.join(found.files)}"] if found.files else []
    lines += [f"{name}: {_number(then)} then, {_number(now)} now" for name, (then, now) in found.scores.items()]
    if found.epoch:
        lines.append(f"the training loss differs from epoch {found.epoch[1]} of fold {found.epoch[0]} on")
    lines += apart
    if found.path:
        lines.append(f"the repetition is in {found.path}")
    changed = [f"{name} {then} then, {now} now" for name, (then, now) in found.environment.items()]
    return [*lines, f"environment: {'; '.join(changed) or 'the same'}"]


def verdict(found: Reproduction) -> str:
    """The outcome in one sentence."""
    if found.exact:
        return f"reproduced {found.name}: weights, probabilities and scores are the same to the bit"
    changed = ", ".join(found.environment)
    cause = f", in another environment ({changed})" if changed else ", though the environment is the same"
    return (
        f"not reproduced to the bit{cause}: weights agree to {found.weights:.1e}, scores to {found.scores_apart:.1e},"
        f" class maps in {100 * (1 - found.pixels):.3f} % of the pixels"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6f}"
