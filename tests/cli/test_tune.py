"""``ens tune``: what it says, what it prints as JSON, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

pytest.importorskip("optuna")

TINY = ("--arch", "unet-baseline(filters=2, depth=1)", "--loss", "focal")
QUICK = ("--batch-size", "4", "--trials", "2", "--trial-epochs", "1", "--epochs", "1", "--augment", "none")


def test_a_tuning_says_what_it_did_and_what_its_scores_are(
    ens: Callable[..., Result], tiny_npz: Path, tmp_path: Path
) -> None:
    command = ("tune", tiny_npz, *TINY, *QUICK, "--out", tmp_path)
    said = ens(*command)
    assert said.exit_code == 0
    (folder,) = (tmp_path / "studies").iterdir()
    for text in (
        folder.name,
        "the 6 validation images of the members take no part",
        "0.5 to 5",  # where gamma is looked for
        "0 (defaults)",
        "report only the scores of the members",
        "its score is on images that chose nothing",
        "hold-out",
        f"2 trials: {folder / 'trials.csv'}",
    ):
        assert text in said.stdout
    assert "filters" not in said.stdout.split("inner mIoU")[0]  # it was set

    told = json.loads(ens(*command, "--json").stdout)
    assert told["folder"] == str(folder)
    assert [trial["trial"] for trial in told["trials"]] == [0, 1]
    assert told["members"][0]["scores"]["selected"] is False
    assert told["best"][0] in (0, 1)
    assert ens(*command, "--quiet").stdout == f"2 trials: {folder / 'trials.csv'}\n"


def test_mistakes_are_one_sentence(ens: Callable[..., Result], tiny_npz: Path, tmp_path: Path) -> None:
    wrong = ens("tune", tiny_npz, "--arch", "unet", "--loss", "focl", "--out", tmp_path)
    assert (wrong.exit_code, wrong.stdout.count("Traceback")) == (2, 0)
    assert "unknown loss 'focl'; did you mean 'focal'" in wrong.stderr
    assert not list(tmp_path.iterdir())
