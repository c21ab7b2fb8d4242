"""The best of each column, and which runs the images cannot tell from it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ensemble import results
from ensemble.core.errors import EnsError
from ensemble.evaluation.bootstrap import Bootstrap
from ensemble.evaluation.caveats import ENOUGH_GROUPS, support_notes, too_few_groups
from ensemble.evaluation.confusion import mean_iou, pixel_accuracy
from ensemble.evaluation.intervals import interval
from ensemble.results import best, notes, show, ties
from ensemble.runs.member import Member
from ensemble.runs.tables import ImageTables, read_tables

Make = Callable[..., pd.DataFrame]
MakeMember = Callable[..., Member]


# ---------------------------------------------------------------- best


def test_the_best_of_each_column(make_table: Make) -> None:
    table = make_table(
        {"miou": 0.5, "log_loss": 0.3, "seconds": 9, "seed": 0, "dice": 0.7},
        {"miou": 0.6, "log_loss": 0.2, "seconds": 9, "seed": 1},
        {"miou": 0.6, "log_loss": 0.4, "seconds": 8, "seed": 2},
    )
    marks: Any = best(table)
    assert marks["miou"].tolist() == [False, True, True]
    assert marks["log_loss"].tolist() == [False, True, False]
    assert marks["seconds"].tolist() == [False, False, True]
    assert marks["dice"].tolist() == [False] * 3  # one value alone is no best
    assert "seed" not in marks


def test_equal_values_are_no_best_and_sets_have_their_own(make_table: Make) -> None:
    table = make_table(
        {"miou": 0.5, "dice": 0.5},
        {"miou": 0.4, "dice": 0.5},
        {"miou": 0.9, "split_hash": "6" * 32},
        {"miou": 0.7, "background": "class"},
        {"miou": 0.8, "background": "class"},
        {"miou": 0.99, "background": None, "kind": "ensemble"},
    )
    assert best(table)["miou"].tolist() == [True, False, False, False, True, False]
    assert best(table)["dice"].tolist() == [False] * 6
    assert best(table.head(0)).empty


# ---------------------------------------------------------------- notes


def test_rows_that_cannot_be_compared_are_told(make_table: Make) -> None:
    table = make_table({"miou": 0.5}, {"miou": 0.9, "split_hash": "6" * 32})
    assert notes(table)[0].startswith(
        "These rows come from 2 data sets, splits or sets of classes, which cannot be comp"
    )
    assert notes(table.head(1)) == []


def test_epochs_picked_on_the_scored_images_are_told(make_table: Make) -> None:
    told = notes(make_table(*({"miou": 0.5, "selected": True} for _ in range(5)), {"miou": 0.4}))
    assert told[0].startswith("The epoch of run-0, run-1, run-2 and 2 more was selected on the images that are scored")


def test_classes_in_few_groups_are_told(runs: Path) -> None:
    frame = results.load(runs)
    member = Member.open(next((runs / "members").iterdir()))
    groups = member.store().groups
    expected = support_notes(member.confusions(), groups, member.facts.classes)
    assert (too_few_groups(len(set(groups))), tuple(notes(frame))) == ("", expected)
    assert any("'big rock' is in" in note for note in expected)
    other = frame.assign(split_hash="9" * 32, path="gone")
    told = notes(pd.concat([frame, other], ignore_index=True))
    assert told[1:] == [f"gone.npz 0000/1111: {note}" for note in expected]
    alike = pd.concat([frame, other.assign(path=frame["path"])], ignore_index=True)
    assert notes(alike)[1:] == list(expected)  # what holds for every set is written once


# ---------------------------------------------------------------- per-image tables


def test_per_image_tables_of_members_and_ensembles(runs: Path) -> None:
    member = Member.open(next((runs / "members").iterdir()))
    ensemble = next((runs / "ensembles").iterdir())
    for path in (member.path, ensemble):
        images = read_tables(path)
        assert images.classes == member.facts.classes
        assert list(images.ids) == list(member.store().ids)
        assert list(images.groups) == list(member.store().groups)
        scores = results.load(runs).set_index("name").loc[path.name]
        assert float(mean_iou(images.tables["confusions"].sum(0))) == scores["miou"]
    backwards = images.of(images.ids[::-1])
    assert (backwards.tables["confusions"] == images.tables["confusions"][::-1]).all()
    assert backwards.groups == tuple(images.groups[::-1])
    with pytest.raises(EnsError, match="expected a run of the same 19 images, got one of 20 images, or of others"):
        images.of(images.ids[1:])


def test_damaged_tables_are_named(runs: Path) -> None:
    member, other = sorted((runs / "members").iterdir())
    (member / "confusions.npz").write_bytes(b"PK")
    with pytest.raises(
        EnsError, match=r"confusions.npz differs from what was written \(damaged or edited\); remove it"
    ):
        read_tables(member)
    shutil.rmtree(other / "probabilities")
    with pytest.raises(EnsError, match=r"manifest\.json is missing; remove it"):
        read_tables(other)


# ---------------------------------------------------------------- ties


def table_of(runs: dict[str, ImageTables], make_table: Make, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A table of runs that have their per-image tables in memory."""

    def read(path: Path) -> ImageTables:
        return runs[path.name]

    monkeypatch.setattr("ensemble.results.significance.read_tables", read)
    rows: list[dict[str, Any]] = []
    for name, images in runs.items():
        total, pixels = images.tables["confusions"].sum(0), images.tables["confusions"].sum()
        row: dict[str, Any] = {"name": name, "path": name, "miou": float(mean_iou(total))}
        row |= {"pixel_accuracy": float(pixel_accuracy(total))}
        if "log_loss" in images.tables:
            row["log_loss"] = float(images.tables["log_loss"].sum() / pixels)
        rows.append(row)
    return make_table(*rows)


def images_of(right: Any, noise: np.random.Generator, images: int = 60, wild: float = 0.0) -> ImageTables:
    """One run: in image n a share ``right[n]`` of the 100 pixels of each of two classes is right."""
    share = np.clip(np.asarray(right) + noise.normal(0, wild, images), 0, 1)
    hits = noise.binomial(100, share[:, None], (images, 2))
    confusions = np.zeros((images, 2, 2), np.int64)
    for k in range(2):
        confusions[:, k, k], confusions[:, k, 1 - k] = hits[:, k], 100 - hits[:, k]
    names = [f"image-{n}" for n in range(images)]
    groups = [f"group-{n // 2}" for n in range(images)]
    tables = {"confusions": confusions, "log_loss": 200 - confusions[:, 0, 0] * 1.0}
    return ImageTables(("a", "b"), (1, 2), names, groups, tables)


def test_a_planted_winner_its_equal_and_a_loser(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    share = noise.uniform(0.6, 0.9, 60)
    runs = {name: images_of(share - less, noise) for name, less in (("top", 0.0), ("equal", 0.001), ("bad", 0.1))}
    found = ties(table_of(runs, make_table, monkeypatch), resamples=1000)
    assert found.tested == ("miou", "pixel_accuracy", "log_loss")
    assert found.problems == ()
    top = best(table_of(runs, make_table, monkeypatch))
    for name in found.tested:
        assert [a + b for a, b in zip(top[name], found.marks[name], strict=True)] == [1, 1, 0]


def test_marks_are_those_of_paired_intervals_that_hold_together(
    make_table: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1)
    share = noise.uniform(0.5, 0.9, 60)
    runs = {f"run-{i}": images_of(share - 0.004 * i, noise, wild=0.05) for i in range(6)}
    frame = table_of(runs, make_table, monkeypatch)
    found = ties(frame, resamples=2000)
    leader = frame["miou"].idxmax()
    drawn = Bootstrap.draw(runs["run-0"].groups, resamples=2000)
    expected: list[bool] = []
    for name in frame["name"]:
        pair = [runs[each].tables["confusions"] for each in (frame.loc[leader, "name"], name)]
        one, other = (drawn.mean_iou(table) for table in pair)
        left = [drawn.leave_one_out.mean_iou(table) for table in pair]
        limits = interval(one - other, 1 - 0.05 / 5, left_out_g=left[0] - left[1])
        expected.append(name != frame.loc[leader, "name"] and not limits.low > 0)
    assert found.marks["miou"].tolist() == expected
    assert 0 < sum(expected) < 5  # it tells some and not others


@pytest.mark.slow
def test_the_truly_best_is_nearly_always_among_the_marked(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five equal runs any one may be the best: 3 % are missed, and 9 % where each interval is at 95 % by itself."""
    missed, trials = 0, 300
    for trial in range(trials):
        noise = np.random.default_rng(trial)
        share = noise.uniform(0.5, 0.9, 40)
        runs = {f"run-{i}": images_of(share, noise, images=40, wild=0.1) for i in range(5)}
        frame = table_of(runs, make_table, monkeypatch)
        marks = ties(frame, resamples=400).marks["miou"] | best(frame)["miou"]
        missed += not marks.iloc[0]  # the one that was planted first, whatever came out on top
    assert missed / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_images_in_another_order_are_the_same_images(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    share = noise.uniform(0.6, 0.9, 60)
    runs = {name: images_of(share - less, noise) for name, less in (("top", 0.0), ("near", 0.01))}
    plain = ties(table_of(runs, make_table, monkeypatch), resamples=500).marks
    runs["near"] = runs["near"].of(runs["near"].ids[::-1])
    pd.testing.assert_frame_equal(ties(table_of(runs, make_table, monkeypatch), resamples=500).marks, plain)


def test_runs_that_cannot_be_tested_are_named(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    runs = {name: images_of(np.full(60, share), noise) for name, share in (("top", 0.8), ("equal", 0.8), ("few", 0.7))}
    few, equal = runs["few"], runs["equal"]
    tables = {name: table[1:] for name, table in few.tables.items()}
    runs["few"] = replace(few, ids=few.ids[1:], groups=few.groups[1:], tables=tables)
    runs["old"] = replace(equal, classes=("a", "c"))
    frame = table_of(runs, make_table, monkeypatch)
    found = ties(frame, resamples=200)
    assert [problem.split(":")[0] for problem in found.problems] == [
        "few is not compared with the best",
        "old is not compared with the best",
    ]
    assert "expected the classes a, b, got a, c" in found.problems[1]
    assert not found.marks.loc[2:].any(axis=None)


def test_too_few_groups_have_a_note_and_no_marks(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    runs = {name: images_of(np.full(60, share), noise) for name, share in (("top", 0.9), ("bad", 0.5))}
    for groups, tested in ((ENOUGH_GROUPS - 1, False), (ENOUGH_GROUPS, True)):
        film = {name: replace(each, groups=[f"g{n % groups}" for n in range(60)]) for name, each in runs.items()}
        frame = table_of(film, make_table, monkeypatch)
        found = ties(frame, resamples=200)
        assert (bool(found.tested), found.problems) == (tested, ())
        monkeypatch.setattr(
            sys.modules["ensemble.results.best"], "read_tables", lambda path, film=film: film[path.name]
        )
        assert (too_few_groups(groups) in notes(frame)) == (not tested)


def test_one_group_and_lone_rows_have_no_marks(make_table: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    one = [images_of(np.full(4, share), noise, images=4) for share in (0.9, 0.8)]
    runs = {f"run-{i}": replace(each, groups=["g"] * 4) for i, each in enumerate(one)}
    found = ties(table_of(runs, make_table, monkeypatch))
    assert (found.tested, found.marks.any(axis=None)) == ((), False)
    assert all("expected at least 2 groups of images" in problem for problem in found.problems)
    alone = table_of({"run-0": one[0]}, make_table, monkeypatch)
    assert ties(alone).problems == ()
    assert ties(alone.head(0)).tested == ()


def test_scores_of_written_runs_are_tested(runs: Path) -> None:
    frame = results.load(runs)
    told: list[int] = []
    found = ties(frame, lambda _, done, total, __="": told.append(done), resamples=200)
    assert {"miou", "iou_soil", "iou_big_rock", "pixel_accuracy", "log_loss"} <= set(found.tested)
    assert told == [1, 2, 3]
    assert found.problems == ()
    shown = show(frame).with_ties(found)
    assert shown.tied["mIoU %"].tolist() == found.marks["miou"].tolist()
    assert shown.notes[-1].startswith(
        "\u2020: not significantly worse than the best (paired bootstrap over image groups"
    )
    assert "mIoU %" not in shown.notes[-1].partition("not tested")[2]
    assert "Keras" in shown.notes[-1].partition("not tested")[2]


def test_of_many_runs_that_cannot_be_tested_three_are_named(make_table: Make) -> None:
    problems = tuple(f"run-{i} is not compared with the best: gone" for i in range(5))
    found = results.Ties(pd.DataFrame(index=[0]), (), problems)
    assert show(make_table({"miou": 0.5})).with_ties(found).notes == (
        *problems[:3],
        "... and 2 more that are not compared.",
    )
