"""``ens compare``: compare runs in pairs, estimate the effect of one setting, or the data that a difference needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ensemble.cli.console import AFTER_TABLE, Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.formatting import counted

if TYPE_CHECKING:
    import pandas as pd

    from ensemble.comparison import Comparisons, FactorEffect, Power

EXAMPLE = (
    "Example:  ens compare learned-5 unet-ce    or    ens compare --factor loss --baseline ce    or    ens compare"
    " --power 0.5"
)
FORMATS = ("table", "csv")


def compare(
    names: Annotated[
        list[str] | None, typer.Argument(help="Members and ensembles by name, unique beginning, STUDY:LABEL or path.")
    ] = None,
    factor: Annotated[
        str | None,
        typer.Option(help="Setting whose effect is estimated, averaged over the others: loss, architecture, ..."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Level of --factor to compare the others with (default: that of most runs)."),
    ] = None,
    power: Annotated[
        float | None,
        typer.Option(help="Difference in points of mIoU: estimate the images and seeds that it takes to see it."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs pair by pair, with intervals, Holm's correction and a plain sentence.

    With --factor or --power and without names, all members of the newest data and split take part.
    """
    output = Output(quiet=quiet, as_json=as_json)
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if form == "csv":  # no note stands in the table
        output.console = output.progress_console
    if factor is not None and power is not None:
        raise EnsError("expected --factor or --power, got both; give one of them")
    if baseline is not None and factor is None:
        raise EnsError("--baseline is a level of --factor, but --factor is missing; add --factor, or remove --baseline")
    if not names and factor is None and power is None:
        raise EnsError("expected two or more runs to compare, got none; name them, or give --factor or --power")
    from ensemble import comparison
    from ensemble.cli import compare_tables as tables

    paths = _paths(names or [], runs, output)
    if factor is not None:
        with output.progress() as progress:
            effect = comparison.factor_effect(paths, factor, baseline=baseline, progress=progress)
        head = {"factor": factor, "baseline": effect.grid.levels[0], "spare": effect.spare, "noise": effect.noise}
        _show(output, form, effect, head, tables.factor_tables(effect) if form == "table" else [])
    elif power is not None:
        with output.progress() as progress:
            needed = comparison.power(
                paths, power / 100, others=_members(runs, paths[0], output) if names else (), progress=progress
            )
        seeds = None if needed.seeds is None else vars(needed.seeds)
        head = {"difference": needed.difference, "groups": needed.groups, "images": needed.images, "seeds": seeds}
        _show(output, form, needed, head, tables.power_tables(needed) if form == "table" else [])
    else:
        with output.progress() as progress:
            pairs = comparison.compare_runs(paths, progress=progress)
        shared = pairs.shared
        scores = dict(zip(shared.names, shared.whole_rc[:, 0].tolist(), strict=True))
        head = {"miou": scores, "groups": len(set(shared.groups)), "images": len(shared.groups)}
        _show(output, form, pairs, head, tables.pair_tables(pairs) if form == "table" else [])


def _paths(names: Sequence[str], runs: Path, output: Output) -> list[Path]:
    """Return the named runs, or all members of the newest data and split."""
    from ensemble.runs.folder import find_members, find_run
    from ensemble.runs.select import newest_members

    if names:
        return [find_run(name, runs) for name in names]
    unreadable = _unreadable(runs, output)
    newest = [member.path for member in newest_members(runs, without=unreadable)]
    if not newest:
        which = "member that can be read" if unreadable else "finished member"
        raise EnsError(f"there is no {which} in {runs}; train one with `ens train`, or give --runs")
    if others := len(find_members(runs, without=unreadable)) - len(newest):
        left_out = f"{counted(others, 'member')} of other data or splits {'is' if others == 1 else 'are'} left out"
        output.note(f"{left_out}; name the members that should take part", AFTER_TABLE)
    return newest


def _unreadable(runs: Path, output: Output) -> list[str]:
    """Return the names of the members that cannot be read, after a note on them."""
    from ensemble.runs.unreadable import said_once, unreadable_members

    found = unreadable_members(runs)
    for reason in said_once(found):
        output.note(f"left out: {reason}", AFTER_TABLE)
    return [path.name for path in found]


def _members(runs: Path, like: Path, output: Output) -> list[Path]:
    """Return the members in ``runs`` of the same data and split as one run."""
    from ensemble.comparison.runs import open_run
    from ensemble.runs.folder import find_members
    from ensemble.runs.member import Member

    data = open_run(like).data
    members = [Member.open(path) for path in find_members(runs, without=_unreadable(runs, output))]
    return [m.path for m in members if (m.facts.data_hash, m.facts.split_hash) == data[1:]]


def _show(
    output: Output,
    form: str,
    outcome: Comparisons | FactorEffect | Power,
    head: dict[str, Any],
    blocks: list[Any],
) -> None:
    """Print the tables, the notes and the sentence; or the rows as CSV; or everything as JSON."""
    frame: pd.DataFrame = outcome.table()
    if form == "csv" and not output.as_json:
        from ensemble.results.export import csv_text

        typer.echo(csv_text(frame), nl=False)
        return
    for block in blocks:
        output.say(block)
    for note in outcome.notes:
        output.note(note, AFTER_TABLE)
    content = head | {"rows": frame.to_dict("records"), "sentence": outcome.sentence}
    output.result(outcome.sentence, _plain(content))


def _plain(content: Any) -> Any:
    """Replace NaN and infinity by None, because JSON has neither."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]  # pyright: ignore[reportUnknownArgumentType]
    return None if isinstance(content, float) and not math.isfinite(content) else content
