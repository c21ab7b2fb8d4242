"""Classes are found from the values of masks, or a person is asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import Dataset, open_dataset
from ensemble.data.open_source import understand
from ensemble.data.survey import Completed


def write(root: Path, masks: Sequence[NDArray[Any]], **files: str) -> Path:
    """Write a grey image for every mask."""
    for number, mask in enumerate(masks):
        image = np.random.default_rng(number).integers(0, 256, mask.shape[:2], dtype=np.uint8)
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{number}.png")
    for name, text in files.items():
        (root / name.replace("_", ".")).write_text(text)
    return root


def tiles(*values: Sequence[int]) -> list[NDArray[np.uint8]]:
    """Return masks of 6x8 pixels whose columns repeat the values."""
    return [np.resize(np.array(row, np.uint8), (6, 8)) for row in values]


def completed(root: Path) -> Completed:
    return understand(root).completed


def opened(root: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(root)))


def test_plain_ids_stay_as_they_are(tmp_path: Path) -> None:
    found = completed(write(tmp_path, tiles([0, 1, 2, 255], [0, 1], [2, 1])))
    assert found.description.classes is None
    assert found.notes == found.doubts == ()


def test_ids_with_gaps_are_classes_of_their_number(tmp_path: Path) -> None:
    data = opened(write(tmp_path, tiles([0, 38], [75, 38, 255], [0, 75])))
    assert data.classes == ("class 0", "class 38", "class 75")
    assert data.values == (0, 38, 75)
    assert data.labels([1])[0, 0, :4].tolist() == [2, 1, 255, 2]
    assert "masks hold the ids 0, 38, 75, with gaps; each is a class of that number" in data.notes
    assert data.void_share == pytest.approx(1 / 3 / 3, abs=0.01)


def test_zero_and_255_are_two_classes_but_255_is_void_among_others(tmp_path: Path) -> None:
    binary = opened(write(tmp_path / "a", tiles([0, 255], [0, 0])))
    assert (binary.classes, binary.values, binary.void_share) == (("background", "foreground"), (0, 255), 0)
    more = opened(write(tmp_path / "b", tiles([0, 255], [0, 1])))
    assert (more.classes, more.values) == (("class 0", "class 1"), (0, 1))
    assert more.void_share == 0.25


def test_two_classes_with_blurred_edges_are_asked_about(tmp_path: Path) -> None:
    masks = [np.where(mask > 3, 255, 0).astype(np.uint8) for mask in tiles(range(8), range(8), range(8))]
    masks[0][0, :3] = masks[1][0, :3] = 1, 128, 254
    found = completed(write(tmp_path, masks))
    assert found.description.classes == {"background": (0, 1), "foreground": (255, 128, 254)}
    assert found.description.void == ()
    assert found.doubts == (
        "masks hold 0, 255 and 3 values between them at 4.2 % of the pixels, such as 1 (image 0), as if two classes,"
        " background and foreground, had blurred edges",
    )
    with pytest.raises(EnsError, match=r"had blurred edges; write a description with `ens data describe"):
        opened(tmp_path)
    masks[2] = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # more values than classes, and many pixels
    assert "and 50 values between them" in completed(write(tmp_path / "many", masks)).doubts[0]


def test_255_beside_large_ids_may_be_a_class(tmp_path: Path) -> None:
    root = write(tmp_path, tiles([0, 85, 170, 255], [0, 85], [170, 255]))
    assert completed(root).doubts == ("masks hold 255 and the ids 0, 85, 170, with gaps: 255 may be void, or a class",)
    assert completed(write(tmp_path / "none", tiles([0, 85, 170], [0, 85], [170, 0]))).doubts == ()


def test_a_value_in_one_mask_of_many_is_asked_about(tmp_path: Path) -> None:
    root = write(tmp_path, tiles([0, 9], [0, 9], [0, 9], [0, 9, 77]))
    assert completed(root).doubts == ("1 of 3 ids occur in one mask only, such as 77 in 3: they may be no classes",)
    with pytest.raises(EnsError, match=r"such as 77 in 3: they may be no classes; write a description with `ens data"):
        opened(root)


def test_too_many_values_are_no_classes(tmp_path: Path) -> None:
    ramp = np.arange(0, 240, 3, dtype=np.uint8).reshape(8, 10)
    with pytest.raises(EnsError, match="masks hold 80 ids, too many for classes"):
        opened(write(tmp_path / "ids", [ramp, ramp]))
    cut_out = np.dstack([ramp, ramp.T.reshape(8, 10), ramp, np.where(ramp > 99, 255, 0).astype(np.uint8)])
    with pytest.raises(EnsError, match=r"80 colours, too many for classes; cut-outs need coding = 'alpha', background"):
        opened(write(tmp_path / "colours", [cut_out, cut_out]))


def test_colours_are_classes_named_by_their_colour(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8)
    masks = [table[mask] for mask in tiles([0, 1], [1, 2], [2, 0])]
    data = opened(write(tmp_path, masks))
    assert data.classes == ("#000000", "#0000ff", "#ff0000")
    assert data.values == (0, 1, 2)
    assert data.labels([0])[0, 0, :2].tolist() == [0, 2]
    assert data.source.colours == data.classes
    assert data.void_share == 0


def test_black_and_grey_files_among_colour_masks_are_colours_too(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)
    data = opened(write(tmp_path, [np.zeros((6, 8), np.uint8), *(table[mask] for mask in tiles([0, 1], [1, 0]))]))
    assert data.classes == ("#000000", "#ff0000")
    assert (data.labels([0]) == 0).all()


def test_names_in_classes_txt_stay_names_of_plain_ids(tmp_path: Path) -> None:
    data = opened(write(tmp_path, tiles([0, 1], [1, 2]), classes_txt="sky\nroad\ncar\n"))
    assert data.classes == ("sky", "road", "car")
    assert completed(tmp_path).description.classes is None


def test_a_class_of_a_description_that_no_labelled_image_holds_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, tiles([0, 1], [1, 0]))
    patterns = '[train]\nimages = "images/{id}.png"\nmasks = "masks/{id}.png"\n'
    (tmp_path / "d.toml").write_text(f"{patterns}[classes]\nsky = 0\nroad = 1\nzebra = 9\n")
    data = opened(tmp_path / "d.toml")
    assert (data.classes, data.absent) == (("sky", "road"), ("zebra",))
    assert data.notes == ("classes that no labelled image holds are left out: 1 (zebra)",)
