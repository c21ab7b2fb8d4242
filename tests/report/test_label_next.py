"""`ens data next`: the table, the contact sheet, copies, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
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


def test_images_that_no_member_stored_are_predicted_to_the_same_order(
    tiny_runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "same.npz", test_set=tiny_arrays["test_set"])
    names = [path.name for path in find_members(tiny_runs)]
    stored = label_next(tiny_npz, names, out=tmp_path, runs=tiny_runs)
    new = label_next(tmp_path / "same.npz", names, out=tmp_path / "new", device="cpu", runs=tiny_runs)
    assert (stored.name, new.name) == ("tiny.npz", "same.npz")
    assert stored.total == new.total == len(tiny_arrays["test_set"])
    assert set(new.chosen["id"]) == set(stored.chosen["id"])
    one, other = (found.chosen.set_index("id")["information"].sort_index() for found in (stored, new))
    np.testing.assert_allclose(one, other, atol=2e-3)  # a byte per stored probability
    assert new.members == stored.members == tuple(names)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["next.csv", "next.png"]


def test_an_ensemble_stands_for_its_members_and_a_repeated_command_gives_the_same(
    tiny_runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    runs, photos = Path(shutil.copytree(tiny_runs, tmp_path / "runs")), tmp_path / "photos"
    combine(method="average", calibrate="none", runs=runs)
    (photos / "paris").mkdir(parents=True)
    for row, image in enumerate(tiny_arrays["test_set"]):
        Image.fromarray(image).save(photos / "paris" / f"{row}.png")
    Image.fromarray(tiny_arrays["training_set"][0, 0]).save(photos / "paris" / "old.png")
    out = photos / "next"  # it is left out when the images are collected again
    arguments = ["data", "next", str(photos), "average", "--n", "3", "--out", str(out), "--runs", str(runs)]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "note    left out, because the members' data hold labelled copies: 1 image (paris/old)" in result.stdout
    assert "photos: 3 of 5 images" in result.stdout
    first = [(out / name).read_bytes() for name in ("next.csv", "next.png")]
    content = json.loads(CliRunner().invoke(app, [*arguments, "--device", "cpu", "--json"]).stdout)
    assert content["members"] == [path.name for path in find_members(runs)]
    assert [(out / name).read_bytes() for name in ("next.csv", "next.png")] == first
    stored = label_next(tiny_npz, ["average"], count=3, out=tmp_path / "stored", runs=runs)
    assert [row["id"] for row in content["images"]] == [f"paris/{name}" for name in stored.chosen["id"]]


def test_the_pattern_of_names_of_the_training_data_gives_groups(
    train_tiny: Callable[..., Member], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "data.toml").write_text(
        "group_pattern = '^([a-z]+)'\nvoid = 0\n[train]\nimages = 'images/{id}.png'\nmasks = 'masks/{id}.png'\n"
        "[classes]\nsoil = 1\nrock = 2\nripples = 3\n"
    )
    for folder in ("images", "masks", "new"):
        (tmp_path / folder).mkdir()
    for row, (image, mask) in enumerate(tiny_arrays["training_set"][:16]):
        name = f"{'abcdefgh'[row // 2]}{row}.png"
        Image.fromarray(image).save(tmp_path / "images" / name)
        Image.fromarray(mask).save(tmp_path / "masks" / name)
    for row, image in enumerate(tiny_arrays["training_set"][16:21, 0]):
        Image.fromarray(image).save(tmp_path / "new" / f"{'xxxyz'[row]}{row}.png")
    paths = [train_tiny(tmp_path / "runs", data=tmp_path / "data.toml", epochs=1, seed=seed).path for seed in range(2)]
    found = label_next(tmp_path / "new", paths, out=tmp_path, device="cpu")
    assert sorted(found.chosen["group"]) == ["x", "x", "x", "y", "z"]
    assert set(found.chosen["group"][:3]) == {"x", "y", "z"}
    assert [name[0] for name in found.chosen["id"]] == list(found.chosen["group"])


def test_what_cannot_be_ranked_is_one_sentence(
    tiny_runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    def refused(data: Path, *members: Path | str, runs: Path = tiny_runs, out: Path = tmp_path / "out") -> str:
        with pytest.raises(EnsError) as error:
            label_next(data, members, out=out, device="cpu", runs=runs)
        return str(error.value)

    paths, photos = list(find_members(tiny_runs)), tmp_path / "photos"
    photos.mkdir()
    assert refused(photos, *paths).startswith(f"the folder {photos} holds no images (.png, ")
    Image.fromarray(tiny_arrays["test_set"][0]).save(photos / "a.png")
    np.savez(tmp_path / "none.npz", training_set=tiny_arrays["training_set"])
    np.savez(tmp_path / "other.npz", **tiny_arrays | {"test_set": tiny_arrays["test_set"][::-1]})
    few = "expected at least two members, because images are ranked by their disagreement, got 1; name another"
    assert refused(tiny_npz, paths[0]).startswith(few)
    assert refused(photos, paths[0]).startswith(few)
    assert refused(photos).startswith(
        f"expected the names of members that predict the images of {photos} (--members), because they are no data that"
        " members were trained on: expected images in "
    )
    assert refused(tmp_path / "other.npz").endswith("because no member in " + f"{tiny_runs} was trained on these data")
    assert refused(tmp_path / "nowhere", *paths).startswith(f"there is no file or folder {tmp_path / 'nowhere'}; give")
    assert refused(tmp_path / "none.npz", *paths).startswith(
        "expected test images in none.npz, of which the next ones to label are chosen, got none; put images without"
    )
    assert "matches 2 names" in refused(photos, "unet")
    assert "was given twice" in refused(photos, paths[0], paths[0])
    assert refused(photos, *paths, out=photos) == (
        f"expected a folder for next.csv and next.png, got that of the images, {photos}; choose another one"
    )
    with pytest.raises(EnsError, match="expected at least one image to choose as count, got 0"):
        label_next(photos, paths, count=0, out=tmp_path / "out", runs=tiny_runs)
    assert sorted(path.name for path in photos.iterdir()) == ["a.png"]
    assert not (tmp_path / "out").exists()


def test_the_sheet_has_a_picture_for_each_image() -> None:
    noise = np.random.default_rng(0)
    pictures = [(noise.integers(0, 255, (20, 40, 1), np.uint8), noise.random((20, 40), np.float32)) for _ in range(4)]
    figure = next_figure(pictures, ["1. a", "2. b", "3. c", "4. d"])
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title(loc="left") for axis in shown] == ["1. a", "2. b", "3. c", "4. d"]
    assert np.asarray(shown[0].images[0].get_array()).shape == (20, 84, 3)
