"""Images without labels: where they come from, in which units, and which of them are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import no_progress
from ensemble.data import Dataset, open_dataset
from ensemble.export.distil_unlabelled import Unlabelled, open_sources, open_unlabelled


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(tiny_npz)))


@pytest.fixture
def folder(tmp_path: Path, dataset: Dataset) -> Path:
    """A copy of a labelled image, a copy of a test image, a new image twice, and a new image in colours."""
    new = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    pictures = {"labelled": dataset.image(5)[..., 0], "test": dataset.test_image(1)[..., 0], "new": new, "twice": new}
    pictures["colours"] = np.stack([np.full((32, 32), 255), np.zeros((32, 32)), np.zeros((32, 32))], -1).astype(
        np.uint8
    )
    for name, picture in pictures.items():
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    return tmp_path


def opened(text: str | None, dataset: Dataset, crop: Any = None) -> Unlabelled:
    return open_unlabelled(open_sources(text), dataset, crop, no_progress)


def test_copies_are_left_out_and_colours_become_those_of_the_data(folder: Path, dataset: Dataset) -> None:
    found = opened(str(folder), dataset)
    names = [Path(name).name for name in found.images.ids]
    assert sorted(names) == ["colours", "new", "test"]
    assert found.notes == ("1 unlabelled image left out, because labelled images have the same pixels",)
    assert found.saw_test
    image = found.images.read(names.index("colours"))
    assert (image.shape, image.dtype, int(image[0, 0, 0])) == ((32, 32, 1), np.uint8, 76)
    (folder / "test.png").unlink()
    assert not opened(str(folder), dataset).saw_test


def test_the_word_test_stands_for_the_test_images(folder: Path, dataset: Dataset) -> None:
    found = opened(f"test, {folder}", dataset)
    assert len(found.images.ids) == 5 + 2  # the copy of a test image counts once
    assert (found.saw_test, found.sources) == (True, ("test", str(folder)))
    np.testing.assert_array_equal(found.images.read(3), dataset.test_image(3))
    assert found.digest != opened("test", dataset).digest


def test_none_are_none(dataset: Dataset) -> None:
    found = opened(None, dataset)
    assert (found.images.ids, found.digest, found.saw_test, found.notes) == ((), "", False, ())


def test_other_sizes_need_windows(tmp_path: Path, dataset: Dataset) -> None:
    Image.fromarray(np.zeros((40, 20), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(
        EnsError, match=r"expected unlabelled images of 32x32 as those of tiny.npz, got 40x20 of large; "
    ):
        opened(str(tmp_path), dataset)
    assert opened(str(tmp_path), dataset, (16, 16)).images.sizes == ((40, 20),)


def test_mistakes_are_one_sentence(tmp_path: Path, dataset: Dataset, tiny_arrays: dict[str, Any]) -> None:
    np.savez_compressed(tmp_path / "same.npz", images=tiny_arrays["training_set"][:, 0])
    with pytest.raises(EnsError, match=r"all 24 images of .*same.npz are labelled images of tiny.npz"):
        opened(str(tmp_path / "same.npz"), dataset)
    np.savez_compressed(tmp_path / "one.npz", training_set=tiny_arrays["training_set"])
    with pytest.raises(EnsError, match=r"one.npz has no test images to learn from; leave test out of unlabelled"):
        opened("test", open_dataset(DataSettings(source=str(tmp_path / "one.npz"))))
    with pytest.raises(EnsError, match="there are no unlabelled images at nowhere"):
        opened("nowhere", dataset)
