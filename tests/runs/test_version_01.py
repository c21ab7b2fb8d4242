"""Run directories of version 0.1 are read; those of unknown formats are refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.verify import verify

CONFIG: dict[str, Any] = {
    "format_version": 1,
    "kind": "member",
    "settings": {  # the first members stored fewer settings than today's
        "data": {"source": "sample", "background": "void", "val_fraction": 0.2, "split_seed": 0},
        "architecture": {"name": "unet", "options": {"filters": 8}, "origin": "built-in"},
        "loss": {"name": "focal", "options": {"gamma": 1.5}, "origin": "built-in"},
        "epochs": 2,
        "seed": 1,
    },
    "data": {
        "name": "sample",
        "data_hash": "d" * 32,
        "split_hash": "5" * 32,
        "background": "void",
        "classes": ["soil", "rock"],
        "values": [1, 2],
        "bands": 1,
        "height": 64,
        "width": 128,
    },
}
SCORES = {"miou": 0.5, "iou": {"soil": 0.75, "rock": 0.25}, "images": 2, "protocol": "hold-out", "selected": False}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A member as version 0.1 wrote it, made by hand."""
    path = tmp_path / "runs" / "members" / "unet-focal-s1-0123ab"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "scores.json").write_text(json.dumps(SCORES))
    (path / "history.csv").write_text("fold,epoch,seconds,train_loss\n0,1,2.5,1.0\n0,2,2.5,0.5\n")
    np.savez_compressed(path / "confusions.npz", confusions=np.full((2, 2, 2), 7))
    names = ("config.json", "scores.json", "confusions.npz", "history.csv")
    files = {name: hashlib.blake2b((path / name).read_bytes(), digest_size=16).hexdigest() for name in names}
    status = {"format_version": 1, "kind": "member", "state": "complete", "seconds": 6.0, "parameters": 1000}
    status |= {"finished": "2026-11-24T10:00:00+00:00", "training_seconds": 5.0, "files": files}
    (path / "status.json").write_text(json.dumps(status))
    return path


def test_a_member_of_version_01_is_read(old: Path) -> None:
    member = Member.open(find_run("unet-focal", old.parents[1]))
    assert (member.name, member.settings.seed, member.settings.tta) == ("unet-focal-s1-0123ab", 1, "none")
    assert member.facts.classes == ("soil", "rock")
    assert member.confusions().sum() == 56
    row: Any = results.load(old.parents[1]).iloc[0]
    assert (row["miou"], row["iou_rock"], row["seconds"], row["loss"]) == (0.5, 0.25, 5.0, "focal")
    assert [problem for problem in verify(old.parents[1]).problems if "probability store" not in problem] == []


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (0, "has format 0, but this version reads formats 1 and 2; remove it with `ens remove"),
        (2, "status.json differs from what was written"),
        (3, "has format 3, but this version reads formats 1 and 2; upgrade ens-toolkit"),
        ("1", "status.json is damaged"),
    ],
)
def test_unknown_formats_are_refused_in_one_sentence(old: Path, version: Any, text: str) -> None:
    status = json.loads((old / "status.json").read_text())
    (old / "status.json").write_text(json.dumps(status | {"format_version": version}))
    with pytest.raises(EnsError, match=text):
        Member.open(old)


def test_several_names_that_begin_alike_are_listed(old: Path) -> None:
    (old.parent / "unet-focal-s2-456789").mkdir()
    with pytest.raises(EnsError, match=r"'unet' matches 2 names \(unet-focal-s1-0123ab, unet-focal-s2-456789\); give"):
        find_run("unet", old.parents[1])
    with pytest.raises(EnsError, match="unknown member 'unit-focal'; did you mean 'unet-focal-s"):
        find_run("unit-focal", old.parents[1], "member")


def test_verify_says_which_runs_have_fewer_checksums(old: Path) -> None:
    assert verify(old.parents[1]).old == [old.name]


def test_an_old_status_cannot_stand_for_a_new_one(make_member: Callable[..., Member], tmp_path: Path) -> None:
    path = make_member(tmp_path, "unet").path
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"format_version": 1, "seconds": 0}))
    with pytest.raises(EnsError, match=r"status.json is damaged \(format_version is not that of config.json\)"):
        Member.open(path)
