"""What `ens predict` may replace: its own unchanged masks and archives, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.inference.load import load
from ensemble.inference.open_images import open_images
from ensemble.inference.predictor import Predictor
from ensemble.inference.replaceable import check_replaceable
from ensemble.inference.write_masks import predict, predict_to


@pytest.fixture(scope="module")
def model(tiny_runs: Path) -> Path:
    return min((tiny_runs / "members").iterdir())


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return load(model)


def street(folder: Path) -> Path:
    """A data set with two images and one mask."""
    for name, rows in (("images", (0, 1)), ("masks", (0,))):
        (folder / name).mkdir(parents=True)
        for row in rows:
            pixels = np.random.default_rng(row).integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{row}.png")
    return folder


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("images", "out", "named"),
    [
        ("images", "images", "0.png"),
        ("images", "images/../images", "0.png"),
        ("images", "masks", "0.png"),
        ("images/1.png", "masks", "0.png"),  # another name, but predictions do not join the truth
        ("images", ".", "images"),
    ],
)
def test_the_users_images_and_masks_stay_as_they_are(
    model: Path, tmp_path: Path, images: str, out: str, named: str
) -> None:
    data = street(tmp_path / "street")
    before = content(data)
    with pytest.raises(EnsError, match=rf"holds only masks of `ens predict` for the .* holds {named}, which"):
        predict(model, data / images, data / out, device="cpu")
    assert content(data) == before


@pytest.mark.parametrize("name", ["mine.npz", "mine.csv"])
def test_a_file_of_the_user_is_not_replaced(predictor: Predictor, tiny_npz: Path, tmp_path: Path, name: str) -> None:
    mine = tmp_path / name
    mine.write_bytes(tiny_npz.read_bytes())
    source = mine if name == "mine.npz" else tiny_npz
    with pytest.raises(EnsError, match=rf"expected a new file for the output, but .*{name} exists; only a png, tif"):
        predict_to(predictor, open_images(source), mine)
    assert mine.read_bytes() == tiny_npz.read_bytes()


def test_the_same_command_goes_on_after_a_kill(predictor: Predictor, tmp_path: Path) -> None:
    images, out = open_images(street(tmp_path / "street") / "images"), tmp_path / "out"
    predict_to(predictor, images, out)
    whole = content(out)
    (out / "1.png").unlink()  # as if the command was killed before the last mask
    (out / ".1.png.abcdefgh.tmp").write_bytes(b"half")
    predict_to(predictor, images, out)
    assert {name: found for name, found in content(out).items() if not name.startswith(".")} == whole
    for _ in range(2):
        predict_to(predictor, images, tmp_path / "out.npz")


def test_the_same_command_goes_on_with_masks_of_any_size(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)  # Image.open refuses twice as many
    images, out = open_images(street(tmp_path / "street") / "images"), tmp_path / "out"
    predict_to(predictor, images, out)
    notes: list[str] = []
    predict_to(predictor, images, out, on_note=notes.append)
    count = len(images.ids)
    assert f"{count} of {count} predictions are there already" in notes[-1]


def test_a_mask_that_was_changed_by_hand_is_kept(predictor: Predictor, tmp_path: Path) -> None:
    images, out = open_images(street(tmp_path / "street") / "images"), tmp_path / "out"
    predict_to(predictor, images, out)
    check_replaceable(out)
    with Image.open(out / "1.png") as picture:
        picture.load()
        picture.putpixel((0, 0), 200)
        kept = PngInfo()
        kept.add_text("ens predict", picture.info["ens predict"])  # some programs keep texts
        picture.save(out / "1.png", pnginfo=kept)
    before = content(out)
    with pytest.raises(EnsError, match=r"holds 1\.png, which it did not write or which was changed since; choose"):
        predict_to(predictor, images, out)
    assert content(out) == before
