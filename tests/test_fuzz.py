"""Damaged files of every kind: a reader gives the data of the undamaged file, or one sentence, and nothing else.

A case is a seed: it picks a reader, a valid file and the damage. To see one again, add it to ``FAILED``.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco_masks
from rasterio import Affine
from rasterio.io import MemoryFile
from safetensors.numpy import save as safetensors

from ensemble.architectures.pretrained import read_weights
from ensemble.core.cache import Cache
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.core.texts import read_toml
from ensemble.data.cleaning.exclusion import read_exclusion
from ensemble.data.description import Description, Part, read_description
from ensemble.data.formats.array_files import open_arrays
from ensemble.data.formats.coco_masks import open_coco
from ensemble.data.formats.image_files import read_image, read_mask
from ensemble.data.formats.names import read_class_names, read_groups
from ensemble.data.formats.npz import open_npz
from ensemble.data.formats.npz_stack import NpzStack
from ensemble.data.formats.run_length_masks import open_run_lengths
from ensemble.importing.readers import open_predictions

LONGEST = 10.0  # seconds that one case may take; a reader that believes a forged size takes longer
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (24, 30), dtype=np.uint8)
IDS = RANDOM.integers(0, 3, (24, 30), dtype=np.uint8)
COLOURS = RANDOM.integers(0, 256, (24, 30, 3), dtype=np.uint8)
BANDS = RANDOM.integers(0, 60_000, (24, 30, 4), dtype=np.uint16)
PROBABILITIES = np.full((3, 2, 4, 5), 0.5, np.float32)


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        suffix: ending of its name.
        content: a valid file.
        read: function from the path to all that is read.
        checked: whether the format has checksums, so that damage never gives other data.
    """

    suffix: str
    content: bytes
    read: Callable[[Path], Any]
    checked: bool = False


def _bytes(write: Callable[[io.BytesIO], Any]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def _picture(array: Any, form: str, **options: Any) -> bytes:
    return _bytes(lambda stream: Image.fromarray(array).save(stream, form, **options))


def _geotiff(array: Any) -> bytes:
    with MemoryFile() as memory:
        shape: dict[str, Any] = {"count": array.shape[2], "height": array.shape[0], "width": array.shape[1]}
        shape |= {"crs": "EPSG:32632", "transform": Affine(10, 0, 500_000, 0, -10, 5_600_000)}
        with memory.open(driver="GTiff", dtype=array.dtype.name, compress="zstd", **shape) as file:
            file.write(np.moveaxis(array, -1, 0))
        return memory.read()


def _tiff(array: Any, **options: Any) -> bytes:
    return _bytes(lambda stream: tifffile.imwrite(stream, array, **options))


def _data(path: Path) -> Any:
    source = open_npz(path)
    return source.images_nhwc, source.masks_nhw, source.test_nhwc, source.groups, source.names


def _stack(path: Path) -> Any:
    stack = NpzStack.open(path, "test_set")
    return [stack.read(row) for row in range(len(stack.ids))]


def _predictions(path: Path) -> Any:
    opened = open_predictions(path)
    return opened.ids, [opened.read(row) for row in range(opened.count)]


def _arrays(path: Path) -> Any:
    source = open_arrays(Description(train=Part(images=("X",), masks="y", ids="ids")), path)
    return source.images_nhwc, source.masks_nhw, source.ids


def _coco(path: Path) -> Any:
    masks = open_coco({"train": path})["train"]
    return [masks.values(name, 24, 30) for name in sorted(masks.names)]


def _run_lengths(path: Path) -> Any:
    masks = open_run_lengths({"train": path})["train"]
    return [masks.values(name, 24, 30) for name in sorted(masks.names)]


def _cache(path: Path) -> Any:
    cache = Cache("fuzz", 1, "0" * 32)
    cache.path.write_bytes(path.read_bytes())
    content = cache.read()
    if content is None:
        raise EnsError("the cache is damaged, so that its content is computed again")
    return content


GDAL = _geotiff(BANDS)
ARRAYS: dict[str, Any] = {
    "training_set": np.stack([np.stack([GREY, IDS])] * 3),
    "test_set": np.stack([GREY, GREY]),
    "training_groups": np.array(["a", "b", "c"]),
    "classes": np.array(["sky", "sea", "land"]),
}
STACKS: dict[str, Any] = {"X": np.stack([COLOURS] * 3), "y": np.stack([IDS] * 3), "ids": np.array(list("abc"))}
PREDICTED: dict[str, Any] = {"probabilities": PROBABILITIES, "ids": np.array(["a", "b", "c"])}
DESCRIPTION = b'void = 9\n[train]\nimages = "a/{id}.png"\nmasks = "b/{id}.png"\n[classes]\na = [1, 2]\nb = 3\n'
NESTED = {"classes": ["sky", "sea"], "values": {"a": [1, 2.5, None, True], "b": {"c": "größer"}}}
RUNS = {"size": [24, 30], "counts": [5, 10, 705]}
ENCODED: Any = coco_masks.encode(np.asfortranarray(IDS > 1).astype(np.uint8))
PACKED = {"size": [24, 30], "counts": ENCODED["counts"].decode()}
OUTLINES: list[Any] = [[[2, 3, 9.5, 3, 9, 12], [1, 1, 5, 1, 5, 5, 1, 5]], RUNS, PACKED, [[0, 0, 30, 0, 30, 24]]]
COCO = {
    "images": [{"id": n, "file_name": f"{n}.jpg", "height": 24, "width": 30} for n in range(2)],
    "annotations": [
        {"id": n, "image_id": n % 2, "category_id": n % 3, "iscrowd": int(n == 1), "segmentation": outline}
        for n, outline in enumerate(OUTLINES)
    ],
    "categories": [{"id": n, "name": name} for n, name in enumerate(("cat", "dog", "cow"))],
}
CONTENT_OF_CACHE = bytes(range(200))
READERS: dict[str, Reader] = {
    "npz": Reader(".npz", _bytes(lambda s: np.savez_compressed(s, **ARRAYS)), _data, True),
    "npz plain": Reader(".npz", _bytes(lambda s: np.savez(s, **ARRAYS)), _data, True),
    "npz stack": Reader(".npz", _bytes(lambda s: np.savez_compressed(s, test_set=ARRAYS["test_set"])), _stack, True),
    "npz predictions": Reader(".npz", _bytes(lambda s: np.savez_compressed(s, **PREDICTED)), _predictions, True),
    "npz arrays": Reader(".npz", _bytes(lambda s: np.savez_compressed(s, **STACKS)), _arrays, True),
    "npy": Reader(".npy", _bytes(lambda s: np.save(s, PROBABILITIES)), _predictions),
    "png": Reader(".png", _picture(GREY, "PNG"), read_image, True),
    "png colours": Reader(".png", _picture(COLOURS, "PNG"), read_image, True),
    "png 16 bit": Reader(".png", cv2.imencode(".png", BANDS[..., :3])[1].tobytes(), read_image, True),
    "png mask": Reader(".png", _picture(IDS, "PNG", bits=2), read_mask, True),
    "jpeg": Reader(".jpg", _picture(COLOURS, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"), read_image),
    "bmp": Reader(".bmp", _picture(COLOURS, "BMP"), read_image),
    "webp": Reader(".webp", _picture(COLOURS, "WebP", lossless=True), read_image),
    "tiff": Reader(".tif", _tiff(BANDS, photometric="rgb", extrasamples=[0]), read_image),
    "tiff deflate": Reader(".tif", _tiff(BANDS, photometric="rgb", extrasamples=[0], compression="zlib"), read_image),
    "tiff tiled": Reader(".tif", _tiff(np.tile(GREY, (3, 3)), tile=(16, 16), compression="zlib"), read_image),
    "tiff lzw": Reader(".tif", _picture(COLOURS, "TIFF", compression="tiff_lzw"), read_image),
    "tiff lzw 16 bit": Reader(".tif", cv2.imencode(".tif", BANDS)[1].tobytes(), read_image),
    "tiff float": Reader(".tif", _tiff(GREY.astype(np.float32) / 255), read_image),
    "tiff zstd": Reader(".tif", GDAL, read_image),
    "tiff mask": Reader(".tif", _tiff(IDS), read_mask),
    "classes": Reader(".txt", "sky\nbig rock\nUmriß\n".encode(), read_class_names),
    "groups": Reader(".csv", b"id,group\n1,a\n2,b\n", lambda path: read_groups(path, ["1", "2"], (".png",))),
    "exclusion": Reader(".csv", b"id,reason\n1,outlier\n2,copy\n", lambda path: read_exclusion(str(path), "123")),
    "toml": Reader(".toml", b'name = "x"\n[a]\nb = [1, 2.5]\nc = {d = true}\n', lambda p: read_toml(p, "correct it")),
    "coco": Reader(".json", json.dumps(COCO).encode(), _coco),
    "run lengths": Reader(
        ".csv", b"ImageId,ClassId,EncodedPixels\na.jpg,1,1 9 40 3\nb,2,\na.jpg,3,700 21\n", _run_lengths
    ),
    "description": Reader(".toml", DESCRIPTION, read_description),
    "json": Reader(".json", json.dumps(NESTED).encode(), read_json),
    "safetensors": Reader(".safetensors", safetensors({"a": PROBABILITIES}), lambda p: list(read_weights(str(p)))),
    "cache": Reader(".bin", Cache("fuzz", 1, "0" * 32).packed(CONTENT_OF_CACHE), _cache, True),
}
SWAPPED = [reader.content for reader in READERS.values()]
EXTREMES = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x80\0\0\0")


def damage(content: bytes, random: np.random.Generator) -> tuple[str, bytes]:
    """Return what is done to a file, and the damaged file."""
    raw, what = bytearray(content), str(random.choice(["flip", "cut", "empty", "edit", "insert", "delete", "repeat"]))
    if random.random() < 0.04:
        return "swapped", SWAPPED[int(random.integers(len(SWAPPED)))]
    at = int(random.integers(len(raw)))
    length = int(random.integers(1, 40))
    if what == "flip":
        for place in random.integers(len(raw), size=int(random.integers(1, 4))):
            raw[place] ^= 1 << int(random.integers(8))
    elif what == "cut":
        del raw[at:]
    elif what == "empty" and random.random() < 0.2:
        raw.clear()
    elif what in ("empty", "edit"):  # numbers in the head or at the end, where formats keep sizes and offsets
        near = int(random.integers(min(len(raw), 80)))
        place = near if random.random() < 0.6 else max(0, len(raw) - 4 - near)
        raw[place : place + 4] = EXTREMES[int(random.integers(len(EXTREMES)))]
    elif what == "insert":
        raw[at:at] = random.bytes(length)
    elif what == "delete":
        del raw[at : at + length]
    else:
        raw[at:at] = raw[at : at + length]
    return what, bytes(raw)


def same(one: Any, other: Any) -> bool:
    """Return whether two results are equal, arrays in type and shape too."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and bool(np.array_equal(one, other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def run_case(seed: int, folder: Path, name: str | None = None) -> None:
    """Damage one file and read it."""
    name = name or list(READERS)[seed % len(READERS)]
    reader = READERS[name]
    path = folder / f"case{reader.suffix}"
    what, content = damage(reader.content, np.random.default_rng(seed))
    path.write_bytes(content)
    start = time.monotonic()
    try:
        found = reader.read(path)
    except EnsError as error:
        text = str(error)
        assert len(text) > 20, f"{name}, seed {seed}: {text}"
        assert "\n" not in text, f"{name}, seed {seed}: {text}"
    except Exception as error:
        raise AssertionError(f"{name}, seed {seed}, {what}: {type(error).__name__}: {error}") from error
    else:
        if reader.checked and what != "swapped":
            path.write_bytes(reader.content)
            assert same(found, reader.read(path)), f"{name}, seed {seed}, {what}: other data"
    assert time.monotonic() - start < LONGEST, f"{name}, seed {seed}, {what}: too slow"


# Readers and seeds that found a fault, by what was wrong.
FAILED: dict[str, tuple[str, int]] = {
    "the name of an array loses its ending": ("npz plain", 547),
    "another ending of a name": ("npz plain", 1275),
    "a TIFF without bands": ("tiff mask", 3502),
}


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that claim more than 256 MB are refused, so that no test asks for more."""
    monkeypatch.setattr("ensemble.core.reading.free_lately", lambda: 1 << 28)


@pytest.mark.parametrize("name", READERS)
def test_undamaged_files_are_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"case{READERS[name].suffix}"
    path.write_bytes(READERS[name].content)
    READERS[name].read(path)


@pytest.mark.parametrize(("name", "seed"), FAILED.values(), ids=FAILED.keys())
def test_seeds_that_failed_stay_mended(name: str, seed: int, tmp_path: Path) -> None:
    run_case(seed, tmp_path, name)


@pytest.mark.parametrize("block", range(4))
def test_a_hundred_damaged_files(block: int, tmp_path: Path) -> None:
    for seed in range(25 * block, 25 * (block + 1)):
        run_case(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_two_thousand_damaged_files(block: int, tmp_path: Path) -> None:
    for seed in range(100 + 100 * block, 200 + 100 * block):
        run_case(seed, tmp_path)
