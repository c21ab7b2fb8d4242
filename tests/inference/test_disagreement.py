"""New images as members see them, and where members disagree: whole, in tiles, and strip after strip from a TIFF."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.core.progress import no_progress
from ensemble.data.formats.image_files import read_image
from ensemble.data.groups import perceptual_hash
from ensemble.evaluation import strips
from ensemble.inference import batching, disagreement, image_rows, training_copies
from ensemble.inference.bands import with_bands
from ensemble.inference.disagreement import MemberView, disagreements, load_members
from ensemble.inference.open_images import open_images
from ensemble.inference.predictor import Predictor
from ensemble.inference.training_copies import pixel_digest
from ensemble.inference.write_masks import predict_to
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member

SIZES = {"a": (32, 32), "b": (32, 32), "c": (50, 41)}


@pytest.fixture(scope="module")
def predictor(tiny_runs: Path) -> Predictor:
    return load_members([Member.open(path) for path in find_members(tiny_runs)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, noise = tmp_path_factory.mktemp("photos"), np.random.default_rng(2)
    for name, size in SIZES.items():
        Image.fromarray(noise.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{name}.png")
    tifffile.imwrite(folder / "d.tif", noise.integers(0, 256, (70, 33, 3), dtype=np.uint8), photometric="rgb")
    return folder


def test_members_are_one_model_in_which_all_count_alike(predictor: Predictor, tiny_arrays: dict[str, Any]) -> None:
    images = tiny_arrays["test_set"]
    each = [load_members([member, member])(images) for member in predictor.members]
    np.testing.assert_allclose(predictor(images), np.mean(each, axis=0), atol=1e-6)
    assert (predictor.classes, predictor.values) == (("soil", "rock", "ripples"), (1, 2, 3))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bands": 3}, "expected members whose images have the same bands, got 1 in .* and 3 in "),
        (
            {"span": (0.0, 1.0)},
            r"the same raw values that become 0 and 1, got \(0.0, 255.0\) in .* and \(0.0, 1.0\) in ",
        ),
        ({"classes": ("soil", "rock", "dust")}, "class 3 is 'ripples' in .* but 'dust' in "),
    ],
)
def test_members_of_other_images_or_classes_are_refused(predictor: Predictor, change: Any, text: str) -> None:
    one, other = predictor.members
    with pytest.raises(EnsError, match=text):
        load_members([one, replace(other, facts=other.facts.model_copy(update=change))])


def test_information_is_that_of_the_maps_that_predict_writes(
    predictor: Predictor, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = open_images(photos)
    predict_to(predictor, images, tmp_path, uncertainty=["mutual-information"])
    maps = [tifffile.imread(tmp_path / f"{name}.mutual-information.tif") for name in images.ids]

    def check(rows: list[int], step: int = 1) -> None:
        found = list(disagreements(predictor, images, no_progress, lambda row: row != 1))
        assert [one.row for one in found] == rows
        for one in found:
            assert one.mean == pytest.approx(float(maps[one.row].mean()), abs=1e-6)
            np.testing.assert_allclose(one.map_hw, maps[one.row][::step, ::step], atol=1e-6)

    check([0, 2, 3])
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1024)  # the larger images come strip after strip
    check([2, 3, 0])
    monkeypatch.setattr(disagreement, "thinned", lambda values, height, top=0: values[-top % 2 :: 2, ::2])
    (large,) = (one for one in disagreements(predictor, images, no_progress, lambda row: row == 3))
    assert large.map_hw.shape == (35, 17)
    assert large.mean == pytest.approx(float(maps[3].mean()), abs=1e-6)


def test_images_are_seen_as_the_members_see_them(
    predictor: Predictor, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (image_rows, disagreement, training_copies):
        monkeypatch.setattr(module, "BLOCK", 16)
    images = open_images(photos)
    view = MemberView(images, predictor)
    for row, file in enumerate(images.files or ()):
        expected, (found, pixels, highest) = with_bands(read_image(file), 1), view.look(row)
        np.testing.assert_array_equal(view.picture(row), expected)
        np.testing.assert_array_equal(view.picture(row, own_bands=True), read_image(file))
        assert (found, pixels) == (perceptual_hash(expected), pixel_digest(expected))
        assert highest == read_image(file).max()
    monkeypatch.setattr(strips, "LONGEST", 35)  # every second row and column of images with more
    np.testing.assert_array_equal(view.picture(2), read_image(photos / "c.png")[::2, ::2])
    assert view.look(2).digest == pixel_digest(read_image(photos / "c.png"))


def test_an_image_that_does_not_fit_is_named(predictor: Predictor, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "dark.png")
    with pytest.raises(EnsError, match=r"in the units of the training images, 0 to 255, got uint16 .* in .*dark\.png"):
        MemberView(open_images(tmp_path), predictor).look(0)
