"""Predictions of described data come back as the user's own values: sparse ids, 16 bits, colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble import predict, train

COLOURS = np.array([[0, 0, 0], [128, 64, 0], [0, 0, 255]], np.uint8)


def draw(root: Path, values: Sequence[int] | NDArray[np.uint8]) -> Path:
    """Write eight easy images: dark, middle and bright blocks, which are the three values."""
    table = np.asarray(values)
    kind = np.uint8 if table.ndim == 2 or table.max() < 256 else np.uint16
    for number in range(8):
        labels = np.random.default_rng(number).integers(0, 3, (4, 6)).repeat(8, 0).repeat(8, 1)
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray((labels * 100 + 20).astype(np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(table[labels].astype(kind)).save(root / "masks" / f"{number}.png")
    return root


def described(root: Path, text: str) -> Path:
    path = root / "data.toml"
    path.write_text(text + '\n[train]\nimages = "images/{id}.png"\nmasks = "masks/{id}.png"\n')
    return path


def predicted(root: Path, data: Path) -> Image.Image:
    arch = "unet-baseline(filters=4, depth=1)"
    member = train(data, arch=arch, loss="ce", epochs=20, batch_size=4, lr=3e-2, device="cpu", out=root / "runs")
    predict(member.path, root / "images" / "0.png", root / "out.png", runs=root / "runs")
    return Image.open(root / "out.png")


@pytest.mark.parametrize("values", [(0, 38, 75), (0, 255, 7), (300, 1000, 65535)])
def test_ids_come_back(tmp_path: Path, values: tuple[int, ...]) -> None:
    draw(tmp_path, values)
    classes = "".join(f"c{value} = {value}\n" for value in values)
    mask = np.asarray(predicted(tmp_path, described(tmp_path, f"[classes]\n{classes}")))
    truth = np.asarray(Image.open(tmp_path / "masks" / "0.png"))
    assert set(np.unique(mask)) <= set(values)
    assert (mask == truth).mean() > 0.8


def test_colours_come_back(tmp_path: Path) -> None:
    draw(tmp_path, COLOURS)
    classes = '[classes]\nsky = "#0000ff"\nsoil = "#000000"\nrock = "#804000"\n'
    picture = predicted(tmp_path, described(tmp_path, f'coding = "colours"\n{classes}'))
    truth = np.asarray(Image.open(tmp_path / "masks" / "0.png"))
    assert (np.asarray(picture.convert("RGB")) == truth).all(-1).mean() > 0.8
    assert set(np.unique(np.asarray(picture))) <= {0, 1, 2}
