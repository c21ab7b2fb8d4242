"""Members that cannot be read are found, and a reason that several share is said once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from ensemble.runs.layout import members_folder, store_folder
from ensemble.runs.member import Member
from ensemble.runs.unreadable import said_once, unreadable_members


def test_members_that_cannot_be_read_are_found(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    assert unreadable_members(tmp_path) == {}
    _, config, tables, status = (make_member(tmp_path, seed=seed).path for seed in range(4))
    (config / "config.json").write_text("{}")
    shutil.rmtree(store_folder(tables, "validation"))
    (status / "status.json").unlink()
    (members_folder(tmp_path) / "notes").mkdir()
    found = unreadable_members(tmp_path)
    assert set(found) == {config, tables, status}
    assert "config.json differs from what was written" in found[config]
    assert "has lost its status.json" in found[status]


def test_a_reason_is_said_once_with_the_names_of_the_runs() -> None:
    runs = [Path("runs/members") / name for name in ("a", "b", "c")]
    advice = "{0} has lost its x; remove it with `ens remove {1}`"
    reason_of = {path: advice.format(path, path.name) for path in runs[:2]} | {runs[2]: "runs/members/c/y is missing"}
    assert said_once(reason_of) == [
        "2 runs (a, b): the run has lost its x; remove it with `ens remove NAME`",
        "runs/members/c/y is missing",
    ]
    assert said_once({runs[0]: advice.format(runs[0], "a")}) == [advice.format(runs[0], "a")]
    assert said_once({}) == []
