"""Names of runs: the unique beginning of a name is enough, and a refit does not make that of its twin ambiguous."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.core.errors import EnsError, UnknownName
from ensemble.runs.folder import match_name

RUNS = [
    Path("runs", kind, name)
    for kind, name in (
        ("members", "unet-ce-s0-7ca07c"),
        ("members", "unet-ce-s0-7ca07c-refit"),
        ("members", "unet-w-s0-1a2b3c"),
        ("members", "linknet-ce-s0-99aa00-refit"),
        ("ensembles", "learned-3-4d5e6f"),
        ("ensembles", "learned-3-4d5e6f-refit"),
    )
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("unet-ce", "unet-ce-s0-7ca07c"),
        ("unet-ce-s0-7ca07c", "unet-ce-s0-7ca07c"),
        ("unet-ce-s0-7ca07c-", "unet-ce-s0-7ca07c-refit"),
        ("unet-ce-s0-7ca07c-refit", "unet-ce-s0-7ca07c-refit"),
        ("linknet", "linknet-ce-s0-99aa00-refit"),  # its twin was removed
        ("learned", "learned-3-4d5e6f"),
    ],
)
def test_the_twin_is_meant_unless_the_ending_is_given(name: str, found: str) -> None:
    assert match_name(name, RUNS).name == found
    assert match_name(name, RUNS[::-1]).name == found


def test_two_runs_stay_ambiguous_with_their_refits() -> None:
    with pytest.raises(EnsError, match=r"'unet' matches 2 names .*; give more of the name"):
        match_name("unet", RUNS)
    with pytest.raises(UnknownName):
        match_name("", RUNS)
