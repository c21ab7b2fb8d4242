"""``ens study``: many members and ensembles from one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet
from ensemble.core.errors import EnsError, UnknownName

if TYPE_CHECKING:
    from ensemble.study import Recipe, StudyResult
    from ensemble.study.jobs import Executor

EXECUTORS = ("local", "ray")

EXAMPLE = (
    "Example:  ens study seeds --data mars.npz --dry-run    or    ens study mine.toml --jobs 2    or"
    "    ens study grid --data mars.npz --executor ray --ray-address 10.0.0.1:6379"
)


def study(
    recipe: Annotated[str, typer.Argument(help="A recipe of the toolkit (see `ens list recipes`) or a TOML file.")],
    data: Annotated[str | None, typer.Option(help="Data instead of the recipe's own.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A group or label of the recipe: its members alone, and ensembles that need no others. Repeatable.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Members trained at a time, sharing the cores; where not given two on a CPU, one on a GPU, on a Ray"
            " cluster as many as it has room for.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each member, which are part of what it is; its share of the cores where not given.",
            show_default=False,
        ),
    ] = None,
    executor: Annotated[str, typer.Option(help="Where members are trained: local or ray.")] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            help="HOST:PORT of a Ray cluster that runs; without it RAY_ADDRESS, or the one of this machine.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List members with estimated time, memory and disk; train nothing.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for members, ensembles and the study's table.")] = Path(
        "runs"
    ),
    plugins: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the members of a recipe that are missing, make its ensembles, and show them in one table and a report.

    A member that fails is a row with its error and the others go on; the exit code is 1 then. Ctrl-C keeps what is
    done, and the same command goes on from there. With --executor ray members are trained on the nodes of a cluster;
    one whose node is lost goes on elsewhere from its last checkpoint.
    """
    output = Output(quiet=quiet, as_json=as_json)
    _check_executor(executor, ray_address)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.study import read_recipe
    from ensemble.study.local import share_of_threads, usual_jobs

    read = read_recipe(recipe, data)
    if only:
        read = read.only(only)
    if executor == "local":
        jobs = jobs or (usual_jobs() if threads is None else 1)
        threads = threads or share_of_threads(jobs)
    output.say(f"[bold]{escape(read.file.name)}[/]: {escape(read.file.question)}")
    if dry_run:
        _dry_run(read, out, jobs or 1, threads, output)
        return
    done = _run(read, out, _executor(executor, ray_address, jobs, threads, output), threads, output)
    _show(done, output)
    report = _report(done, out, output)
    rows = done.table.astype(object).where(done.table.notna(), None).to_dict(orient="records")
    content = {"name": read.file.name, "table": str(done.path), "report": report and str(report), "rows": rows}
    text = f"{len(done.table) - len(done.failed)} of {len(done.table)} rows; table: {done.path}"
    output.result(text + (f"; report: {report}" if report else ""), content | {"verdicts": dict(done.verdicts)})
    if done.failed:
        raise typer.Exit(1)


def _dry_run(recipe: Recipe, out: Path, jobs: int, threads: int | None, output: Output) -> None:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import duration
    from ensemble.study.estimate import estimate, seconds_of_all
    from ensemble.study.run import check_first, plan_study

    with output.progress() as progress:
        planned = plan_study(check_first(recipe, out, progress), out, threads, progress)
        frame = estimate(planned, jobs, progress)

    records: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    rows = [
        [
            row["label"],
            row["state"],
            f"{row['parameters'] / 1e6:.2f}",
            _whole(row["images_per_second"]),
            row["note"] or ("-" if row["seconds"] is None else duration(row["seconds"])),
            _whole(row["memory_mb"]),
            _whole(row["disk_mb"]),
        ]
        for row in records
    ]
    output.say(table("members", ["", "state", "params M", "images/s", "time", "memory MB", "disk MB"], rows))
    known = [row["seconds"] for row in records if row["seconds"] is not None]
    seconds, disk = seconds_of_all(known, jobs), sum(row["disk_mb"] for row in records)
    how = "one after another" if jobs == 1 else f"{jobs} at a time, each with the memory above"
    text = f"members: {len(records)}, ensembles: {len(recipe.file.ensembles)}; about {duration(seconds)}, {how};"
    text += f" {disk:.0f} MB of disk"
    if unknown := len(records) - len(known):
        text += f"; without the time of {unknown} that could not be measured"
    content = {"jobs": jobs, "seconds": seconds, "disk_mb": disk, "ensembles": len(recipe.file.ensembles)}
    output.result(text, content | {"members": records})


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"


def _check_executor(executor: str, ray_address: str | None) -> None:
    if executor not in EXECUTORS:
        raise UnknownName("executor", executor, EXECUTORS)
    if ray_address is not None and executor != "ray":
        raise EnsError("--ray-address goes with --executor ray; add it")


def _executor(kind: str, ray_address: str | None, jobs: int | None, threads: int | None, output: Output) -> Executor:
    if kind == "local":
        from ensemble.study.local import LocalExecutor

        return LocalExecutor(jobs or 1, threads)
    from ensemble.study.ray.executor import RayExecutor

    cluster = RayExecutor(ray_address, jobs, threads)
    output.say(cluster.describe())
    return cluster


def _run(recipe: Recipe, out: Path, executor: Executor, threads: int | None, output: Output) -> StudyResult:
    from ensemble.cli.dashboard import Dashboard
    from ensemble.study.run import run_study

    with Dashboard(output, len(recipe.entries)) as board:
        return run_study(
            recipe,
            out,
            executor=executor,
            threads=threads,
            progress=board.progress,
            on_event=board.event,
            on_outcome=board.outcome,
        )


def _report(done: StudyResult, runs: Path, output: Output) -> Path | None:
    """Write the report of what the study trained and combined, if anything."""
    names = set(done.table["name"].dropna()) if "miou" in done.table else set[str]()
    if not names:
        return None
    from ensemble.report.page import write_report

    about = ": ".join(filter(None, (f"Study {done.recipe.file.name}", done.recipe.file.question)))
    with output.progress() as progress:
        return write_report(runs, done.path.with_suffix(".html"), names=names, about=about, progress=progress).path


def _show(done: StudyResult, output: Output) -> None:
    from ensemble.cli.tables import results_table
    from ensemble.results import show

    if "miou" in done.table:
        there = done.table.dropna(subset="miou").assign(name=lambda frame: frame["label"])
        shown = show(there.drop(columns=["label", "group", "error"]).reset_index(drop=True))
        output.say(results_table(shown.texts, output.console.width, shown.best))
    for label, advice in done.verdicts.items():
        output.say(f"[bold]{escape(label)}:[/] {escape(advice)}")
    for outcome in done.failed:
        output.say(f"[bold red]failed[/] {escape(outcome.label)}: {escape(outcome.error)}")
