"""Open a data set of image files: find the files, check that they fit together, and make the digest of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ensemble.core.files import digest, file_digest
from ensemble.core.threads import in_threads
from ensemble.data.description import Description
from ensemble.data.formats.file_checks import (
    check_bands,
    check_sizes,
    check_types,
    notes_of,
    sample_size,
    without_other_bands,
)
from ensemble.data.formats.files import FileSource, read_bands
from ensemble.data.formats.header import Header
from ensemble.data.formats.image_files import check_mask_kind, image_header
from ensemble.data.formats.mask_tables import table_files
from ensemble.data.formats.names import class_names, read_class_names
from ensemble.data.formats.part_samples import Sample
from ensemble.data.formats.pixels import Span, limits_of, natural_span, pixel_span
from ensemble.data.formats.samples import collect
from ensemble.data.formats.tables import given_groups, given_parts, group_notes
from ensemble.data.pixel_cache import PixelCache
from ensemble.data.pixel_folder import PixelFolder

READING = 1  # version of how pixels are decoded, for those that are kept on disk


def open_files(description: Description, root: Path) -> FileSource:
    """Open the images that a description names, below ``root``.

    Args:
        description: where images and masks are.
        root: the folder that its patterns begin at.

    Raises:
        EnsError: when an image has no mask or a mask no image, sizes, bands or types differ, or files are damaged.
    """
    samples = collect(description, root)
    labelled, test, notes = samples.labelled, samples.test, samples.notes
    files = [*_all_files(labelled), *_all_files(test)]
    headers = dict(zip(files, in_threads(image_header, files), strict=True))
    for sample in (*labelled, *test):
        for path in sample.masks:
            check_mask_kind(headers[path], path)
    check_sizes((*labelled, *test), headers)
    bands = check_bands({each.images: sum(headers[p].bands for p in each.images) for each in labelled})
    test, left = without_other_bands(test, headers, bands)
    notes += left
    shown = {path: headers[path] for sample in (*labelled, *test) for path in sample.images}
    check_types(shown)
    tables = [root / name for name in (description.groups, description.names) if name]
    tables += table_files(description, root).values()
    span, sizes = _span(labelled, headers, description), tuple(sample_size(each, headers) for each in labelled)
    bands = bands if description.bands is None else len(description.bands)
    fingerprint = _fingerprint(description, root, [*files, *tables], headers)
    pixels = _pixel_cache(fingerprint, span, bands)
    pixel_bytes = 1 + bands * (1 if headers[labelled[0].images[0]].dtype == "uint8" else 4)  # of a mask and an image
    kept = pixels.note(pixel_bytes * sum(math.prod(size) for size in sizes))
    return FileSource(
        description=description,
        labelled=labelled,
        test=test,
        groups=given_groups(description, root, labelled),
        parts=given_parts(description, root, labelled),
        names=_names(description, root),
        written=dict(enumerate(description.written)),
        colours=description.colours,
        span=span,
        bands=bands,
        fingerprint=fingerprint,
        pixels=pixels,
        sizes=sizes,
        test_sizes=tuple(sample_size(each, headers) for each in test),
        notes=(
            *notes,
            *group_notes(description, root, (*labelled, *test)),
            *notes_of(headers, shown),
            *([kept] if kept else []),
        ),
        without_data=frozenset(path for path, header in shown.items() if header.no_data is not None),
        _tables=samples.tables,
    )


def _pixel_cache(fingerprint: str, span: Span, bands: int) -> PixelCache:
    """Return the cache of a data set; other values and another version of OpenCV give other pixels of the same file."""
    return PixelCache(PixelFolder(digest(fingerprint, repr(span), str(bands), f"{READING} {cv2.__version__}")))


def _all_files(samples: Sequence[Sample]) -> list[Path]:
    """Return the files of images and then those of masks; the digest of the data depends on this order."""
    images = [path for sample in samples for path in sample.images]
    return [*images, *(path for sample in samples for path in sample.masks)]


def _names(description: Description, root: Path) -> Mapping[int, str] | None:
    if description.classes is not None:
        return class_names(list(description.classes), "[classes]")
    return read_class_names(root / description.names) if description.names else None


def _span(samples: Sequence[Sample], headers: Mapping[Path, Header], description: Description) -> Span:
    """Return the raw values that become 0 and 1; unless the type decides them, all images are read."""
    dtype = headers[samples[0].images[0]].dtype
    if (natural := natural_span(dtype)) is not None:
        return natural
    limits = in_threads(lambda sample: limits_of(read_bands(sample, description)), samples)
    names = [f"{sample.images[0].parent.name}/{sample.images[0].name}" for sample in samples]
    return pixel_span(dict(zip(names, limits, strict=True)), np.dtype(dtype))


def _fingerprint(description: Description, root: Path, files: Sequence[Path], headers: Mapping[Path, Header]) -> str:
    present = [file for file in dict.fromkeys(files) if file.is_file()]
    names = [file.relative_to(root).as_posix() for file in present]
    content = "\n".join(f"{name} {text}" for name, text in zip(names, in_threads(file_digest, present), strict=True))
    # How an image is read is part of the data: versions that did not turn images gave other pixels for the same files.
    read = [f"{name} {headers[file].reading}" for name, file in zip(names, present, strict=True) if file in headers]
    changed = [text for text in read if not text.endswith(" ")]
    # So is what the description says about the values of images and masks; where it says nothing, nothing is added.
    meaning = description.model_dump(
        exclude_defaults=True, include={"coding", "channel", "classes", "void", "bands", "no_data", "group_pattern"}
    )
    return digest(content, *(["\n".join(changed)] if changed else []), *([repr(meaning)] if meaning else []))
