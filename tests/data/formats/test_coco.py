"""COCO's JSON: layouts, masks against pycocotools, and what is wrong with files, in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.formats.coco import describe
from ensemble.data.formats.coco_masks import CROWD, open_coco
from ensemble.data.open_source import open_source, understand

HEIGHT, WIDTH = 12, 20
SQUARE = [[2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]]  # 36 pixels
SMALL = [[4.0, 4.0, 6.0, 4.0, 6.0, 6.0, 4.0, 6.0]]  # 4 of them
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]


def content(images: int = 3, first: int = 0, **changes: Any) -> dict[str, Any]:
    """Return images, a cat in each and a dog in the second half of them, as COCO writes them."""
    numbers = range(first, first + images)
    table: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n:04d}.jpg", "height": HEIGHT, "width": WIDTH} for n in numbers],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 3 + 4 * (n % 2), "segmentation": SQUARE, "iscrowd": 0}
            for n in numbers
        ],
        "categories": CATEGORIES,
    }
    return table | changes


def write(path: Path, table: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))
    return path


def draw(folder: Path, table: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image in table["images"]:
        pixels = np.random.default_rng(image["id"]).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / Path(image["file_name"]).name)


def as_in_coco(root: Path) -> None:
    """COCO's own layout, with the files of other tasks and test images without annotations."""
    for part, first in (("train", 0), ("val", 10)):
        write(root / "annotations" / f"instances_{part}2017.json", content(4, first))
        write(root / "annotations" / f"captions_{part}2017.json", content(4, first))
        draw(root / f"{part}2017", content(4, first))
    draw(root / "test2017", content(2, 20))


def as_roboflow(root: Path) -> None:
    """A JSON in the folder of each part; the category 0 stands for all and holds no object."""
    for part, first in (("train", 0), ("valid", 10), ("test", 20)):
        table = content(4, first, categories=[{"id": 0, "name": "animals"}, *CATEGORIES])
        write(root / part / "_annotations.coco.json", table)
        draw(root / part, table)


def as_one_file(root: Path) -> None:
    """One file, whose images are in a folder that it names as Windows does."""
    table = content(8)
    draw(root / "images", table)
    for image in table["images"]:
        image["file_name"] = f"images\\{image['file_name']}"
    write(root / "result.json", table)


def one_folder(root: Path) -> None:
    """Images of both parts in one folder."""
    write(root / "annotations" / "train.json", content(4))
    write(root / "annotations" / "val.json", content(4, 10))
    draw(root / "images", content(4))
    draw(root / "images", content(4, 10))


@pytest.mark.parametrize("layout", [as_in_coco, as_roboflow, as_one_file, one_folder])
def test_layouts_are_recognised_and_read(
    layout: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout(tmp_path)
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "cat", "dog")
    assert dataset.values == (0, 3, 7)
    assert len(dataset.ids) == 8
    assert sorted(set(dataset.parts or ())) == ([] if layout is as_one_file else ["train", "val"])
    assert set(np.unique(dataset.label(0))) == {0, 1}
    assert set(np.unique(dataset.label(1))) == {0, 2}
    assert (dataset.label(0) == 1).sum() == 36
    assert capsys.readouterr() == ("", "")  # pycocotools prints


def test_test_parts_with_and_without_masks(tmp_path: Path) -> None:
    as_in_coco(tmp_path / "coco")
    as_roboflow(tmp_path / "roboflow")
    unlabelled, labelled = (open_source(str(tmp_path / name)) for name in ("coco", "roboflow"))
    assert (len(unlabelled.test_ids), unlabelled.has_test_masks) == (2, False)
    assert (len(labelled.test_ids), labelled.has_test_masks) == (4, True)
    assert (labelled.test_mask(1) == 2).sum() == 36
    assert not np.array_equal(labelled.test_image(0), labelled.image(0))


def test_the_description_can_be_written_and_read_again(tmp_path: Path) -> None:
    as_roboflow(tmp_path)
    description = understand(tmp_path).completed.description
    (tmp_path / "data.toml").write_text(description.to_toml())
    one, other = open_source(str(tmp_path)), open_source(str(tmp_path / "data.toml"))
    assert one.fingerprint == other.fingerprint
    assert np.array_equal(one.masks(range(8)), other.masks(range(8)))


def test_changed_annotations_are_other_data(tmp_path: Path) -> None:
    as_one_file(tmp_path)
    before = open_source(str(tmp_path))
    table = json.loads((tmp_path / "result.json").read_text())
    table["annotations"][0]["segmentation"] = SMALL
    write(tmp_path / "result.json", table)
    after = open_source(str(tmp_path))
    assert before.fingerprint != after.fingerprint
    assert ((before.masks([0]) == 1).sum(), (after.masks([0]) == 1).sum()) == (36, 4)


def masks_of(tmp_path: Path, *objects: dict[str, Any]) -> Any:
    """Return the mask of one image with these objects."""
    annotations = [{"id": n, "image_id": 0, "category_id": 3, **each} for n, each in enumerate(objects)]
    path = write(tmp_path / "one.json", content(1, annotations=annotations))
    return open_coco({"train": path})["train"].values("0000", HEIGHT, WIDTH)


def test_smaller_objects_lie_above_and_equal_ones_in_order(tmp_path: Path) -> None:
    small, large = {"segmentation": SMALL, "category_id": 7}, {"segmentation": SQUARE}
    for order in ((small, large), (large, small)):
        values = masks_of(tmp_path, *order)
        assert ((values == 7).sum(), (values == 3).sum()) == (4, 32)
    assert (masks_of(tmp_path, large, {"segmentation": SQUARE, "category_id": 7}) == 7).sum() == 36


def test_a_crowd_is_void_where_no_object_lies(tmp_path: Path) -> None:
    whole = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * WIDTH]}
    values = masks_of(tmp_path, {"segmentation": SMALL}, {"segmentation": whole, "iscrowd": 1})
    assert ((values == 3).sum(), (values == CROWD).sum()) == (4, HEIGHT * WIDTH - 4)
    small = {"size": [HEIGHT, WIDTH], "counts": [0, 1, HEIGHT * WIDTH - 1]}
    assert masks_of(tmp_path, {"segmentation": whole}, {"segmentation": small, "iscrowd": 1}).max() == 3


def test_a_used_category_0_moves_all_by_one(tmp_path: Path) -> None:
    table = content(4, categories=[{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}])
    for each in table["annotations"]:
        each["category_id"] %= 3 - 1  # 3 and 7 become 1
    table["annotations"][0]["category_id"] = 0
    write(tmp_path / "annotations.json", table)
    draw(tmp_path / "images", table)
    found = describe(tmp_path)
    assert found is not None
    assert found.classes == {"background": (0,), "cat": (1,), "dog": (2,)}
    assert (open_source(str(tmp_path)).masks([0]) == 1).sum() == 36


def test_categories_called_void_or_background_are(tmp_path: Path) -> None:
    names = [{"id": 3, "name": "cat"}, {"id": 4, "name": "Background"}, {"id": 5, "name": "ignore"}]
    table = content(3, categories=names)
    for number, each in enumerate(table["annotations"], 3):
        each["category_id"] = number
    write(tmp_path / "annotations.json", table)
    draw(tmp_path / "images", table)
    dataset = open_dataset(DataSettings(source=str(tmp_path)))
    assert dataset.classes == ("background", "cat")
    assert [int((dataset.label(row) == label).sum()) for row, label in ((0, 1), (1, 1), (2, 255))] == [36, 0, 36]


DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "outside": ({"segmentation": [[100, 100, 120, 100, 120, 120]]}, "lies outside of the image 12x20"),
    "far": ({"segmentation": [[1, 1, 1e7, 1, 1, 5]]}, "far outside of the image"),
    "not finite": ({"segmentation": [[1, 1, float("nan"), 1, 1, 5]]}, "other things than finite numbers"),
    "texts": ({"segmentation": [["a", "b"]]}, "other things than finite numbers"),
    "odd": ({"segmentation": [[1, 2, 3]]}, "no list of x and y"),
    "two points": ({"segmentation": [[1, 2, 3, 4]]}, "no polygon of three points"),
    "other size": ({"segmentation": {"size": [5, 5], "counts": [25]}}, "its runs are for the size"),
    "short runs": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [5]}}, "its runs cover 5 pixels"),
    "negative runs": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [-5, 245]}}, "no list of runs"),
    "damaged text": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "zzz"}}, "text of runs is damaged"),
    "short text": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "0"}}, "its runs cover 0 pixels"),
    "no text": ({"segmentation": {"size": [HEIGHT, WIDTH]}}, "no list of runs"),
    "a box only": ({"segmentation": []}, "has no segmentation, only a box"),
    "unknown image": ({"segmentation": SQUARE, "image_id": 99}, "belongs to the image 99, which is not listed"),
    "unknown category": ({"segmentation": SQUARE, "category_id": 99}, "has the category 99, which is not listed"),
}


@pytest.mark.parametrize(("change", "text"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_annotation_is_named(change: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=text) as error:
        masks_of(tmp_path, change)
    assert "annotation 0" in str(error.value)
    assert "one.json" in str(error.value)


@pytest.mark.parametrize("key", ["images", "annotations", "categories"])
def test_a_missing_list_is_named(key: str, tmp_path: Path) -> None:
    table = content()
    del table[key]
    write(tmp_path / "annotations.json", table)
    draw(tmp_path / "images", content())
    with pytest.raises(EnsError, match=f"expected a list '{key}'"):
        describe(tmp_path)


def test_other_json_files_are_no_annotations(tmp_path: Path) -> None:
    write(tmp_path / "settings.json", {"categories": ["a", "b"], "colours": {}})
    write(tmp_path / "images" / "list.json", {"images": ["a.jpg"]})
    assert describe(tmp_path) is None


def test_a_category_with_two_names_is_named(tmp_path: Path) -> None:
    write(tmp_path / "annotations.json", content(categories=[*CATEGORIES, {"id": 3, "name": "cow"}]))
    with pytest.raises(EnsError, match="names the category 3 'cat' and 'cow'"):
        describe(tmp_path)


def test_text_that_is_no_json_is_named(tmp_path: Path) -> None:
    text = json.dumps(content())
    (tmp_path / "annotations.json").write_text(text[:-30])
    with pytest.raises(EnsError, match=r"annotations.json cannot be read as COCO's JSON"):
        describe(tmp_path)


def test_images_of_another_size_are_named(tmp_path: Path) -> None:
    table = content()
    table["images"][1]["width"] = 99
    write(tmp_path / "annotations.json", table)
    draw(tmp_path / "images", table)
    with pytest.raises(EnsError, match="says that the image 0001 is 12x99, but it is 12x20"):
        open_dataset(DataSettings(source=str(tmp_path)))


def test_images_that_are_not_there_are_named(tmp_path: Path) -> None:
    write(tmp_path / "annotations.json", content(4))
    with pytest.raises(EnsError, match=r"names 0000.jpg, but none of the 1 folders"):
        describe(tmp_path)
    draw(tmp_path / "images", content(3))
    draw(tmp_path / "images", content(1, 50))
    notes = " ".join(open_source(str(tmp_path)).notes)
    assert "names images that are not there: 1 (0003)" in notes
    assert "because no list names them: 1 images (0050)" in notes


def test_two_files_for_one_part_and_files_for_none_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "images", content())
    write(tmp_path / "a_train.json", content())
    write(tmp_path / "b_train.json", content())
    with pytest.raises(EnsError, match=r"a_train.json and b_train.json .* both for train"):
        describe(tmp_path)
    (tmp_path / "b_train.json").rename(tmp_path / "more.json")
    with pytest.raises(EnsError, match=r"the name of more.json does not say"):
        describe(tmp_path)
    (tmp_path / "a_train.json").unlink()
    (tmp_path / "more.json").unlink()
    assert describe(tmp_path) is None


def test_parts_name_categories_alike(tmp_path: Path) -> None:
    one_folder(tmp_path)
    write(tmp_path / "annotations" / "val.json", content(4, 10, categories=[{"id": 3, "name": "cow"}, CATEGORIES[1]]))
    with pytest.raises(EnsError, match="the category 3 is 'cat' in"):
        describe(tmp_path)
