"""Suspects as a table, a CSV that can be excluded from, and a contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.data import Dataset, open_dataset
from ensemble.data.cleaning.checks import REASONS, Suspect
from ensemble.data.cleaning.exclusion import read_exclusion
from ensemble.report.pictures import SIDE
from ensemble.report.suspects import GAP, draw_suspects, suspects_figure, suspects_frame, write_suspects


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


def test_table_has_a_row_per_suspect_and_typed_columns() -> None:
    frame = suspects_frame(SOME)
    assert list(frame.columns) == ["row", "id", "reason", "score", "detail"]
    assert frame["row"].tolist() == [4, 7, 4]
    assert {name: str(kind) for name, kind in suspects_frame([]).dtypes.items()} == {
        name: str(kind) for name, kind in frame.dtypes.items()
    }
    assert len(suspects_frame([])) == 0


def test_csv_reads_back_and_can_be_excluded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "suspects.csv"
    write_suspects(SOME, path)
    assert path.read_text().splitlines()[3] == '4,4,almost-void,0.333333,"1, 2"'
    again = pd.read_csv(path, dtype={"id": str})
    assert again["row"].tolist() == [4, 7, 4]
    assert again["score"].tolist() == pytest.approx([3, 3, 1 / 3], abs=1e-6)
    assert read_exclusion(f"{path}:repeated-mask", [str(row) for row in range(20)]) == ("4", "7")
    write_suspects([], path)
    assert path.read_text() == "row,id,reason,score,detail\n"
    assert [file.name for file in path.parent.iterdir()] == ["suspects.csv"]


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
    assert suspects_figure(dataset, []).get_suptitle() == "d.npz: none of 20 images is suspect"
    draw_suspects(dataset, [], tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").is_file()
