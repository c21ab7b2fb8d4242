"""The results table: one pandas DataFrame with a row per member and ensemble, read from run directories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ensemble.errors import EnsError, UnknownName
from ensemble.files import atomic, read_json
from ensemble.members import Member, read_status
from ensemble.pool.ensembles import Ensemble

Format = Literal["table", "csv", "parquet", "markdown"]

COLUMNS: dict[str, str] = {
    "name": "string",
    "kind": "string",
    "architecture": "string",
    "encoder": "string",
    "loss": "string",
    "augmentation": "string",
    "sampler": "string",
    "seed": "Int64",
    "folds": "Int64",
    "epochs": "Int64",
    "parameters": "Int64",
    "seconds": "float64",
    "miou": "float64",
    "miou_low": "float64",
    "miou_high": "float64",
    "miou_keras": "float64",
    "pixel_accuracy": "float64",
    "log_loss": "float64",
    "ece": "float64",
    "protocol": "string",
    "selected": "boolean",
    "data": "string",
    "data_hash": "string",
    "split_hash": "string",
}
"""Columns and their types; one ``iou_<class>`` column per class follows ``miou_keras``."""

ASCENDING = {"log_loss", "ece", "seconds", "parameters"}


def load(runs: str | Path = "runs") -> pd.DataFrame:
    """The table of all finished members and ensembles in ``runs``, best mIoU first.

    Raises:
        EnsError: no such folder, or a damaged directory in it, named.
    """
    root = Path(runs)
    if not root.is_dir():
        raise EnsError(f"there is no folder {root}; train a member with `ens train` first, or give --runs")
    rows = [
        row
        for kind in ("members", "ensembles")
        for path in sorted((root / kind).glob("*/status.json"))
        if (row := _row(path.parent)) is not None
    ]
    frame = pd.DataFrame(rows)
    classes = [column for column in frame.columns if column.startswith("iou_")]
    names = list(COLUMNS)
    after = names.index("miou_keras") + 1
    ordered = [*names[:after], *classes, *names[after:]]
    types = COLUMNS | dict.fromkeys(classes, "float64")
    frame = frame.reindex(columns=ordered).astype({column: types[column] for column in ordered})
    return frame.sort_values("miou", ascending=False, ignore_index=True)


def sort(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Best first: scores descending; losses, errors, costs and texts ascending."""
    if column not in frame.columns:
        raise UnknownName("column", column, frame.columns)
    ascending = column in ASCENDING or COLUMNS.get(column) == "string"
    return frame.sort_values(column, ascending=ascending, ignore_index=True)


def column_of(class_name: str) -> str:
    """Column of a class's IoU: ``big rock`` becomes ``iou_big_rock``."""
    return "iou_" + re.sub(r"\W+", "_", class_name.lower()).strip("_")


def _row(path: Path) -> dict[str, Any] | None:
    status = read_status(path)
    if status.get("state") != "complete":
        return None
    return _ensemble_row(Ensemble.open(path)) if status.get("kind") == "ensemble" else _member_row(Member.open(path))


def _score_columns(scores: Mapping[str, Any]) -> dict[str, Any]:
    names = ("miou", "miou_low", "miou_high", "miou_keras", "pixel_accuracy", "log_loss", "ece", "protocol", "selected")
    columns = {name: scores.get(name) for name in names}
    for name, value in scores["iou"].items():
        column = column_of(name)
        while column in columns:  # "big rock" beside "big_rock"
            column += "_"
        columns[column] = value
    return columns


def _member_row(member: Member) -> dict[str, Any]:
    settings, status = member.settings, member.status
    recipe = settings.augmentation
    return {
        "name": member.name,
        "kind": "member",
        "architecture": settings.architecture.name,
        "encoder": settings.architecture.options.get("encoder"),
        "loss": settings.loss.name,
        "augmentation": recipe if isinstance(recipe, str) else recipe["recipe"],
        "sampler": settings.sampler,
        "seed": settings.seed,
        "folds": settings.data.folds,
        "epochs": settings.epochs,
        "parameters": status.get("parameters"),
        "seconds": status.get("training_seconds"),
        "data": member.facts.name,
        "data_hash": member.facts.data_hash,
        "split_hash": member.facts.split_hash,
        **_score_columns(member.scores),
    }


def _ensemble_row(ensemble: Ensemble) -> dict[str, Any]:
    root = ensemble.path.parent.parent / "members"
    statuses = [read_status(root / name) for name in ensemble.settings.members if (root / name).is_dir()]
    complete = len(statuses) == len(ensemble.settings.members)
    selected = [
        read_json(root / name / "scores.json").get("selected") for name in ensemble.settings.members if complete
    ]
    return {
        "name": ensemble.name,
        "kind": "ensemble",
        "architecture": f"{ensemble.settings.method} of {len(ensemble.settings.members)}",
        "parameters": _total(statuses, "parameters") if complete else None,
        "seconds": _total(statuses, "training_seconds") if complete else None,
        "data": ensemble.scores.get("data"),
        "data_hash": ensemble.settings.data_hash,
        "split_hash": ensemble.settings.split_hash,
        **_score_columns(ensemble.scores),
        "selected": any(selected) if complete else None,
    }


def _total(statuses: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Sum over the members; nothing where one of them, such as an imported one, does not know its share."""
    values: list[Any] = [status.get(key) for status in statuses]
    return None if None in values else sum(values)


def write(frame: pd.DataFrame, form: Format, out: Path | None = None) -> str:
    """The table as text; Parquet, which is binary, goes to ``out``.

    Raises:
        EnsError: Parquet without a file to write it to.
    """
    if form == "parquet":
        if out is None:
            raise EnsError("expected a file for Parquet, which is binary; add --out results.parquet")
        with atomic(out) as stream:
            frame.to_parquet(stream, index=False)
        return ""
    text = frame.to_csv(index=False, lineterminator="\n") if form == "csv" else markdown(frame)
    if out is not None:
        with atomic(out) as stream:
            stream.write(text.encode())
        return ""
    return text


def markdown(frame: pd.DataFrame, columns: Sequence[str] | None = None) -> str:
    """The table as Markdown with scores in per cent, the interval beside the mIoU."""
    shown = display(frame) if columns is None else display(frame)[list(columns)]
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def display(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns people read, as texts: per cent with one digit, times in minutes, millions of parameters."""

    def percent(values: Any) -> pd.Series:
        return values.map(lambda value: "-" if pd.isna(value) else f"{100 * value:.1f}")

    def text(values: Any) -> pd.Series:
        return values.astype("string").fillna("-")

    limits = [
        "-" if pd.isna(low) else f"{100 * low:.1f}-{100 * high:.1f}"
        for low, high in zip(frame["miou_low"], frame["miou_high"], strict=True)
    ]
    shown = {
        "name": text(frame["name"]),
        "architecture": text(frame["architecture"]),
        "encoder": text(frame["encoder"]),
        "loss": text(frame["loss"]),
        "augment": text(frame["augmentation"]),
        "sampler": text(frame["sampler"]).replace("uniform", "-"),
        "folds": text(frame["folds"]),
        "params M": frame["parameters"].map(lambda value: "-" if pd.isna(value) else f"{value / 1e6:.2f}"),
        "time": frame["seconds"].map(lambda value: "-" if pd.isna(value) else _duration(value)),
        "mIoU %": percent(frame["miou"]),
        "95 % interval": pd.Series(limits, index=frame.index, dtype="string"),
        "Keras": percent(frame["miou_keras"]),
    }
    for column in [name for name in frame.columns if name.startswith("iou_")]:
        title = column.removeprefix("iou_").replace("_", " ")
        shown[f"IoU {title}" if title in shown else title] = percent(frame[column])
    shown["pixels %"] = percent(frame["pixel_accuracy"])
    shown["log-loss"] = frame["log_loss"].map(lambda value: "-" if pd.isna(value) else f"{value:.3f}")
    shown["ECE %"] = percent(frame["ece"])
    return pd.DataFrame(shown)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
