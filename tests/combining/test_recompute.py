"""A value that does not follow from probabilities and labels is named, although every checksum matches."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.combining.recompute import recompute, recompute_runs
from ensemble.config import Background
from ensemble.core.files import read_json
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.verify import verify

Edit = Callable[..., None]


@pytest.fixture(scope="module")
def combined(
    make_member: Callable[..., Member],
    make_evaluation: Callable[[Path, Member], Path],
    make_world: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Three members, an ensemble with pools that differ from fold to fold, and an evaluation."""
    runs, world = tmp_path_factory.mktemp("recomputed") / "runs", make_world(30)
    members = [
        make_member(runs, name, quality=1 + 0.4 * m, world=world, background="class", resamples=10_000)
        for m, name in enumerate(("unet", "linknet", "pspnet"))
    ]
    combine(runs=runs, method="learned", calibrate="both", decide="expected-iou", smallest_object="auto", folds=3)
    make_evaluation(runs, members[0])
    return runs


@pytest.fixture
def runs(combined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(combined, tmp_path / "runs"))


def test_nothing_differs_in_runs_as_they_were_written(runs: Path) -> None:
    found = recompute_runs(runs)
    assert (found.runs, found.differences, found.without_tables, found.failed) == (5, [], [], [])


@pytest.mark.parametrize("background", ["void", "class", "zero-weight"])
def test_scores_of_each_meaning_of_class_0_are_recomputed(
    background: Background, make_member: Callable[..., Member], tmp_path: Path
) -> None:
    member = make_member(tmp_path, background=background, resamples=10_000)
    assert recompute(member.path) == []


def test_images_of_many_sizes_are_recomputed(many_sizes: Any) -> None:
    combine(runs=many_sizes.runs, method="stacking(neighbourhood=3)", folds=2)
    found = recompute_runs(many_sizes.runs)
    assert (found.runs, found.differences) == (4, [])


@pytest.mark.parametrize("name", ["unet", "learned", "test-unet"])
def test_an_edited_score_is_named_with_both_values(name: str, runs: Path, edit_json: Edit) -> None:
    kind = "evaluation" if name.startswith("test") else None
    path = find_run(name, runs, kind)
    true = read_json(path / "scores.json")

    def better(scores: dict[str, Any]) -> None:
        scores["miou"] += 0.01
        scores["iou_high"]["sand"] = 0.999

    edit_json(path, better)
    assert verify(runs).problems == []  # the checksums match
    found = {difference.cell: difference for difference in recompute_runs(runs).differences}
    assert found.keys() == {"miou", "iou_high, sand"}
    assert found["miou"].run == path.name
    assert found["miou"].stored == true["miou"] + 0.01
    assert found["miou"].recomputed == pytest.approx(true["miou"], abs=1e-12)
    text = str(found["iou_high, sand"])
    assert re.fullmatch(rf"{path.name}: iou_high, sand is 0.999, recomputed 0\.\d+", text)


def test_an_edited_verdict_is_named(runs: Path, edit_json: Edit) -> None:
    path = find_run("learned", runs)

    def won(scores: dict[str, Any]) -> None:
        scores["verdict"]["differences"]["method - average"]["low"] = 0.5
        scores["verdict"]["use"] = "the moon"
        scores["in_sample"]["log_loss"] = 0.0

    edit_json(path, won)
    cells = {difference.cell for difference in recompute(path) or []}
    assert cells == {"verdict, differences, method - average, low", "verdict, use", "in_sample, log_loss"}


def test_tables_that_were_edited_with_the_scores_are_named(runs: Path, edit_tables: Edit) -> None:
    for name in ("unet", "learned"):
        path = find_run(name, runs)
        edit_tables(path, objects=lambda table: table.__setitem__((3, 1, 0, 0), 40))
        cells = [difference.cell for difference in recompute(path) or []]
        assert cells[0] == "the table objects of 1 images (sum of image 3)"


def test_sums_that_the_stored_codes_do_not_allow_are_named(runs: Path, edit_tables: Edit) -> None:
    path = find_run("unet", runs)
    edit_tables(path, log_loss=lambda table: table.__setitem__(5, table[5] / 2))
    first = (recompute(path) or [])[0]
    assert first.cell == "the log-loss of image image-005"
    assert re.fullmatch(r"[\d.]+ to [\d.]+", str(first.recomputed))


def test_reliability_tables_of_other_predictions_are_named(runs: Path, edit_tables: Edit) -> None:
    path = find_run("unet", runs)
    edit_tables(path, reliability_per_class=lambda table: table.__setitem__((0, 0, 0, 7), 900))
    cells = [difference.cell for difference in recompute(path) or []]
    assert "the number of pixels in the reliability tables" in cells


def test_an_ensemble_whose_member_is_gone_is_reported_and_the_others_are_recomputed(runs: Path) -> None:
    shutil.rmtree(find_run("linknet", runs))
    found = recompute_runs(runs)
    assert (found.runs, found.differences) == (3, [])
    assert "needs the member linknet" in found.failed[0]
