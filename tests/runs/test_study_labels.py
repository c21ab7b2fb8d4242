"""Runs are found by study and label, wherever they are found by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ensemble.core.errors import EnsError
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.remove import plan_removal
from ensemble.runs.study_labels import labelled_name

LABELS = {
    "plain": "unet-ce-s0-7ca07c",
    "rocks, ring": "unet-w-s0-1a2b3c",
    "rocks": "pan-ce-s0-99aa00",
    "gone": None,
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    (tmp_path / "studies").mkdir()
    table = pd.DataFrame({"label": LABELS.keys(), "group": None, "name": LABELS.values(), "miou": 0.5})
    table.to_csv(tmp_path / "studies" / "mars.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mars:plain", "unet-ce-s0-7ca07c"),
        ("mars:pl", "unet-ce-s0-7ca07c"),
        ("mars:rocks", "pan-ce-s0-99aa00"),  # a whole label, although another one begins with it
        ("mars:rocks, ring", "unet-w-s0-1a2b3c"),
        ("unet-ce", "unet-ce"),
        ("../studies/mars:plain", "../studies/mars:plain"),
    ],
)
def test_a_label_leads_to_a_name(runs: Path, name: str, found: str) -> None:
    assert labelled_name(name, runs) == found


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mars:plane", "unknown label of the study 'mars' 'plane'; did you mean 'plain'"),
        ("mars:", "unknown label of the study 'mars' ''"),
        ("mars:r", "'r' begins 2 labels of the study 'mars' (rocks, ring, rocks); give more of the label"),
        ("mars:gone", "'gone' of the study 'mars' was not finished; repeat `ens study` with its recipe"),
        ("venus:plain", "unknown study 'venus'. Known: mars"),
    ],
)
def test_mistakes(runs: Path, name: str, sentence: str) -> None:
    with pytest.raises(EnsError, match=re.escape(sentence)):
        find_run(name, runs)


def test_members_are_found_and_removed_by_label(runs: Path, make_member: Callable[..., Member]) -> None:
    member = make_member(runs)
    table = pd.DataFrame({"label": ["the best"], "name": [member.name]})
    table.to_csv(runs / "studies" / "real.csv", index=False)
    assert find_run("real:the best", runs) == find_run(member.name, runs) == member.path
    assert plan_removal(["real:the"], runs).paths == (member.path,)
