"""``ens compare``: are runs different, what does one setting do, and how much would it take to know?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.errors import EnsError, UnknownName

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
        list[str] | None, typer.Argument(help="Members and ensembles by name, unique beginning or path.")
    ] = None,
    factor: Annotated[
        str | None,
        typer.Option(help="Effect of this setting instead, averaged over the others: loss, architecture, ..."),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="What the levels of --factor are held against.")] = None,
    power: Annotated[
        float | None, typer.Option(help="How many images or seeds show this many points of mIoU instead.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs pair by pair, with intervals, Holm's correction and a plain sentence.

    With --factor or --power all members of the newest data and split take part where none are named.
    """
    output = Output(quiet=quiet, as_json=as_json)
    if form not in FORMATS:
        raise UnknownName("format", form, FORMATS)
    if factor is not None and power is not None:
        raise EnsError("expected --factor or --power, got both; ask one thing at a time")
    if baseline is not None and factor is None:
        raise EnsError("--baseline is a level of --factor; add --factor, or drop it")
    if not names and factor is None and power is None:
        raise EnsError("expected two or more runs to compare, got none; name them, or give --factor or --power")
    from ensemble import comparison
    from ensemble.cli import compare_tables as tables

    chosen = _paths(names or [], runs, output)
    if factor is not None:
        with output.progress() as progress:
            effect = comparison.factor_effect(chosen, factor, baseline=baseline, progress=progress)
        head = {"factor": factor, "baseline": effect.grid.levels[0], "spare": effect.spare, "noise": effect.noise}
        _show(output, form, effect, head, tables.factor_tables(effect) if form == "table" else [])
    elif power is not None:
        with output.progress() as progress:
            needed = comparison.power(
                chosen, power / 100, others=_members(runs, chosen[0]) if names else (), progress=progress
            )
        seeds = None if needed.seeds is None else vars(needed.seeds)
        head = {"difference": needed.difference, "groups": needed.groups, "images": needed.images, "seeds": seeds}
        _show(output, form, needed, head, tables.power_tables(needed) if form == "table" else [])
    else:
        with output.progress() as progress:
            found = comparison.compare_runs(chosen, progress=progress)
        shared = found.shared
        scores = dict(zip(shared.names, shared.whole_rc[:, 0].tolist(), strict=True))
        head = {"miou": scores, "groups": len(set(shared.groups)), "images": len(shared.groups)}
        _show(output, form, found, head, tables.pair_tables(found) if form == "table" else [])


def _paths(names: Sequence[str], runs: Path, output: Output) -> list[Path]:
    """The runs named, or all members of the newest data and split."""
    from ensemble.runs.folder import find_members, find_run
    from ensemble.runs.select import newest_members

    if names:
        return [find_run(name, runs) for name in names]
    chosen = [member.path for member in newest_members(runs)]
    if not chosen:
        raise EnsError(f"there is no finished member in {runs}; train one with `ens train`, or give --runs")
    if others := len(list(find_members(runs))) - len(chosen):
        left_out = (
            "1 member of other data or splits is" if others == 1 else f"{others} members of other data or splits are"
        )
        output.say(f"note: {left_out} left out; name the members that should take part")
    return chosen


def _members(runs: Path, like: Path) -> list[Path]:
    """Members in ``runs`` of the same data and split as one run."""
    from ensemble.comparison.runs import open_run
    from ensemble.runs.folder import find_members
    from ensemble.runs.member import Member

    data = open_run(like).data
    members = [Member.open(path) for path in find_members(runs)]
    return [m.path for m in members if (m.facts.data_hash, m.facts.split_hash) == data[1:]]


def _show(
    output: Output, form: str, found: Comparisons | FactorEffect | Power, head: dict[str, Any], shown: list[Any]
) -> None:
    """Tables, notes and the sentence; or the rows as CSV; or everything as JSON."""
    frame: pd.DataFrame = found.table()
    if form == "csv" and not output.as_json:
        typer.echo(frame.to_csv(index=False, lineterminator="\n"), nl=False)
        return
    for made in shown:
        output.say(made)
    for note in found.notes:
        output.say(escape(f"note: {note}"))
    content = head | {"rows": frame.to_dict("records"), "notes": found.notes, "sentence": found.sentence}
    output.result(found.sentence, _plain(content))


def _plain(content: Any) -> Any:
    """JSON has neither NaN nor infinity."""
    if isinstance(content, dict):
        return {str(key): _plain(value) for key, value in content.items()}  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]  # pyright: ignore[reportUnknownArgumentType]
    return None if isinstance(content, float) and not math.isfinite(content) else content
