"""Mark the files that `ens predict` writes, and refuse an output that would replace or join any other file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ensemble.core.errors import EnsError
from ensemble.core.files import digest
from ensemble.core.reading import is_file, is_folder

KEY = "ens predict"  # keyword of the text in a PNG file; its value is the digest of the mask
ARCHIVE_MARK = b"ens predict"  # comment of an npz file
ADVICE = "choose a new place, or move or delete what is there"


def mask_mark(mask_hw: NDArray[np.uint8]) -> PngInfo:
    """Return the text that marks a PNG file as a mask of `ens predict` that nobody has changed since."""
    mark = PngInfo()
    mark.add_text(KEY, _mask_digest(mask_hw))
    return mark


def check_replaceable(out: Path) -> None:
    """Check that writing to ``out`` destroys nothing that `ens predict` did not write, before anything is written.

    A folder may hold unchanged masks of `ens predict` (a repeated command replaces them) and hidden files. A csv file
    cannot carry a mark, so it is never replaced.

    Raises:
        EnsError: there is something else; the text names it.
    """
    if is_folder(out):
        for path in sorted(out.iterdir()):
            if not path.name.startswith(".") and not _is_own_mask(path):
                raise EnsError(
                    f"expected a folder that is empty or holds only masks of `ens predict` for the output, but {out}"
                    f" holds {path.name}, which it did not write or which was changed since; {ADVICE}"
                )
    elif is_file(out) and out.suffix and not _is_own_archive(out):
        raise EnsError(
            f"expected a new file for the output, but {out} exists; only an npz file that `ens predict` wrote is"
            f" replaced; {ADVICE}"
        )


def _mask_digest(mask_hw: NDArray[np.uint8]) -> str:
    return digest(str(mask_hw.shape), mask_hw.tobytes())


def _is_own_mask(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return picture.mode == "P" and picture.info.get(KEY) == _mask_digest(np.asarray(picture))
    except Exception:  # whatever a damaged or foreign file raises, it is no mask of ours
        return False


def _is_own_archive(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.comment == ARCHIVE_MARK
    except (OSError, zipfile.BadZipFile):
        return False
