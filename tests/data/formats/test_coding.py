"""Pixels of masks become labels: gaps, colours, alpha, one channel, several files, void."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.data.description import Description, Part
from ensemble.data.formats.coding import number_of, read_values, text_of, to_labels

IDS = np.array([[0, 7], [38, 255]], np.uint8)


def described(**more: Any) -> Description:
    return Description(train=Part(images=("{id}.png",), masks="{id}.png"), **more)


def labels(path: Path, description: Description) -> list[list[int]]:
    return to_labels(read_values([path], description), description.indices, "the mask").tolist()


def save(path: Path, array: NDArray[Any], mode: str | None = None) -> Path:
    Image.fromarray(array, mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


def test_ids_with_gaps_united_into_classes(tmp_path: Path) -> None:
    description = described(classes={"low": (0, 7), "high": (38,)}, void=(255,))
    assert labels(save(tmp_path / "m.png", IDS), description) == [[0, 0], [1, 255]]


def test_ids_of_sixteen_bits(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 1000], [24001, 65535]], np.uint16))
    description = described(classes={"a": (0,), "b": (1000,), "c": (24001,)}, void=(65535,))
    assert labels(tmp_path / "m.tif", description) == [[0, 1], [2, 255]]


def test_colours_of_pixels_and_of_a_palette(tmp_path: Path) -> None:
    table = np.array([[0, 0, 0], [128, 0, 0], [0, 0, 255]], np.uint8)
    index = np.array([[0, 1], [2, 1]], np.uint8)
    description = described(coding="colours", classes={"red": ("#800000",), "blue": ("#0000FF",)}, void=("#000000",))
    assert labels(save(tmp_path / "rgb.png", table[index]), description) == [[255, 0], [1, 0]]
    palette = Image.fromarray(index).convert("P")
    palette.putdata(index.ravel().tolist())
    palette.putpalette(table.ravel().tolist())
    palette.save(tmp_path / "p.png")
    assert labels(tmp_path / "p.png", description) == [[255, 0], [1, 0]]


def test_alpha_of_a_cut_out(tmp_path: Path) -> None:
    rgba = np.zeros((1, 4, 4), np.uint8)
    rgba[0, :, 3] = 0, 127, 128, 255
    description = described(coding="alpha", classes={"background": (0,), "object": (255,)})
    assert labels(save(tmp_path / "m.png", rgba), description) == [[0, 0, 1, 1]]
    with pytest.raises(EnsError, match=r"a mask with transparency in .*g\.png, got 1 band"):
        labels(save(tmp_path / "g.png", IDS), description)


def test_one_channel_of_a_colour_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", np.dstack([IDS, IDS[::-1], np.zeros_like(IDS)]))
    description = described(channel=1, classes={"a": (0,), "b": (7,), "c": (38,)}, void=(255,))
    assert labels(path, description) == [[0, 1], [2, 255]]
    with pytest.raises(EnsError, match=r"one id per pixel in the mask .*, got 3 band\(s\) that differ; set coding or"):
        labels(path, described(classes={"a": (0,), "b": (7,)}))
    with pytest.raises(EnsError, match=r"at least 4 bands in the mask .*, got 3 band"):
        labels(path, described(channel=4, classes={"a": (0,), "b": (7,)}))


def test_a_file_for_each_object_is_united(tmp_path: Path) -> None:
    one, other = np.zeros((2, 4), np.uint8), np.zeros((2, 4), np.uint8)
    one[0, :2], other[:, 3] = 255, 255
    paths = [save(tmp_path / "1.png", one), save(tmp_path / "2.png", other)]
    description = described(classes={"background": (0,), "nucleus": (255,)})
    united = to_labels(read_values(paths, description), description.indices, "the mask")
    assert united.tolist() == [[1, 1, 0, 1], [0, 0, 0, 1]]
    paths.append(save(tmp_path / "3.png", one.T))
    with pytest.raises(EnsError, match=r"one size, got 2x4 in .*1\.png and 4x2 in .*3\.png"):
        read_values(paths, description)


def test_a_value_without_a_class_is_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "m.png", IDS)
    with pytest.raises(EnsError, match=r"the mask holds 7 \(1 pixels\), 255 \(1 pixels\), which the description gives"):
        labels(path, described(classes={"a": (0,), "b": (38,)}))
    colours = described(coding="colours", classes={"a": ("#000000",), "b": ("#070707",)}, void=("#ffffff",))
    with pytest.raises(EnsError, match=r"holds #262626 \(1 pixels\), which"):
        labels(path, colours)


def test_fractions_are_no_ids(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 0.5]], np.float32))
    with pytest.raises(EnsError, match=r"whole numbers from 0 to 65535 in the mask .*m\.tif, got values such as 0\.5"):
        labels(tmp_path / "m.tif", described(classes={"a": (0,), "b": (1,)}))


def test_colours_and_numbers_undo_each_other() -> None:
    assert [text_of(number_of(value), isinstance(value, str)) for value in (3, "#00ff10")] == ["3", "#00ff10"]
