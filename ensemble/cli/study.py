"""``ens study``: train many members and ensembles from one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Plugins, Quiet
from ensemble.core.data_kinds import is_there
from ensemble.core.errors import EnsError, UnknownName

if TYPE_CHECKING:
    from ensemble.study import Recipe, StudyResult
    from ensemble.study.jobs import Executor

EXECUTORS = ("local", "ray")
STUDY, HARDWARE, OUTPUT = "Study", "Hardware", "Output"  # the panels of --help

EXAMPLE = (
    "Example:  ens study seeds --data mars.npz --dry-run    or    ens study mine.toml --jobs 2    or"
    "    ens study grid --data mars.npz --executor ray --ray-address 10.0.0.1:6379"
)


def study(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name from `ens list recipes`, or a TOML file.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Data set (default: the recipe's).", show_default=False, rich_help_panel=STUDY
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Group or label of the recipe: train only these members, and make only the ensembles of them."
            " Repeatable.",
            show_default=False,
            rich_help_panel=STUDY,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print estimated time, memory and disk; train nothing.", rich_help_panel=STUDY),
    ] = False,
    plugins: Plugins = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Members trained at a time (default: 2 on a CPU, 1 on a GPU, as many as fit on a Ray cluster).",
            show_default=False,
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Threads of each member; they change the last bits of its weights, so they belong to its settings"
            " (default: an equal share of the cores).",
            show_default=False,
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="WHERE", help="Where members are trained: local or ray.", rich_help_panel=HARDWARE)
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of a running Ray cluster (default: RAY_ADDRESS, else the cluster of this machine).",
            show_default=False,
            rich_help_panel=HARDWARE,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "--runs",
            metavar="FOLDER",
            help="Folder for members, ensembles and the table of the study.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the members of a recipe, make its ensembles, and compare them.

    The result is one table and one report. Finished members are not trained
    again. After Ctrl-C the same command continues.

    If a member fails, its row has the error, the others continue, and the
    exit code is 1.

    --executor ray trains on the nodes of a Ray cluster, which must share a
    folder. A member whose node is lost continues on another node.
    """
    output = Output(quiet=quiet, as_json=as_json)
    _check_executor(executor, ray_address)
    output.say("[dim]loading libraries and data ...[/]")
    from ensemble.study import read_recipe
    from ensemble.study.local import default_jobs, threads_per_job

    content = read_recipe(recipe, data)
    named = content.file.data
    if data is None and not is_there(named):
        raise EnsError(f"the recipe {recipe} is about {named}, and there is no such file or folder here; give --data")
    if only:
        content = content.only(only)
    if executor == "local":
        jobs = jobs or (default_jobs() if threads is None else 1)
        threads = threads or threads_per_job(jobs)
    question = f": {content.file.question}" if content.file.question else ""
    output.say(f"[bold]{escape(content.file.name)}[/]{escape(question)}")
    if dry_run:
        _dry_run(content, out, jobs or 1, threads, output)
        return
    result = _run(content, out, _executor(executor, ray_address, jobs, threads, output), threads, output)
    _show(result, output)
    _conclude(result, _report(result, out, output), output)


def _conclude(result: StudyResult, report: Path | None, output: Output) -> None:
    """Print where the table and the report are; exit with code 1 if anything failed."""
    rows = result.table.astype(object).where(result.table.notna(), None).to_dict(orient="records")
    text = f"{len(result.table) - len(result.failed)} of {len(result.table)} rows finished; table: {result.path}"
    content = {"name": result.recipe.file.name, "table": str(result.path), "report": report and str(report)}
    content |= {"rows": rows, "verdicts": dict(result.verdicts)}
    output.result(text + (f"; report: {report}" if report else ""), content)
    if result.failed:
        raise typer.Exit(1)


def _dry_run(recipe: Recipe, out: Path, jobs: int, threads: int | None, output: Output) -> None:
    from ensemble.cli.tables import table
    from ensemble.core.formatting import counted, duration
    from ensemble.study.estimate import estimate, total_seconds
    from ensemble.study.plan_study import plan_study, run_data_check

    with output.progress() as progress:
        planned = plan_study(run_data_check(recipe, out, progress), out, threads, progress)
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
    seconds, disk = total_seconds(known, jobs), sum(row["disk_mb"] for row in records)
    how = "one after another" if jobs == 1 else f"{jobs} at a time, each with the memory in the table"
    text = f"{counted(len(records), 'member')} and {counted(len(recipe.file.ensembles), 'ensemble')}:"
    text += f" about {duration(seconds)}, {how};"
    text += f" {disk:.0f} MB of disk"
    if unknown := len(records) - len(known):
        text += f"; the time of {counted(unknown, 'member')} could not be measured and is not included"
    content = {"jobs": jobs, "seconds": seconds, "disk_mb": disk, "ensembles": len(recipe.file.ensembles)}
    output.result(text, content | {"members": records})


def _whole(number: float | None) -> str:
    return "-" if number is None else f"{number:.0f}"


def _check_executor(executor: str, ray_address: str | None) -> None:
    if executor not in EXECUTORS:
        raise UnknownName("executor", executor, EXECUTORS)
    if ray_address is not None and executor != "ray":
        raise EnsError("--ray-address needs --executor ray; add it, or leave out --ray-address")


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


def _report(result: StudyResult, runs: Path, output: Output) -> Path | None:
    """Write the report of the members and ensembles unless it is there already; return None if there are no results."""
    names = set(result.table["name"].dropna()) if "miou" in result.table else set[str]()
    if not names:
        return None
    page_path = result.path.with_suffix(".html")
    if result.is_unchanged and page_path.is_file():
        output.say(f"nothing is new; to write the report again, remove {escape(str(page_path))} first")
        return page_path
    from ensemble.report.page import write_report

    about = ": ".join(filter(None, (f"Study {result.recipe.file.name}", result.recipe.file.question)))
    with output.progress() as progress:
        page = write_report(runs, page_path, names=names, about=about, progress=progress)
    return page.path


def _show(result: StudyResult, output: Output) -> None:
    """Print the table, the advice on every ensemble, and what failed."""
    from ensemble.cli.tables import results_table
    from ensemble.results import show

    if "miou" in result.table:
        finished = result.table.dropna(subset="miou").assign(name=lambda frame: frame["label"])
        shown = show(finished.drop(columns=["label", "group", "error"]).reset_index(drop=True))
        output.say(results_table(shown.texts, output.console.width, shown.best))
    for label, advice in result.verdicts.items():
        output.say(f"[bold]{escape(label)}:[/] {escape(advice)}")
    for outcome in result.failed:
        output.say(f"[bold red]failed[/] {escape(outcome.label)}: {escape(outcome.error)}")
