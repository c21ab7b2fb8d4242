"""Write predictions in their forms: a file per image, or one npz or csv of all images."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ensemble.core.files import atomic, write_bytes
from ensemble.core.temporary import temporary_file
from ensemble.inference.georeference import GeoReference, tiff_content
from ensemble.inference.predictor import Predictor
from ensemble.inference.replaceable import archive_mark, mask_mark, tiff_mark
from ensemble.inference.run_lengths import encode, objects

Batches = Iterator[tuple[list[str], NDArray[np.float32]]]
Maps = Mapping[str, NDArray[Any]]


def write_mask(
    predictor: Predictor, mask_hw: NDArray[np.generic], file: Path, origin: str, geo: GeoReference | None = None
) -> None:
    """Write one mask as PNG or TIFF, after the ending of ``file``: with a palette, or as 16 bits for ids above 255."""
    colours = predictor.palette
    if file.suffix.lower() == ".png":
        content, picture = io.BytesIO(), Image.fromarray(mask_hw)
        if colours is not None:
            picture.putpalette(colours.ravel().tolist())
        picture.save(content, "PNG", optimize=True, pnginfo=mask_mark(mask_hw, origin))
        write_bytes(file, content.getvalue())
    else:
        bands = mask_hw[None]
        write_bytes(file, tiff_content(bands, tiff_mark(bands, origin), palette=colours, geo=geo))


def write_probabilities(
    predictor: Predictor, probs_chw: NDArray[np.float32], file: Path, origin: str, geo: GeoReference | None = None
) -> None:
    """Write the probabilities of one image as a TIFF with a band of uint16 per class; 65535 is 1."""
    bands = np.rint(np.clip(probs_chw, 0, 1) * 65535).astype(np.uint16)
    write_bytes(file, tiff_content(bands, tiff_mark(bands, origin), names=predictor.classes, geo=geo))


def write_map(map_hw: NDArray[Any], file: Path, origin: str, geo: GeoReference | None = None) -> None:
    """Write a map (h, w), or several as (bands, h, w), of one image as a TIFF; float32 or bytes."""
    bands = map_hw[None] if map_hw.ndim == 2 else map_hw
    write_bytes(file, tiff_content(bands, tiff_mark(bands, origin), geo=geo))


def write_csv(predictor: Predictor, batches: Batches, out: Path) -> None:
    """Write a row per image: its id and the pixels of its mask, row after row; all images have one size."""
    with atomic(out) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        first = True
        for ids, probs in batches:
            masks = predictor.masks(probs)
            if first:
                writer.writerow(["id", *range(masks[0].size)])
            first = False
            writer.writerows([name, *mask.ravel().tolist()] for name, mask in zip(ids, masks, strict=True))
        text.detach()


def write_run_lengths(
    predictor: Predictor, batches: Batches, out: Path, values: Sequence[int], *, instances: bool
) -> None:
    """Write a row ``id,class,rle`` per image and class, or per object.

    A class that an image does not hold has an empty ``rle``; an image without objects has a row of its id only.
    """

    def rows_of(mask: NDArray[np.generic]) -> list[tuple[Any, str]]:
        if instances:
            return [*objects(mask, values)] or [("", "")]
        runs = encode(mask)
        return [(value, runs.get(value, "")) for value in values]

    with atomic(out) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "class", "rle"])
        for ids, probs in batches:
            for name, mask in zip(ids, predictor.masks(probs), strict=True):
                writer.writerows([name, value, runs] for value, runs in rows_of(mask))
        text.detach()


def write_npz(
    predictor: Predictor,
    ids: Sequence[str],
    batches: Iterator[tuple[NDArray[np.float32], Maps]],
    out: Path,
    *,
    probabilities: bool,
    origin: str = "",
) -> None:
    """Write ids, classes, masks, further maps (n, ..., h, w) by name, and probabilities if they are wanted.

    The probabilities are streamed into the archive. Masks and maps go through other files there and are appended last,
    because an archive has one open entry at a time.
    """
    held = dict[str, _Held]()
    with (
        atomic(out) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ExitStack() as files,
    ):
        archive.comment = archive_mark(origin)
        with ExitStack() as opened:  # an archive with an open entry cannot be closed, not even after an error
            entry: IO[bytes] | None = None
            for probs, maps in batches:
                if probabilities and entry is None:
                    entry = opened.enter_context(_entry(archive, "probabilities"))
                    _npy_header(entry, (len(ids), *probs.shape[1:]), np.dtype(np.float32))
                if entry is not None:
                    entry.write(probs.tobytes())
                for name, array in ({"masks": predictor.masks(probs)} | dict(maps)).items():
                    if name not in held:
                        handle, _ = files.enter_context(temporary_file(out))
                        file = files.enter_context(os.fdopen(handle, "w+b"))
                        held[name] = _Held(file, (len(ids), *array.shape[1:]), array.dtype)
                    held[name].file.write(array.tobytes())
        for name, (file, shape, kind) in held.items():
            file.seek(0)
            with _entry(archive, name.replace("-", "_")) as whole:
                _npy_header(whole, shape, kind)
                while block := file.read(1 << 20):
                    whole.write(block)
        for name, array in (("ids", np.array(ids)), ("classes", np.array(predictor.classes))):
            with _entry(archive, name) as small:
                np.lib.format.write_array(small, array, allow_pickle=False)


class _Held(NamedTuple):
    """A temporary file with the values of an array of the archive."""

    file: IO[bytes]
    shape: tuple[int, ...]
    kind: np.dtype[Any]


def _entry(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open an array of an archive for writing; its date is fixed, so that the same content gives the same bytes."""
    about = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
    about.compress_type = zipfile.ZIP_DEFLATED
    return archive.open(about, "w", force_zip64=True)


def _npy_header(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)
