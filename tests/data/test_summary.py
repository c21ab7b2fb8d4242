"""The summary of a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble.config import DataSettings
from ensemble.data import open_dataset
from ensemble.data.summary import summarise


def scenery(seed: int) -> NDArray[np.uint8]:
    """Noise, a different picture for each seed."""
    return np.random.default_rng(seed).integers(20, 200, (48, 72), dtype=np.uint8)


def test_summary_counts_by_hand(tmp_path: Path, cache: Path) -> None:
    images = np.stack([scenery(0), scenery(1), scenery(0), scenery(2)])
    masks = np.zeros_like(images)  # 48 x 72 pixels
    masks[0, :24], masks[0, 24:] = 1, 2
    masks[1, :12] = 1
    masks[2] = masks[1]
    training = np.stack([images, masks], axis=1)
    test = np.zeros((3, 48, 72), np.uint8)
    np.savez(tmp_path / "d.npz", training_set=training, test_set=test, classes=np.array(["none", "sky", "sea"]))
    data = open_dataset(DataSettings(source=str(tmp_path / "d.npz")))
    summary = summarise(data)
    sky, sea = 24 + 12 + 12, 24  # rows
    assert summary.name == "d.npz"
    assert (summary.images, summary.test_images, summary.bands, summary.dtype) == (4, 3, 1, "uint8")
    assert summary.background == "void"
    assert summary.void_share == pytest.approx(1 - (sky + sea) / (4 * 48))
    assert summary.all_void_images == 1
    assert (summary.groups, summary.groups_given, summary.near_duplicates) == (3, False, 1)
    assert summary.repeated_masks == 1
    assert (summary.classes, summary.values) == (("sky", "sea"), (1, 2))
    assert summary.pixel_shares == pytest.approx((2 / 3, 1 / 3))
    assert summary.images_per_class == (3, 1)
    assert summary.groups_per_class == (2, 1)
    assert summary.class_weights[1] == pytest.approx(2 * summary.class_weights[0], abs=2e-3)
    assert summary.data_hash == data.data_hash


def test_classes_that_no_labelled_image_holds_are_noted(tmp_path: Path, cache: Path) -> None:
    images = np.stack([scenery(0), scenery(1)])
    masks = np.ones_like(images)  # ids begin at 1
    masks[:, 5:] = 3
    names = np.array(["none", "sky", "sea", "sun"])
    np.savez(tmp_path / "d.npz", training_set=np.stack([images, masks], axis=1), classes=names)
    source = DataSettings(source=str(tmp_path / "d.npz"), background="class")
    assert summarise(open_dataset(source)).notes[:2] == (
        "no labelled image holds the class 'none' (id 0); leave it out, or give --background void if ids begin at 1",
        "no labelled image holds the class 'sea' (id 2); leave it out",
    )
    notes = summarise(open_dataset(source.model_copy(update={"background": "void"}))).notes
    assert [note for note in notes if note.startswith("no labelled")] == [
        "no labelled image holds the class 'sea' (id 2); leave it out"
    ]


def test_suspicious_data_are_said(tmp_path: Path, cache: Path) -> None:
    images = np.stack([scenery(0), scenery(1), scenery(2)])
    masks = np.ones_like(images)
    masks[:, 0, 0] = 2  # one pixel of 3,456
    training = np.stack([images, masks], axis=1)
    np.savez(tmp_path / "a.npz", training_set=training)
    np.savez(tmp_path / "b.npz", training_set=training, training_groups=np.array(["g"] * 3))
    notes = summarise(open_dataset(DataSettings(source=str(tmp_path / "a.npz")))).notes
    assert notes == (
        "suspicious: 99.97 % of the pixels are class 1",
        "suspicious: all 3 masks are alike",
        "3 groups: no interval can be trusted (with 10 or more groups it can)",
    )
    notes = summarise(open_dataset(DataSettings(source=str(tmp_path / "b.npz")))).notes
    assert notes[-1] == "suspicious: all images are in one group, so none can be held out"


def test_sizes_and_parts_are_shown(tmp_path: Path, cache: Path) -> None:
    for number, size in enumerate(((8, 9), (8, 9), (20, 30))):
        for part in ("images", "masks"):
            (tmp_path / part).mkdir(exist_ok=True)
            array = np.random.default_rng(number).integers(0, 2 if part == "masks" else 256, size, dtype=np.uint8)
            Image.fromarray(array).save(tmp_path / part / f"{number}.png")
    (tmp_path / "split.csv").write_text("id,part\n0,train\n1,val\n2,train\n")
    summary = summarise(open_dataset(DataSettings(source=str(tmp_path))))
    assert summary.sizes == "8x9 to 20x30, median 8x9 (2 different)"
    assert summary.parts == {"train": 2, "val": 1}


def test_summary_uses_given_groups(tmp_path: Path, cache: Path) -> None:
    groups = np.array(["a", "a", "b"])
    images = np.stack([scenery(0), scenery(1), scenery(2)])
    masks = np.zeros_like(images)
    masks[:, 2:], masks[:, 5:] = 1, 2
    np.savez(tmp_path / "d.npz", training_set=np.stack([images, masks], axis=1), training_groups=groups)
    summary = summarise(open_dataset(DataSettings(source=str(tmp_path / "d.npz"))))
    assert (summary.groups, summary.groups_given, summary.groups_per_class) == (2, True, (2, 2))
