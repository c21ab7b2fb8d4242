"""What is next to a mask belongs to it: maps, class sets and estimates of another model leave with the mask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from ensemble.inference.load import load
from ensemble.inference.open_images import open_images
from ensemble.inference.predictor import Predictor
from ensemble.inference.quality_table import load_quality
from ensemble.inference.write_masks import predict_to

EVERYTHING: dict[str, Any] = {"probabilities": True, "uncertainty": ["entropy"]}
NEXT_TO_A = ["a.entropy.tif", "a.probabilities.tif", "a.sets.tif"]


@pytest.fixture(scope="module")
def models(tiny_runs: Path) -> list[Path]:
    return sorted((tiny_runs / "members").iterdir())[:2]


@pytest.fixture(scope="module")
def first(models: list[Path]) -> Predictor:
    return replace(load(models[0]), in_set_c=(0.2, 0.2, 0.2))


@pytest.fixture(scope="module")
def other(models: list[Path]) -> Predictor:
    return load(models[1])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder, noise = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for name in "ab":
        Image.fromarray(noise.integers(0, 256, (32, 32), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file())


def test_another_model_takes_the_companions_with_the_mask(
    first: Predictor, other: Predictor, photos: Path, tmp_path: Path
) -> None:
    out, notes = tmp_path / "out", list[str]()
    predict_to(first, open_images(photos), out, **EVERYTHING)
    assert names(out) == sorted(["a.png", "b.png", *NEXT_TO_A, *(f"b{name[1:]}" for name in NEXT_TO_A)])
    predict_to(other, open_images(photos / "a.png"), out, uncertainty=["entropy"], on_note=notes.append)
    assert names(out) == sorted(["a.entropy.tif", "a.png", "b.png", *(f"b{name[1:]}" for name in NEXT_TO_A)])
    assert notes == [
        "removed what earlier predictions wrote next to masks that are replaced: a.probabilities.tif, a.sets.tif",
        "masks of another model, decision or image, that are replaced: 1",
    ]
    predict_to(other, open_images(photos), tmp_path / "fresh", uncertainty=["entropy"])
    assert (out / "a.entropy.tif").read_bytes() == (tmp_path / "fresh" / "a.entropy.tif").read_bytes()


def test_other_options_take_the_companions_with_the_mask(first: Predictor, photos: Path, tmp_path: Path) -> None:
    """The class sets belong to what is predicted: without them the masks are those of another command."""
    predict_to(first, open_images(photos / "a.png"), tmp_path / "out", **EVERYTHING)
    predict_to(replace(first, in_set_c=None), open_images(photos / "a.png"), tmp_path / "out")
    assert names(tmp_path / "out") == ["a.png"]


def test_fewer_outputs_of_the_same_prediction_keep_the_others(first: Predictor, photos: Path, tmp_path: Path) -> None:
    out, notes = tmp_path / "out", list[str]()
    predict_to(first, open_images(photos / "a.png"), out, **EVERYTHING)
    predict_to(first, open_images(photos / "a.png"), out, on_note=notes.append)
    assert names(out) == sorted(["a.png", *NEXT_TO_A])
    assert notes == ["1 of 1 predictions are there already, by the same model for the same images"]


def test_files_next_to_one_mask_that_are_not_ours_stay(
    first: Predictor, other: Predictor, photos: Path, tmp_path: Path
) -> None:
    """A map that was changed by hand, and those of a mask in another form."""
    image = open_images(photos / "a.png")
    predict_to(first, image, tmp_path / "a.png", **EVERYTHING)
    tifffile.imwrite(tmp_path / "a.entropy.tif", np.zeros((32, 32), np.float32))
    predict_to(other, image, tmp_path / "a.tif")
    assert names(tmp_path) == sorted(["a.png", "a.tif", *NEXT_TO_A])
    predict_to(other, image, tmp_path / "a.png")
    assert names(tmp_path) == ["a.entropy.tif", "a.png", "a.tif"]


def test_the_mask_of_an_image_with_the_name_of_a_map_stays(
    first: Predictor, other: Predictor, photos: Path, tmp_path: Path
) -> None:
    (photos / "b.png").rename(photos / "a.entropy.png")
    predict_to(first, open_images(photos), tmp_path / "out", form="tif")
    predict_to(other, open_images(photos), tmp_path / "out", form="tif")
    assert {"a.entropy.tif", "a.tif"} <= set(names(tmp_path / "out"))


@pytest.mark.parametrize("out", ["out", "out.png", "out.npz"])
def test_estimates_of_another_model_are_removed(
    first: Predictor, other: Predictor, models: list[Path], photos: Path, tmp_path: Path, out: str
) -> None:
    quality, place = load_quality(replace(first, tta=None), models[0]), tmp_path / out
    table = place / "quality.csv" if out == "out" else tmp_path / "out.quality.csv"
    images = open_images(photos if out == "out" else photos / "a.png")
    predict_to(first, images, place, quality=quality)
    written, notes = table.read_text(), list[str]()
    predict_to(first, images, place, on_note=notes.append)
    assert table.read_text() == written
    assert not any("estimates" in note for note in notes)
    predict_to(other, open_images(photos / ("a.png" if out == "out" else "b.png")), place, on_note=notes.append)
    if out == "out":  # the estimates of b stay, because its mask does
        rows = [row for row in written.splitlines(keepends=True) if not row.startswith("a,")]
        assert len(rows) > 1
        assert table.read_text() == "".join(rows)
    else:
        assert not table.exists()
    assert f"{table.name} no longer holds estimates of masks that are replaced" in notes
