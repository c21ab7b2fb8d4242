"""`ens data next`: the table, the contact sheet, copies, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.combining.alignment import align
from ensemble.combining.label_next import information_per_image
from ensemble.core.errors import EnsError
from ensemble.report.figures.next_images import next_figure
from ensemble.report.label_next import label_next
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member


def test_the_table_has_the_best_images_first(tiny_runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    found = label_next(tiny_npz, count=3, out=tmp_path / "new", runs=tiny_runs)
    with found.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    aligned = align([Member.open(path) for path in find_members(tiny_runs)], "test")
    information = information_per_image(aligned)
    best = np.argsort(-information)[:3]
    assert [row["id"] for row in rows] == [aligned.ids[n] for n in best]
    assert [float(row["information"]) for row in rows] == pytest.approx(information[best].tolist())
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert found.members == aligned.names
    with Image.open(found.picture) as picture:
        assert picture.width > 1000


def test_copies_are_chosen_once(train_tiny: Callable[..., Member], tiny_arrays: dict[str, Any], tmp_path: Path) -> None:
    tests = tiny_arrays["test_set"]
    data = tmp_path / "copies.npz"
    arrays: dict[str, Any] = tiny_arrays | {"test_set": np.concatenate([tests, tests])}
    np.savez(data, **arrays)
    for seed in range(2):
        train_tiny(tmp_path / "runs", data=data, epochs=1, seed=seed)
    names = [path.name for path in find_members(tmp_path / "runs")]
    arguments = [
        "data",
        "next",
        str(data),
        "--members",
        *names,
        "--runs",
        str(tmp_path / "runs"),
        "--out",
        str(tmp_path),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "note: the other images are near-duplicates of these, so fewer than 20 are chosen" in result.output
    result = CliRunner().invoke(app, [*arguments, "--n", "2", "--json"])
    content = json.loads(result.stdout)
    assert len(content["images"]) == 2
    assert content["members"] == names
    found = label_next(data, names, out=tmp_path, runs=tmp_path / "runs")
    assert len(found.chosen) == len(tests)
    assert {int(name) % len(tests) for name in found.chosen["id"]} == set(range(len(tests)))


def test_what_cannot_be_ranked_is_one_sentence(
    tiny_runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], make_member: Callable[..., Member], tmp_path: Path
) -> None:
    def refused(data: Path, *members: Path, runs: Path = tiny_runs) -> str:
        with pytest.raises(EnsError) as error:
            label_next(data, members, out=tmp_path / "out", runs=runs)
        return str(error.value)

    paths = list(find_members(tiny_runs))
    np.savez(tmp_path / "none.npz", training_set=tiny_arrays["training_set"])
    np.savez(tmp_path / "other.npz", **tiny_arrays | {"test_set": tiny_arrays["test_set"][::-1]})
    text = refused(tmp_path / "none.npz")
    assert text.startswith(
        "expected test images in none.npz, of which the next ones to label are chosen, got none; put"
    )
    assert "expected at least two members, because images are ranked by their disagreement, got 1 of" in refused(
        tiny_npz, paths[0]
    )
    assert f"{paths[0].name} was trained on other data than other.npz" in refused(tmp_path / "other.npz", *paths)
    assert not (tmp_path / "out").exists()


def test_the_sheet_has_a_picture_for_each_image() -> None:
    noise = np.random.default_rng(0)
    pictures = [(noise.integers(0, 255, (20, 40, 1), np.uint8), noise.random((20, 40), np.float32)) for _ in range(4)]
    figure = next_figure(pictures, ["1. a", "2. b", "3. c", "4. d"])
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title(loc="left") for axis in shown] == ["1. a", "2. b", "3. c", "4. d"]
    assert np.asarray(shown[0].images[0].get_array()).shape == (20, 84, 3)
