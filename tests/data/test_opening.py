"""Data sets as members see them: labels, void, classes, counts, sizes; the real data where they exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ensemble.config import Background, DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import VOID, Dataset, open_dataset, opening
from ensemble.data.formats.files import FileSource
from ensemble.data.open_source import embedded_sample

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MASKS = np.array([[[0, 0, 1, 2], [0, 1, 1, 1]], [[255, 2, 2, 2], [0, 0, 0, 0]], [[0, 0, 0, 255]] * 2], np.uint8)


def save_npz(path: Path, masks: NDArray[Any], **more: Any) -> DataSettings:
    grey = np.arange(masks.size, dtype=np.uint8).reshape(masks.shape)
    np.savez(path, training_set=np.stack([grey.astype(masks.dtype), masks], axis=1), **more)
    return DataSettings(source=str(path))


def save_folder(root: Path, masks: NDArray[np.uint8]) -> DataSettings:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for number, mask in enumerate(masks):
        for part, array in (("images", mask * 50), ("masks", mask)):
            assert cv2.imwrite(str(root / part / f"{number}.png"), array)
    return DataSettings(source=str(root))


def opened(path: Path, background: Background | None) -> Dataset:
    return open_dataset(save_npz(path / "d.npz", MASKS).model_copy(update={"background": background}))


# ---------------------------------------------------------------- background and void


@pytest.mark.parametrize(
    ("background", "values", "outputs", "void"),
    [
        (None, (1, 2), 2, 16 / 24),
        ("void", (1, 2), 2, 16 / 24),
        ("zero-weight", (1, 2), 3, 16 / 24),
        ("class", (0, 1, 2), 3, 3 / 24),
    ],
)
def test_background_decides_classes_outputs_and_void(
    tmp_path: Path, background: Background | None, values: tuple[int, ...], outputs: int, void: float
) -> None:
    data = opened(tmp_path, background)
    assert data.background == (background or "void")
    assert data.values == values
    assert data.classes == tuple(f"class {value}" for value in values)
    assert data.outputs == outputs
    assert data.void_share == pytest.approx(void)
    assert (data.bands, data.one_size) == (1, (2, 4))
    assert data.name == "d.npz"


def test_labels_run_from_zero_and_void_is_255(tmp_path: Path) -> None:
    labels = opened(tmp_path, "void").labels([0, 1])
    assert labels.dtype == np.uint8
    assert labels[0].tolist() == [[255, 255, 0, 1], [255, 0, 0, 0]]
    assert labels[1].tolist() == [[255, 1, 1, 1], [255] * 4]
    assert opened(tmp_path, "zero-weight").labels([0]).tolist() == labels[:1].tolist()
    assert opened(tmp_path, "class").labels([0, 1]).tolist() == MASKS[:2].tolist()


@pytest.mark.parametrize("background", ["void", "class", "zero-weight"])
def test_labels_are_numbers_of_classes_and_void(tmp_path: Path, background: Background) -> None:
    data = opened(tmp_path, background)
    assert data.to_label.shape == (256,)
    assert data.to_label[list(data.values)].tolist() == list(range(len(data.classes)))
    assert (np.delete(data.to_label, data.values) == VOID).all()


def test_counts_are_pixels_per_image_and_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SCAN_BATCH", 2)  # the last batch is not a full one
    data = opened(tmp_path, "void")
    assert data.counts_nk.tolist() == [[4, 1], [0, 3], [0, 0]]
    assert data.counts_ni.sum(1).tolist() == [8, 8, 8]
    assert data.counts_ni[:, [0, 255]].tolist() == [[3, 0], [4, 1], [6, 2]]


def test_folders_take_zero_as_a_class(tmp_path: Path) -> None:
    data = open_dataset(save_folder(tmp_path / "pairs", MASKS))
    assert data.background == "class"
    assert data.name == "pairs"
    assert data.classes == ("class 0", "class 1", "class 2")
    assert data.labels([1]).tolist() == MASKS[1:2].tolist()
    assert data.void_share == pytest.approx(3 / 24)
    as_void = open_dataset(DataSettings(source=str(tmp_path / "pairs"), background="void"))
    assert as_void.classes == ("class 1", "class 2")


def test_names_may_promise_a_class_that_never_occurs(tmp_path: Path) -> None:
    classes = np.array(["nothing", "sky", "sea", "boat"])
    data = open_dataset(save_npz(tmp_path / "d.npz", MASKS, classes=classes))
    assert data.classes == ("sky", "sea", "boat")
    assert data.names[0] == "nothing"
    assert data.counts_nk[:, 2].sum() == 0


def test_a_folder_that_is_called_by_a_dot_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_folder(tmp_path / "pairs", MASKS)
    monkeypatch.chdir(tmp_path / "pairs")
    assert open_dataset(DataSettings(source=".")).name == "pairs"


# ---------------------------------------------------------------- bad masks


def test_a_value_without_a_class_names_image_and_classes(tmp_path: Path) -> None:
    masks = MASKS.copy()
    masks[1, 0, 1] = 7
    with pytest.raises(
        EnsError, match="mask of image 1 holds the value 7, which is not a class: expected 0 class 0, 1"
    ):
        open_dataset(save_npz(tmp_path / "d.npz", masks))
    with pytest.raises(EnsError, match=r"expected 0 a, 1 b \(255 is void\); fix the mask, or list every class in"):
        open_dataset(save_npz(tmp_path / "e.npz", MASKS, classes=np.array(["a", "b"])))


def test_binary_masks_of_255_in_an_npz_are_asked_for_as_0_and_1(tmp_path: Path) -> None:
    masks = np.where(MASKS == 1, 255, 0).astype(np.uint8)
    with pytest.raises(EnsError, match="write a binary mask as 0 and 1"):
        open_dataset(save_npz(tmp_path / "d.npz", masks))


def test_binary_masks_of_255_in_a_folder_are_two_classes(tmp_path: Path) -> None:
    data = open_dataset(save_folder(tmp_path / "d", np.where(MASKS == 1, 255, 0).astype(np.uint8)))
    assert data.classes == ("background", "foreground")
    assert data.values == (0, 255)
    assert data.void_share == 0
    np.testing.assert_array_equal(data.labels(range(3)), MASKS == 1)
    assert any("255 is read as the class foreground" in note for note in data.notes)


def test_one_class_besides_void_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"two classes with labels besides void, got \['class 1'\]; .*255 is void"):
        open_dataset(save_npz(tmp_path / "d.npz", np.minimum(MASKS, 1)))


@pytest.mark.parametrize(("value", "named"), [(0, False), (255, False), (0, True), (255, True)])
def test_void_everywhere_is_refused(tmp_path: Path, value: int, named: bool) -> None:
    more = {"classes": np.array(["void", "a", "b"])} if named else {}
    with pytest.raises(EnsError, match=r"every pixel of every mask is void \(255, and 0 as background\); expected"):
        open_dataset(save_npz(tmp_path / "d.npz", np.full_like(MASKS, value), **more))


# ---------------------------------------------------------------- sizes and hashes


def test_data_hash_is_of_content(tmp_path: Path) -> None:
    settings, again = save_npz(tmp_path / "d.npz", MASKS), save_npz(tmp_path / "copy.npz", MASKS)
    other = save_npz(tmp_path / "other.npz", MASKS[:2])
    hashes = [open_dataset(s).data_hash for s in (settings, again, other)]
    assert hashes[0] == hashes[1]
    assert hashes[2] != hashes[0]
    assert open_dataset(settings.model_copy(update={"background": "class"})).data_hash == hashes[0]


def test_the_sample_is_drawn_once_and_is_complete() -> None:
    data = open_dataset(DataSettings())
    assert embedded_sample() is embedded_sample()
    assert data.name == "sample"
    assert data.background == "void"
    assert data.classes == ("soil", "bedrock", "sand", "big rock")
    assert data.values == (1, 2, 3, 4)
    assert (data.bands, data.one_size) == (1, (64, 128))
    assert data.groups is not None
    assert len(data.test_ids) == 48


# ---------------------------------------------------------------- real data


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "mars.npz").is_file(), reason="../shared/data/mars.npz is absent")
def test_mars_is_read_as_documented() -> None:
    data = open_dataset(DataSettings(source=str(DATA / "mars.npz")))
    assert len(data.ids) == 2615
    assert len(data.test_ids) == 1500
    assert (data.bands, data.one_size) == (1, (64, 128))
    assert data.groups is not None
    assert len(set(data.groups)) == 736
    assert data.classes == ("soil", "bedrock", "sand", "big rock")
    assert int((data.counts_nk[:, 3] > 0).sum()) == 59
    assert int(data.counts_nk[:, 3].sum()) == 26_780
    assert 0.15 < data.void_share < 0.35


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "nuclei").is_dir(), reason="../shared/data/nuclei is absent")
def test_nuclei_are_read_as_documented() -> None:
    data = open_dataset(DataSettings(source=str(DATA / "nuclei")))
    assert len(data.ids) == 531
    assert data.ids[:2] == ("0000", "0001")
    assert (data.bands, data.one_size) == (1, (128, 128))
    assert data.background == "class"
    assert data.values == (0, 1, 2)
    assert data.void_share == 0
    assert data.images(range(4)).dtype == np.uint8
    assert set(np.unique(data.labels(range(16)))) == {0, 1, 2}


@pytest.mark.parametrize(("ids", "classes"), [([0, 1, 2], 2), ([1, 2, 3], 3), ([1, 2, 255], 2)])
def test_ids_without_names_may_lack_zero_only(tmp_path: Path, ids: list[int], classes: int) -> None:
    training = np.zeros((3, 2, 32, 32), np.uint8)
    training[:, 1] = np.resize(np.array(ids, np.uint8), (3, 32, 32))
    np.savez(tmp_path / "d.npz", training_set=training)
    dataset = open_dataset(DataSettings(source=str(tmp_path / "d.npz")))
    assert dataset.classes == tuple(f"class {value}" for value in range(1, classes + 1))
    training[0, 1, 0, 0] = 9
    np.savez(tmp_path / "gap.npz", training_set=training)
    with pytest.raises(
        EnsError, match="image 0 holds the value 9, which is not a class: expected 0 class 0, 1 class 1"
    ):
        open_dataset(DataSettings(source=str(tmp_path / "gap.npz")))


# ---------------------------------------------------------------- what is remembered of files


def test_files_are_read_once_for_all_time_while_they_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    for kind in ("images", "masks"):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for row in range(3):
            assert cv2.imwrite(str(tmp_path / "data" / kind / f"{row}.png"), np.full((8, 9), row % 2, np.uint8))
    settings = DataSettings(source=str(tmp_path / "data"))
    first = open_dataset(settings)
    first.check_images()
    monkeypatch.setattr(FileSource, "mask", lambda *_: pytest.fail("a mask was read again"))
    monkeypatch.setattr(FileSource, "image", lambda *_: pytest.fail("an image was read again"))
    again = open_dataset(settings)
    again.check_images()
    np.testing.assert_array_equal(again.counts_ni, first.counts_ni)
    monkeypatch.undo()
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "cache")
    (tmp_path / "data" / "masks" / "1.png").write_bytes((tmp_path / "data" / "masks" / "0.png").read_bytes())
    with pytest.raises(EnsError, match="all pixels of all masks are 0"):
        open_dataset(settings)
