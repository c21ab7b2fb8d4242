"""Draw photographs of 1 to 12 megapixels as JPEG, with masks as PNG, from a seed.

`loader.py` reads them, because photographs of that size are not part of the repository. They are light and colours that
change slowly, finer and finer structure, grain, and round things of four classes. At quality 90 a megapixel takes
0.3 to 0.5 MB, as those of a camera do.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

CLASSES = 5  # the surroundings, and four kinds of things
SMALLEST, LARGEST = 1.0, 12.0  # megapixels
SHAPES = ((4, 3), (3, 2), (16, 9), (3, 4))
QUALITY = 90
_TILE = 1024


@cache
def _grain() -> NDArray[Any]:
    """One tile of noise, which all photographs are covered with."""
    return np.random.default_rng(0).normal(128, 9, (_TILE, _TILE, 3)).astype(np.uint8)


def draw(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a photograph (h, w, 3) and its class ids (h, w)."""
    rng = np.random.default_rng(seed)
    wide, high = SHAPES[rng.integers(len(SHAPES))]
    scale = np.sqrt(rng.uniform(SMALLEST, LARGEST) * 1e6 / (wide * high))
    width, height = int(wide * scale), int(high * scale)
    small: Any = np.full((height // 4, width // 4, 3), 110, np.uint8)
    for step, strength in ((128, 0.5), (16, 0.3), (3, 0.2), (1, 0.15)):
        coarse: Any = rng.integers(0, 256, (len(small) // step + 1, small.shape[1] // step + 1, 3), dtype=np.uint8)
        cv2.addWeighted(small, 1, cv2.resize(coarse, small.shape[1::-1]), strength, -128 * strength, small)
    mask: Any = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(6, 20)):
        kind, angle = int(rng.integers(1, CLASSES)), float(rng.uniform(0, 180))
        centre, axes = rng.uniform(0, 1, 2) * (width, height), rng.uniform(0.02, 0.15, 2) * (width, height)
        inside = np.zeros(small.shape[:2], np.uint8)
        for canvas, scale, value in ((inside, 4, 1), (mask, 1, kind)):
            where, reach = (centre / scale).astype(int).tolist(), (axes / scale).astype(int).tolist()
            cv2.ellipse(canvas, where, reach, angle, 0, 360, value, -1)
        cv2.add(small, _shade(kind, rng), small, mask=inside)
    tiles = (-(-height // _TILE), -(-width // _TILE), 1)
    grain: Any = np.tile(_grain(), tiles)[:height, :width]
    image: Any = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.addWeighted(image, 1, grain, 1, -128), mask


def _shade(kind: int, rng: np.random.Generator) -> Any:
    """The light that a thing of a class adds to each channel; it varies from thing to thing."""
    return (*np.clip(30 * np.array([kind % 2, kind // 2, 1.5 - kind / 3]) + rng.normal(0, 8, 3), 0, 90).tolist(), 0.0)


def save(root: Path, seed: int) -> tuple[int, int, int]:
    """Write one photograph and its mask, and return its pixels and the bytes of both files."""
    cv2.setNumThreads(1)
    image, mask = draw(seed)
    files = (root / "images" / f"{seed:05d}.jpg", root / "masks" / f"{seed:05d}.png")
    cv2.imwrite(str(files[0]), image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    cv2.imwrite(str(files[1]), mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return mask.size, files[0].stat().st_size, files[1].stat().st_size


def save_all(root: Path, number: int, processes: int) -> NDArray[np.int64]:
    """Write a folder with images/ and masks/; return pixels, bytes of JPEG and bytes of PNG of each photograph."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit OpenCV's threads as dead ones, and wait
    with ProcessPoolExecutor(processes, fresh) as pool:
        return np.array(list(pool.map(save, [root] * number, range(number), chunksize=4)))
