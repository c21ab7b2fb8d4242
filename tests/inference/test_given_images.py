"""What Python users pass to a loaded model, arrays and paths: converted and noted as `ens predict` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from ensemble.config import DataFacts
from ensemble.core.errors import EnsError
from ensemble.inference.bands import with_bands
from ensemble.inference.given_images import images_of_files, paths_of, stack_of
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor
from ensemble.inference.write_masks import predict


def facts(bands: int) -> DataFacts:
    return DataFacts(
        name="streets",
        data_hash="0",
        split_hash="1",
        background="class",
        classes=("road", "rest"),
        values=(0, 1),
        bands=bands,
        height=8,
        width=9,
    )


@pytest.fixture(scope="module")
def predictor(tiny_runs: Path) -> Predictor:
    """A model of grey images."""
    return load(next((tiny_runs / "members").glob("*-ce-*")))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two photographs of different sizes, the second one in colours."""
    generator, paths = np.random.default_rng(1), [tmp_path / "a.png", tmp_path / "b.png"]
    for path, shape in zip(paths, ((40, 33), (31, 47, 3)), strict=True):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize(
    ("bands", "shape", "expected", "single"),
    [
        (1, (8, 9), (1, 8, 9, 1), True),
        (1, (8, 9, 1), (1, 8, 9, 1), True),
        (1, (8, 9, 3), (1, 8, 9, 1), True),
        (1, (4, 8, 9), (4, 8, 9, 1), False),
        (1, (4, 8, 9, 3), (4, 8, 9, 1), False),
        (1, (0, 8, 9, 3), (0, 8, 9, 1), False),
        (3, (8, 9), (1, 8, 9, 3), True),
        (3, (8, 9, 1), (1, 8, 9, 3), True),
        (3, (8, 9, 3), (1, 8, 9, 3), True),
        (3, (4, 8, 9, 1), (4, 8, 9, 3), False),
        (4, (8, 9, 4), (1, 8, 9, 4), True),
        (4, (2, 8, 9, 4), (2, 8, 9, 4), False),
    ],
)
def test_axes_and_bands_become_those_of_the_model(bands: int, shape: Any, expected: Any, single: bool) -> None:
    images, notes = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), list[str]()
    found, one = stack_of(images, facts(bands), "m", notes.append)
    assert (found.shape, one, found.dtype) == (expected, single, np.uint8)
    bands_given = {2: 1, 3: shape[-1] if single else 1, 4: shape[-1]}[len(shape)]
    given = images.reshape(*expected[:3], bands_given)
    for image, raw in zip(found, given, strict=True):
        np.testing.assert_array_equal(image, with_bands(raw, bands))
    assert len(notes) == (bands_given != bands and len(given) > 0)


@pytest.mark.parametrize(
    ("bands", "shape"), [(1, (8, 9, 2, 2)), (3, (8, 9, 4)), (3, (4, 8, 9)), (4, (8, 9, 3)), (4, (8, 9)), (1, (8,))]
)
def test_other_axes_are_refused(bands: int, shape: Any) -> None:
    with pytest.raises(EnsError, match=rf"expected images \(n, h, w, {bands}\) or \(h, w, {bands}\) for m, got"):
        stack_of(np.zeros(shape, np.uint8), facts(bands), "m", str)


def test_paths_are_told_from_arrays() -> None:
    assert paths_of("a.png") == [Path("a.png")]
    assert paths_of([Path("a.png"), "b.png"]) == [Path("a.png"), Path("b.png")]
    assert [paths_of(given) for given in ([], [1], np.zeros(3), None)] == [None] * 4


def test_a_path_is_predicted_as_the_command_does(predictor: Predictor, photos: list[Path], tmp_path: Path) -> None:
    notes, printed = list[str](), list[str]()
    found = load(predictor.members[0].path, on_note=notes.append)(photos)
    assert [probs.shape for probs in found] == [(3, 40, 33), (3, 31, 47)]
    for photo, probs in zip(photos, found, strict=True):
        out = tmp_path / f"{photo.stem}.npz"
        predict(predictor.members[0].path, photo, out, probabilities=True, device="cpu", on_note=printed.append)
        np.testing.assert_array_equal(probs, np.load(out)["probabilities"][0])
        np.testing.assert_array_equal(probs, predictor(photo))
        np.testing.assert_array_equal(probs, predictor(np.asarray(Image.open(photo))))
    assert notes == printed
    assert "this model knows grey images, but got 1 colour image (b): grey is made of their colours" in notes[0]


def test_all_heads_are_checked_before_the_first_image(photos: list[Path], tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", np.zeros((5, 5, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    read = images_of_files([*photos, tmp_path / "c.tif"], facts(1), "m", str)
    with pytest.raises(EnsError, match=r"expected 1 band \(or 3 colours, which become grey\) for m, got 5 in .*c\.tif"):
        next(read)


def test_dark_images_are_noted(tmp_path: Path) -> None:
    Image.fromarray(np.ones((5, 5), np.uint8)).save(tmp_path / "dark.png")
    notes = list[str]()
    assert len(list(images_of_files([tmp_path / "dark.png"], facts(1), "m", notes.append))) == 1
    assert notes == [
        "no pixel of the images is above 1, but 1 is nearly black for this model (0 to 255); if they are in 0 to 1,"
        " convert them"
    ]


def test_a_path_that_is_no_image_is_refused(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    for path, what in ((tmp_path, "a folder"), (tmp_path / "text.txt", "none"), (tmp_path / "x.png", "not there")):
        with pytest.raises(EnsError, match=rf"expected the path of an image \(.*\), got .*, which is {what}; give the"):
            predictor(path)
