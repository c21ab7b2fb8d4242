"""`ens data describe` writes what is there, and its file is the same data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.data import open_dataset
from ensemble.data.describe import describe, frame_pattern, size_text


def scene(seed: int, *, sky: bool) -> NDArray[np.uint8]:
    """Return a mask of 20x30 pixels: random blocks of 0 and 1, or 2 above them."""
    mask = np.random.default_rng(seed).integers(0, 2, (4, 6)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    if sky:
        mask[:10] = 2
    return mask


def write(root: Path, names: Sequence[str], *, sky: bool = True) -> Path:
    for seed, name in enumerate(names):
        mask = scene(seed, sky=sky)
        image = (mask * 80 + np.random.default_rng(seed).integers(0, 70, mask.shape)).astype(np.uint8)
        for folder, array in (("images", image), ("masks", mask * 10)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{name}.png")
    return root


def test_the_file_gives_the_same_labels_as_the_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "my data", ["a", "b", "c"])
    (root / "images" / "notes.txt").write_text("left out")
    found = describe(root, tmp_path / "sub" / "d.toml")
    direct = open_dataset(DataSettings(source=str(root)))
    described = open_dataset(DataSettings(source=str(tmp_path / "sub" / "d.toml")))
    assert described.classes == direct.classes == ("class 0", "class 10", "class 20")
    assert described.values == direct.values == (0, 10, 20)
    assert described.data_hash == direct.data_hash
    np.testing.assert_array_equal(described.labels(range(3)), direct.labels(range(3)))
    text = (tmp_path / "sub" / "d.toml").read_text()
    assert text == found.toml
    assert "# 3 labelled images, 0 test images\n# sizes: 20x30; 1 band(s)\n" in text
    assert 'root = "../my data"' in text
    assert "# left out of images/, because only .png" in text
    assert "# class 20: 50.00 % of the pixels, in 3 of 3 masks" in text


def test_plain_ids_are_written_as_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "d", ["a", "b", "c"])
    for path in (root / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 10).save(path)
    (root / "classes.txt").write_text("soil\nrock\nsky\n")
    text = describe(root).toml
    assert "[classes]\nsoil = 0\nrock = 1\nsky = 2\n" in text
    assert "names" not in text


def test_doubts_are_in_the_file(tmp_path: Path) -> None:
    root = write(tmp_path / "d", ["a", "b", "c", "e"])
    mask = np.asarray(Image.open(root / "masks" / "b.png")).copy()
    mask[3, 3] = 99
    Image.fromarray(mask).save(root / "masks" / "b.png")
    found = describe(root)
    assert found.doubts == ("1 of 4 ids occur in one mask only, such as 99 in b: they may be no classes",)
    assert "# CHECK: 1 of 4 ids occur in one mask only" in found.toml
    assert '"class 99" = 99' in found.toml


@pytest.mark.parametrize(("sky", "advice"), [(True, "keep images upright"), (False, "'flips + rotate90' may help")])
def test_augmentations_are_proposed_where_the_data_allow_them(tmp_path: Path, sky: bool, advice: str) -> None:
    text = describe(write(tmp_path, [f"x{number}" for number in range(60)], sky=sky)).toml
    assert advice in text


def test_frames_of_scenes_are_noticed(tmp_path: Path) -> None:
    names = [f"{scene}_{frame:04}" for scene in ("0001TP", "Seq05VD") for frame in range(3)]
    pattern = frame_pattern(names)
    assert pattern is not None
    assert pattern[1] == 2
    root = write(tmp_path / "d", names)
    describe(root, tmp_path / "d.toml")
    text = (tmp_path / "d.toml").read_text()
    (line,) = (line for line in text.splitlines() if "group_pattern" in line)
    setting = line.partition("add: ")[2]
    (tmp_path / "d.toml").write_text(text.replace("\n[train]", f"{setting}\n\n[train]", 1))
    assert open_dataset(DataSettings(source=str(tmp_path / "d.toml"))).groups == ("0001TP",) * 3 + ("Seq05VD",) * 3


@pytest.mark.parametrize("names", [["a", "b"], ["0001", "0002"], ["a_1", "b_1", "c_1"], []])
def test_other_names_are_no_frames(names: list[str]) -> None:
    assert frame_pattern(names) is None


def test_nothing_is_replaced_and_nothing_described_twice(tmp_path: Path) -> None:
    root = write(tmp_path / "d", ["a", "b"])
    (tmp_path / "d.toml").write_text("mine")
    with pytest.raises(EnsError, match=r"a new file that ends in \.toml as out, got .*d\.toml; choose another name"):
        describe(root, tmp_path / "d.toml")
    with pytest.raises(EnsError, match="is a description or another TOML file; give the folder"):
        describe(tmp_path / "d.toml")
    with pytest.raises(EnsError, match="the sample needs no description"):
        describe("sample")
    with pytest.raises(EnsError, match="there is no file or folder"):
        describe(tmp_path / "nowhere")


def test_sizes_as_text() -> None:
    assert size_text([(2, 3)] * 4) == "2x3"
    assert size_text([(40, 30), (2, 3), (5, 5)]) == "2x3 to 40x30, median 5x5 (3 different)"


def test_the_names_of_parts_are_no_scenes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 3, (12, 8, 8), dtype=np.uint8)
    training, held = pixels[:8], pixels[8:]
    np.savez(tmp_path / "data.npz", x_train=training, y_train=training, x_val=held, y_val=held)
    assert "scenes" not in describe(tmp_path / "data.npz").toml
