"""The contact sheet of suspects shows images, masks, rows and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.data import Dataset, open_dataset
from ensemble.data.cleaning.checks import REASONS, Suspect
from ensemble.report.check_data import write_suspects
from ensemble.report.figures.suspects import GAP, draw_suspects, suspects_figure
from ensemble.report.figures.thumbnails import SIDE


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(40, 90, (20, 32, 48)).astype(np.uint8)
    masks = rng.integers(0, 3, (20, 32, 48)).astype(np.uint8)
    np.savez(tmp_path / "d.npz", training_set=np.stack([images, masks], 1), classes=np.array(["void", "sky", "sea"]))
    return open_dataset(DataSettings(source=str(tmp_path / "d.npz")))


def suspect(row: int, reason: str, score: float, detail: str = "as it is") -> Suspect:
    return Suspect(row=row, id=str(row), reason=reason, score=score, detail=detail)


SOME = [suspect(4, "repeated-mask", 3), suspect(7, "repeated-mask", 3), suspect(4, "almost-void", 1 / 3, "1, 2")]


def titles(figure: Any) -> list[str]:
    return [text for part in figure.subfigs for axis in part.axes if (text := axis.get_title(loc="left"))]


def test_a_place_that_cannot_be_written(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "file").write_text("in the way")
    for write in (lambda path: write_suspects(SOME, path), lambda path: draw_suspects(dataset, SOME, path)):
        with pytest.raises(EnsError, match="cannot write"):
            write(tmp_path / "file" / "x")


def test_sheet_is_a_png(tmp_path: Path, dataset: Dataset) -> None:
    draw_suspects(dataset, SOME, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 1320
        assert picture.height > 200
    assert sorted(file.name for file in tmp_path.glob("*sheet*")) == ["sheet.png"]


def test_sheet_shows_the_worst_of_every_reason_with_row_and_score(dataset: Dataset) -> None:
    many = [suspect(row, "unlike-the-rest", row / 20) for row in range(20)]
    figure = suspects_figure(dataset, [*many, *SOME], worst=5)
    assert [part.get_suptitle() for part in figure.subfigs] == [
        f"repeated-mask: 2 ({REASONS['repeated-mask']})",
        f"unlike-the-rest: 20, the worst 5 ({REASONS['unlike-the-rest']})",
        f"almost-void: 1 ({REASONS['almost-void']})",
    ]
    shown = [text.splitlines()[0] for text in titles(figure)]
    worst = [f"row {row}  score {row / 20:.3g}" for row in (19, 18, 17, 16, 15)]
    assert shown == ["row 4  score 3", "row 7  score 3", *worst, "row 4  score 0.333"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["sky", "sea", "void"]


def test_a_picture_is_the_image_beside_its_mask(dataset: Dataset) -> None:
    figure = suspects_figure(dataset, SOME[1:2])
    shown = np.asarray(figure.subfigs[0].axes[0].images[0].get_array())
    assert shown.shape == (32, 48 + GAP + 48, 3)
    image = dataset.images([7])[0, ..., 0].astype(np.float32)
    stretched = (image - image.min()) / (image.max() - image.min()) * 255  # dark tiles can be seen
    np.testing.assert_allclose(shown[:, :48, 0], stretched, atol=1)
    colours = class_colours([1, 2])
    np.testing.assert_array_equal(shown[:, 48 + GAP :], colours[dataset.source.masks([7])[0]])


def test_names_of_files_are_shown_and_long_details_are_cut(dataset: Dataset) -> None:
    named = Suspect(row=2, id="0002", reason="almost-void", score=1.0, detail="x" * 100)
    assert titles(suspects_figure(dataset, [named])) == [f"row 2 (0002)  score 1\n{'x' * 70}"]


def test_large_and_coloured_images_are_drawn_small(tmp_path: Path) -> None:
    for name, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / name).mkdir()
        for row in range(2):
            Image.new(mode, (900, 600), (row,) * len(mode)).save(tmp_path / name / f"{row:03d}.png")
    figure = suspects_figure(open_dataset(DataSettings(source=str(tmp_path))), [suspect(1, "almost-void", 1.0)])
    assert np.asarray(figure.subfigs[0].axes[0].images[0].get_array()).shape == (171, 2 * SIDE + GAP, 3)


def test_nothing_suspect_is_a_sentence(dataset: Dataset, tmp_path: Path) -> None:
    assert suspects_figure(dataset, []).get_suptitle() == "d.npz: no suspect among 20 images"
    draw_suspects(dataset, [], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
