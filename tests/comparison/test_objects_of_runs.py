"""Objects of runs: aligned by image, compared in pairs, and left out where they cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.comparison.pairs import compare_runs, judge_pairs
from ensemble.comparison.runs import OBJECTS, Run, line_up, open_run
from ensemble.evaluation.objects import object_f1
from ensemble.runs.tables import read_tables


def a_run(name: str, found: float, seed: int = 0, images: int = 120) -> Run:
    """A run of two images a group with three true rocks each, of which a share is found; two of five groups have none.

    Each missed rock has a wrong one for it. One big soil per image is always found.
    """
    random, rocks_n = np.random.default_rng(seed), np.where(np.arange(images) // 2 % 5 < 3, 3, 0)
    found_n = random.binomial(rocks_n, found)
    rock_n4 = np.stack([found_n, rocks_n, found_n, rocks_n], axis=1)
    return Run(
        name=name,
        path=Path("runs") / name,
        data=("mars.npz", "d", "s"),
        classes=("soil", "rock"),
        background=None,
        ids=tuple(f"image-{row}" for row in range(images)),
        groups=tuple(f"group-{row // 2:03d}" for row in range(images)),
        confusions_nkp=np.stack([np.diag([90, 10])] * images),
        objects_nk4=np.stack([np.ones((images, 4), int), rock_n4], axis=1),
    )


def judged(*runs: Run) -> dict[str, Any]:
    shared = line_up(runs)
    found = judge_pairs(shared.names, shared.object_columns, shared.object_scores(400))
    return {one.score: one for one in found}


def test_a_run_that_finds_more_rocks_is_seen_though_its_pixels_are_equal() -> None:
    found = judged(a_run("a", 0.8), a_run("b", 0.4, seed=1))
    rock = found[f"{OBJECTS} of rock"]
    assert 0.25 < rock.estimate.low < 0.4 < rock.estimate.high < 0.5
    assert rock.significant
    assert found[OBJECTS].estimate.difference == pytest.approx(rock.estimate.difference / 2)
    assert found[f"{OBJECTS} of soil"].estimate.difference == 0


def test_one_rock_more_than_none_is_no_difference() -> None:
    none, one = a_run("a", 0.0), a_run("b", 0.0)
    assert one.objects_nk4 is not None
    one.objects_nk4[0, 1, [0, 2]] = 1
    rock = judged(one, none)[f"{OBJECTS} of rock"]
    assert rock.estimate.difference > 0
    assert not rock.significant
    many = judged(a_run("c", 0.3), none)[f"{OBJECTS} of rock"]
    assert many.significant


def test_equal_runs_rarely_differ() -> None:
    wrong = [
        judged(a_run("a", 0.5, seed=s), a_run("b", 0.5, seed=s + 1))[OBJECTS].significant for s in range(0, 120, 2)
    ]
    assert sum(wrong) <= 7  # of 60, at 5 %: more than 7 has a probability of 1.5 %


def test_objects_are_aligned_by_image() -> None:
    first, second = a_run("a", 0.8), a_run("b", 0.4, seed=1)
    order = np.random.default_rng(0).permutation(120)[:100]
    assert second.objects_nk4 is not None
    shuffled = replace(
        second,
        classes=("rock", "soil"),
        ids=tuple(second.ids[row] for row in order),
        groups=tuple(second.groups[row] for row in order),
        confusions_nkp=second.confusions_nkp[order][:, ::-1, ::-1],
        objects_nk4=second.objects_nk4[order][:, ::-1],
    )
    objects = line_up([first, shuffled]).objects_nrk4
    kept = np.sort(order)
    assert objects is not None
    assert first.objects_nk4 is not None
    assert (objects[:, 0] == first.objects_nk4[kept]).all()
    assert (objects[:, 1] == second.objects_nk4[kept]).all()


def test_older_runs_and_other_classes_are_compared_without_objects() -> None:
    run, plain = a_run("a", 0.8), replace(a_run("b", 0.4), objects_nk4=None)
    shared = line_up([run, plain])
    assert shared.objects_nrk4 is None
    assert shared.object_scores(10) == ()
    assert judge_pairs(shared.names, shared.object_columns, ()) == ()
    confusions = np.pad(run.confusions_nkp, ((0, 0), (1, 0), (1, 0)))
    objects = np.pad(np.asarray(run.objects_nk4), ((0, 0), (1, 0), (0, 0)))
    ground = ("ground", *run.classes)
    more = replace(run, name="c", path=Path("c"), classes=ground, background="ground", confusions_nkp=confusions)
    assert line_up([run, replace(more, objects_nk4=objects)]).objects_nrk4 is None


def test_runs_on_disk(grid: list[Path]) -> None:
    found = compare_runs(grid[2:4], resamples=50)
    one, other = (open_run(path) for path in grid[2:4])
    assert one.objects_nk4 is not None
    assert other.objects_nk4 is not None
    assert (one.objects_nk4 == read_tables(grid[2]).tables["objects"].sum(2)).all()
    difference = object_f1(one.objects_nk4.sum(0)) - object_f1(other.objects_nk4.sum(0))
    assert [each.estimate.difference for each in found.objects[1:]] == pytest.approx(difference.tolist())
    assert found.table()["score"].tolist()[-len(found.objects) :] == list(found.shared.object_columns)


def test_a_run_of_an_older_version_on_disk(grid: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from ensemble.comparison import runs

    def without_objects(path: Path) -> Any:
        tables = read_tables(path)
        kept = {name: table for name, table in tables.tables.items() if name != "objects"}
        return replace(tables, tables=kept)

    monkeypatch.setattr(runs, "read_tables", without_objects)
    found = compare_runs(grid[:2], resamples=20)
    assert found.objects == ()
    assert found.differences
