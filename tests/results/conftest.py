"""A folder of simulated runs, and how to change what is written in one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ensemble.combining.combine import combine
from ensemble.core.files import file_digest, read_json, sealed
from ensemble.results.find_column import column, order
from ensemble.runs.member import Member


@pytest.fixture
def runs(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, make_member: Callable[..., Member]) -> Path:
    """Two members and their average, made once and copied for each test."""
    made = tmp_path_factory.getbasetemp() / "two-members-and-their-average"
    if not made.is_dir():
        members = [make_member(made, name, quality=quality) for name, quality in (("unet", 1.0), ("pspnet", 2.0))]
        combine(members, method="average", runs=made)
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def rewrite() -> Callable[..., None]:
    """``rewrite(path, "scores.json", miou=0.5)`` changes a file of a run as if it had been written so."""

    def change(path: Path, file: str, **changes: Any) -> None:
        content = read_json(path / file) if (path / file).is_file() else {}
        if file == "status.json":
            (path / file).write_text(json.dumps(sealed(content | changes)))
            return
        (path / file).write_text(json.dumps(content | changes))
        status = read_json(path / "status.json")
        files = status["files"] | {file: file_digest(path / file)}
        (path / "status.json").write_text(json.dumps(sealed(status | {"files": files})))

    return change


@pytest.fixture
def make_table() -> Callable[..., pd.DataFrame]:
    """``make_table({"loss": "ce", "miou": 0.5}, ...)``: a table of members of one data set and split, typed."""

    def make(*rows: dict[str, Any]) -> pd.DataFrame:
        common = {"kind": "member", "data": "mars.npz", "data_hash": "d" * 32, "split_hash": "5" * 32}
        common |= {"background": "void", "path": "nowhere"}
        names = list(dict.fromkeys(key for row in rows for key in row if key.startswith("iou_")))
        frame = pd.DataFrame([common | {"name": f"run-{i}"} | row for i, row in enumerate(rows)])
        ordered = order(names)
        return frame.reindex(columns=ordered).astype({name: column(name).dtype for name in ordered})

    return make
