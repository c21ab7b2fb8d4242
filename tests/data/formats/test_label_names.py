"""Files that name the values of masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layouts import images_and_masks, pairs_of, write

from ensemble.config import DataSettings
from ensemble.data import open_dataset
from ensemble.data.formats.label_names import LabelNames, find_label_names

IDS = {"sky": (0,), "road": (38,)}
COLOURS = {"sky": ("#0080ff",), "road": ("#c80000",)}


@pytest.mark.parametrize(
    "text",
    [
        "0: sky\n38: road\n",
        "0 sky\n38 road",
        "0,sky\n38,road\n",
        "\ufeff0\tsky\r\n38\troad\r\n",
        "# c\n0 = sky\n38=road",
    ],
)
def test_numbered_lines_name_ids(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(text, encoding="utf-8", newline="")
    assert find_label_names(tmp_path, "ids") == LabelNames(IDS, "classes.txt")
    assert find_label_names(tmp_path, "colours").values == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_colors.txt", "0 128 255\tsky\n200 0 0\t\troad\n"),
        ("label_colors.txt", "sky 0 128 255\nroad 200 0 0\n"),
        ("class_dict.csv", "name,r,g,b\nsky,0,128,255\nroad, 200, 0, 0\n"),
        ("colours of classes.csv", "r;g;b;Class\n0;128;255;sky\n200;0;0;road\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:0,128,255::\nroad:200,0,0::\n"),
        ("palette.json", '{"sky": [0, 128, 255], "road": "#C80000"}'),
        ("meta.json", '{"classes": [{"title": "sky", "color": "#0080FF"}, {"title": "road", "color": "#c80000"}]}'),
    ],
)
def test_tables_name_colours(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert find_label_names(tmp_path, "colours") == LabelNames(COLOURS, name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("id2label.json", {"0": "sky", "38": "road"}),
        ("label_map.json", {"sky": 0, "road": 38}),
        ("classes.json", [{"id": 0, "name": "sky"}, {"id": 38, "name": "road"}]),
    ],
)
def test_json_names_ids(name: str, content: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))
    assert find_label_names(tmp_path, "ids") == LabelNames(IDS, name)


def test_a_table_with_ids_names_ids(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label_id,name\n0,sky\n38,road\n")
    assert find_label_names(tmp_path, "ids").values == IDS


def test_plain_lines_are_the_ids_from_0_and_a_name_may_stand_for_several(tmp_path: Path) -> None:
    (tmp_path / "codes.txt").write_text("sky\nroad\nsky\n")
    assert find_label_names(tmp_path, "ids").values == {"sky": (0, 2), "road": (1,)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("settings.json", '{"epochs": 10, "batch": 4}'),
        ("images.csv", "id,class\n1,cat\n2,dog\n"),
        ("groups.csv", "id,group\n1,a\n2,b\n"),
        ("label_colors.txt", "0 128 255\tsky\n0 128 255\troad\n"),
        ("label_colors.txt", "0 128 256\tsky\n200 0 0\troad\n"),
        ("classes.json", "{"),
        ("classes.json", '{"' + "9" * 5000 + '": "sky", "1": "road"}'),
        ("classes.json", "[1, 2]"),
        ("class_dict.csv", "name,r,g,b\nsky," + "9" * 5000 + ",0,0\nroad,1\n"),
        ("class_dict.csv", 'name,r,g,b\n"sky,0,0,0\n'),
        ("classes.csv", "id,name\n" + "9" * 5000 + ",sky\n,\n7"),
        ("classes.csv", "id,name\n1," + "x" * 200_000 + "\n"),
    ],
)
@pytest.mark.parametrize("coding", ["ids", "colours", "alpha"])
def test_other_files_name_nothing(name: str, text: str, coding: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert find_label_names(tmp_path, coding) == LabelNames()


@pytest.mark.parametrize(("name", "void"), [("Void", True), ("__ignore__", True), ("Unlabeled ", True), ("a", False)])
def test_names_of_void(name: str, void: bool) -> None:
    assert LabelNames().is_void(name) is void


def test_numbered_names_of_a_folder_have_no_numbers_and_void_is_no_class(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("0: background\n1: nucleus\n2: void\n")
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.classes == ("background", "nucleus")
    assert data.void_share == pytest.approx(1 / 3, abs=0.05)


def test_ids_are_in_order_and_numbers_may_belong_to_names(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    (tmp_path / "classes.txt").write_text("1: nucleus\n2: outline\n0: background\n")
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert (data.classes, data.values) == (("background", "nucleus", "outline"), (0, 1, 2))
    (tmp_path / "classes.txt").write_text("5 Cent\n10 Cent\n20 Cent\n")
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert (data.classes, data.values) == (("5 Cent", "10 Cent", "20 Cent"), (0, 1, 2))


def test_two_names_for_0_and_255(tmp_path: Path) -> None:
    pairs_of("images/{}.png", "masks/{}.png")(tmp_path)
    for n, path in enumerate(sorted((tmp_path / "masks").iterdir())):
        write(path, np.where(np.arange(24 * 32).reshape(24, 32) % (n + 2) == 0, 255, 0).astype(np.uint8))
    (tmp_path / "labels.txt").write_text("soil\nplant\n")
    data = open_dataset(DataSettings(source=str(tmp_path)))
    assert data.classes == ("soil", "plant")
    assert data.values == (0, 255)
