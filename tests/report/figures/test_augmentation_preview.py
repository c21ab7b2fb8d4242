"""The contact sheet of an augmentation: which images, what is drawn, and a real PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.data import VOID, Dataset, open_dataset
from ensemble.report.figures import augmentation_preview
from ensemble.report.figures.augmentation_preview import choose_rows, draw_preview, sheet_columns, shown_window
from ensemble.report.figures.picture_grid import picture_grid
from tests.conftest import ManySizes


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(tiny_npz)))


def test_a_png_of_originals_beside_two_augmented_pairs(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Figure, Any]] = []

    def remember(columns: Any, *arguments: Any, **options: Any) -> Figure:
        drawn.append((picture_grid(columns, *arguments, **options), dict(enumerate(columns))))
        return drawn[-1][0]

    monkeypatch.setattr(augmentation_preview, "picture_grid", remember)
    rows = draw_preview(dataset, "flips", tmp_path / "preview.png", rows=np.arange(3, 15), count=4)
    figure, columns = drawn[0]
    assert len(set(rows)) == 4
    assert set(rows) <= set(range(3, 15))
    titles = ["original", "its mask", "augmented 1", "its mask", "augmented 2", "its mask"]
    assert [axis.get_title() for axis in figure.axes[:6]] == titles
    assert [axis.get_ylabel() for axis in figure.axes[::6]] == [f"image {row}" for row in rows]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["soil", "rock", "ripples", "void"]
    suptitle: Any = figure
    assert suptitle.get_suptitle() == "flips"
    truth = class_colours(range(3))[dataset.labels(rows)]
    np.testing.assert_array_equal(columns[1][1], truth)
    for column in (3, 5):  # each mask is one of the four flips of its own original
        for mask, flipped in zip(truth, columns[column][1], strict=True):
            assert any(np.array_equal(flipped, mask[::a, ::b]) for a in (1, -1) for b in (1, -1))
    assert not np.array_equal(columns[3][1], columns[5][1])
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300
    assert [path.name for path in tmp_path.iterdir()] == ["preview.png"]


def test_of_images_of_several_sizes_windows_are_shown_that_most_images_fill(
    many_sizes: ManySizes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []

    def remember(*arguments: Any, title: str) -> Figure:
        titles.append(title)
        assert arguments[0][0][1].shape[1:] == (30, 35, 3)
        return picture_grid(*arguments, title=title)

    monkeypatch.setattr(augmentation_preview, "picture_grid", remember)
    draw_preview(open_dataset(DataSettings(source=str(many_sizes.source))), "hflip", tmp_path / "a.png")
    assert titles == ["hflip, windows of 30x35"]


@pytest.mark.parametrize(
    ("sizes", "window"),
    [
        ([(512, 512)] * 3, None),
        ([(1000, 2000)] * 3, (256, 256)),
        ([(100, 90), (120, 400), (130, 410)], (120, 256)),
    ],
)
def test_windows_are_as_large_as_the_median_image(sizes: list[tuple[int, int]], window: tuple[int, int] | None) -> None:
    assert shown_window(sizes) == window


def test_the_seed_decides_the_sheet(dataset: Dataset, tmp_path: Path) -> None:
    shown = [
        draw_preview(dataset, "cutmix", tmp_path / f"{i}.png", count=3, seed=seed) for i, seed in enumerate((0, 0, 1))
    ]
    assert shown[0] == shown[1] != shown[2]
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_a_folder_that_cannot_be_written_is_one_sentence(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnsError, match=r"cannot write .*preview\.png"):
        draw_preview(dataset, "none", tmp_path / "file" / "preview.png", count=1)


# ---------------------------------------------------------------- choosing


def test_the_rarest_class_comes_first_and_every_class_is_shown() -> None:
    counts = np.zeros((50, 4), np.int64)
    counts[:, 0] = 900
    counts[[4, 9, 12], 3] = [2, 30, 40]
    counts[20:30, 1] = 100
    for seed in range(10):
        chosen = choose_rows(counts, 3, np.random.default_rng(seed))
        assert chosen[0] in (9, 12)  # the half with more of it
        assert 20 <= chosen[1] < 30
        assert chosen[2] not in chosen[:2]


@settings(max_examples=40, deadline=None)
@given(total=st.integers(1, 12), count=st.integers(1, 15), seed=st.integers(0, 99))
def test_images_are_chosen_once(total: int, count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 3, (total, 3)) * generator.integers(0, 2, (1, 3))  # classes may be absent
    chosen = choose_rows(counts, count, generator)
    assert len(chosen) == len(set(chosen)) == min(total, count)
    if count >= 3 * total:
        assert sorted(chosen) == list(range(total))


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize(("bands", "drawn"), [(1, (0, 0, 0)), (2, (0, 0, 0)), (3, (0, 1, 2)), (5, (0, 1, 2))])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_share_one_scale_and_void_is_black(bands: int, drawn: tuple[int, ...], dtype: Any) -> None:
    values = np.linspace(0, 100, 2 * 8 * 9 * bands).reshape(2, 8, 9, bands)
    images = values.astype(np.uint8) if dtype == np.uint8 else (values / 255).astype(np.float32)
    labels = np.zeros((2, 8, 9), np.uint8)
    labels[:, 0], labels[:, 1] = VOID, 1
    first, mask, second, _ = sheet_columns({"original": (images, labels), "brighter": (images * 2, labels)}, 2)
    assert [first[0], mask[0], second[0]] == ["original", "its mask", "brighter"]
    assert first[1].shape == (2, 8, 9, 3)
    top = np.percentile(images, 99.8)
    np.testing.assert_array_equal(first[1], (255 * (images[..., list(drawn)] / top).clip(0, 1)).astype(np.uint8))
    assert second[1].mean() > 1.3 * first[1].mean()
    assert (mask[1][:, 0] == 0).all()
    assert (mask[1][:, 1] == class_colours(range(2))[1]).all()


def test_black_images_are_drawn_black() -> None:
    images, labels = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8), np.uint8)
    assert not sheet_columns({"original": (images, labels)}, 1)[0][1].any()
