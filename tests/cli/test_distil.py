"""`ens distil` says what it will take, trains, judges, and refuses mistakes in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ensemble.combining.combine import combine
from ensemble.runs.member import Member

Ens = Callable[..., Result]
STUDENT = ("--arch", "unet-baseline(filters=2, depth=1)", "--loss", "ce", "--epochs", "1", "--batch-size", "4")
FAST = ("--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def runs(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an ensemble of two members of three folds."""
    folder = tmp_path_factory.mktemp("distil-cli") / "runs"
    combine([train_tiny(folder, seed=seed, folds=3) for seed in (0, 1)], method="average", runs=folder, folds=2)
    return folder


def test_the_plan_comes_first_and_a_dry_run_stops_there(ens: Ens, runs: Path) -> None:
    command = ("distil", "average", *STUDENT, *FAST, "--runs", runs, "--unlabelled", "test")
    before = sorted(runs.rglob("*"))
    result = ens(*command, "--dry-run")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "taught by average-2-" in said
    assert "2 members; labels have 50 % of the loss and 5 unlabelled images, 25 % of each batch" in said
    assert "teach 6 networks, each trained without two folds; 6 to train take about " in said
    assert "note the test images are among the unlabelled ones" in said
    assert "nothing was trained or written; leave --dry-run out to train" in said
    content = json.loads(ens(*command, "--dry-run", "--json").stdout)
    assert (content["teachers"], content["missing"], content["unlabelled"], content["state"]) == (6, 6, 5, "new")
    assert sorted(runs.rglob("*")) == before


def test_it_trains_and_judges_and_the_same_command_is_done(ens: Ens, runs: Path) -> None:
    command = ("distil", "average", *STUDENT, *FAST, "--runs", runs, "--label-share", "0.3")
    result = ens(*command)
    assert result.exit_code == 0, result.output
    path = Path(result.stdout.splitlines()[-1])
    taught = Member.open(path).settings.taught
    assert taught is not None
    assert taught.label_share == 0.3
    said = " ".join(result.stdout.split())
    for text in ("student - its ensemble", "log-loss, over the average member", "verdict: ", "out-of-fold"):
        assert text in said
    again = ens(*command, "--json")
    content = json.loads(again.stdout)
    assert (content["name"], len(content["gains"]), content["verdict"]["rival"]) == (path.name, 4, "its ensemble")
    assert "teach all is done" in " ".join(ens(*command).stdout.split())
    other = ens("distil", "average", *STUDENT, *FAST, "--runs", runs, "--dry-run")
    assert "6 networks, each trained without two folds; all are kept from before" in " ".join(other.stdout.split())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--label-share", "2"), "expected label_share below 1, got 2"),
        (("--augment", "copy-paste"), "leave out the step that does of 'copy-paste"),
        (("--folds", "3"), "No such option: --folds"),
        (("--unlabelled", "nowhere"), "there are no unlabelled images at nowhere"),
    ],
)
def test_mistakes_are_one_sentence(ens: Ens, runs: Path, options: tuple[str, ...], text: str) -> None:
    result = ens("distil", "average", *STUDENT, *FAST, "--runs", runs, *options)
    assert result.exit_code == 2
    assert text in " ".join(result.output.split())
    assert "Traceback" not in result.output
