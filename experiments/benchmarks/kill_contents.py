"""What of the results of a command must not change, however often it was killed: everything but times and places."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np

from ensemble.runs.folder import list_runs
from ensemble.runs.layout import WEIGHTS, checkpoint_name, is_run
from ensemble.runs.status import is_complete, read_status
from ensemble.training.checkpoint import load_checkpoint

Content = dict[str, object]
TIMED = ("seconds", "images_per_second", "latency_ms", "finished", "git")  # columns of tables
NOT_COMPARED = re.compile(
    r"^(status\.json|log\.txt|environment\.json|history-f\d+\.json)$"
)  # times, and what is removed


def files_in(folder: Path) -> Content:
    """Return the visible files below a folder, by relative path."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.name != "unfinished"}


def finished_runs(folder: Path) -> Content:
    """Return the files of all finished members and ensembles."""
    content: Content = {}
    for path in list_runs(folder / "runs"):
        if is_complete(path):
            files = {
                name: value for name, value in files_in(path).items() if not NOT_COMPARED.fullmatch(Path(name).name)
            }
            content |= {f"{path.name}/{name}": value for name, value in files.items()}
            if (path / "history.csv").is_file():
                content[f"{path.name}/history.csv"] = table(path / "history.csv")
    return content


def table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file without times and places."""
    with path.open(newline="") as stream:
        return [{k: v for k, v in row.items() if k not in (*TIMED, "path")} for row in csv.DictReader(stream)]


def pages(folder: Path, pattern: str) -> Content:
    """Return reports without the time when they were made, and without the place of the runs."""
    found: Content = {}
    for file in folder.glob(pattern):
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?", "TIME", file.read_text().replace(str(folder), "FOLDER"))
        found[file.name] = text
    return found


def study_content(folder: Path) -> Content:
    """Return the runs, the table and the report of a study; the report shows the time of training."""
    tables: Content = {file.name: table(file) for file in (folder / "runs" / "studies").glob("*.csv")}
    reports = {
        name: str(text).rstrip().endswith("</html>") for name, text in pages(folder, "runs/studies/*.html").items()
    }
    return finished_runs(folder) | tables | reports


def tune_content(folder: Path) -> Content:
    """Return the members, the table and the pictures of a tuning."""
    content = finished_runs(folder)
    for file in folder.glob("runs/studies/*/*"):
        if file.suffix in (".csv", ".png"):
            content[file.name] = table(file) if file.suffix == ".csv" else file.read_bytes()
    return content


def npz_content(folder: Path) -> Content:
    """Return the arrays of a prediction."""
    if not (folder / "masks.npz").is_file():
        return {}
    with np.load(folder / "masks.npz") as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files}


def mlflow_content(folder: Path) -> Content:
    """Return the complete runs of a store: parameters, metrics, tags and artifacts."""
    file = folder / "mlflow" / "mlflow.db"
    if not file.is_file():
        return {}
    content: Content = {}
    with sqlite3.connect(f"file:{file}?mode=rw", uri=True) as base:
        for name, run, place in _complete_runs(base):
            for kind, columns in (("params", "key, value"), ("metrics", "key, value, step"), ("tags", "key, value")):
                rows = base.execute(f"SELECT {columns} FROM {kind} WHERE run_uuid = ? ORDER BY 1, 2", (run,))
                content[f"{name} {kind}"] = json.dumps(rows.fetchall())
            artifacts = files_in(Path(unquote(urlparse(place).path)))
            content |= {f"{name} {path}": value for path, value in artifacts.items()}
    base.close()
    return content


def _complete_runs(base: sqlite3.Connection) -> list[tuple[str, str, str]]:
    has_runs = base.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone()
    query = """SELECT name, runs.run_uuid, artifact_uri FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid
        WHERE lifecycle_stage = 'active' AND tags.key = 'ens.digest' ORDER BY name"""
    return base.execute(query).fetchall() if has_runs else []


def names_in(folder: Path) -> list[str]:
    """Return all files below a folder, hidden ones too, with random names and digests replaced, in order."""
    names = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    return sorted(re.sub(r"[0-9a-f]{32}", "ID", name) for name in names)


def epochs_lost(folder: Path) -> int:
    """Return the finished epochs, according to the status of an unfinished member, that the next run would repeat."""
    lost = 0
    for path in list_runs(folder / "runs", "member"):
        if not is_run(path) or is_complete(path):
            continue
        status = read_status(path)
        finished = len(list(path.glob(WEIGHTS)))
        checkpoint = load_checkpoint(path / checkpoint_name(finished), "cpu")
        kept = finished * status.get("epochs", 0) + (checkpoint["epoch"] if checkpoint else 0)
        lost += max(0, status.get("fold", 0) * status.get("epochs", 0) + status.get("epoch", 0) - kept)
    return lost
