"""Check that the images of a folder fit together, from their headers, and say what is changed when they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.data.formats.header import Header
from ensemble.data.formats.part_samples import Sample
from ensemble.data.formats.pixels import natural_span


def check_sizes(samples: Sequence[Sample], headers: Mapping[Path, Header]) -> None:
    """Check that an image and its masks have one size.

    Raises:
        EnsError: they have not; the text names the pair.
    """
    for sample in samples:
        image = headers[sample.images[0]]
        for path in sample.masks:
            mask = headers[path]
            if (image.height, image.width) != (mask.height, mask.width):
                turned = [text for text in (_turned(image, "image"), _turned(mask, "mask")) if text]
                raise EnsError(
                    f"the image {sample.id} is {image.height}x{image.width} but its mask is {mask.height}x{mask.width}"
                    f"{' (' + ', '.join(turned) + ')' if turned else ''}; expected equal sizes, fix that pair"
                )


def without_other_bands(
    test: Sequence[Sample], headers: Mapping[Path, Header], bands: int
) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Return the test images with the bands of the labelled ones (grey may become colour), and a note about others."""

    def fits(sample: Sample) -> bool:
        own = sum(headers[path].bands for path in sample.images)
        return own == bands or (own == 1 and bands == 3)

    other = [sample.images[0] for sample in test if not fits(sample)]
    notes = _note(f"test images without {bands} band(s), left to `ens predict`", other)
    return tuple(sample for sample in test if fits(sample)), tuple(notes)


def sample_size(sample: Sample, headers: Mapping[Path, Header]) -> tuple[int, int]:
    """Return height and width of an image."""
    header = headers[sample.images[0]]
    return header.height, header.width


def _turned(header: Header, what: str) -> str:
    return f"the {what} is turned by its EXIF orientation {header.orientation}" if header.orientation != 1 else ""


def check_types(images: Mapping[Path, Header]) -> None:
    """Check that all images, test images included, hold numbers in the same units.

    Raises:
        EnsError: some have 8 bits and others 16 or fractions; the text counts them and names the first.
    """
    kinds = {path: header.dtype if natural_span(header.dtype) else "numbers" for path, header in images.items()}
    _one_kind({path: (kind, images[path].dtype) for path, kind in kinds.items()}, "pixels of one type")


def check_bands(bands: Mapping[tuple[Path, ...], int]) -> int:
    """Return the number of bands that all images get; a few grey images among colour images get three.

    Args:
        bands: the number of bands of each image, by its files.

    Raises:
        EnsError: other mixtures; the text counts them and names the first.
    """
    count = Counter(bands.values())
    if set(count) == {1, 3} and count[1] < count[3]:
        return 3
    _one_kind({paths[0]: (str(each), f"{each} band(s)") for paths, each in bands.items()}, "images of equal bands")
    return next(iter(count))


def _one_kind(kinds: Mapping[Path, tuple[str, str]], expected: str) -> None:
    count = Counter(kind for kind, _ in kinds.values())
    if len(count) == 1:
        return
    common, rare = count.most_common()[0][0], count.most_common()[-1][0]
    usual = next(text for kind, text in kinds.values() if kind == common)
    path, text = next((path, text) for path, (kind, text) in kinds.items() if kind == rare)
    raise EnsError(
        f"expected {expected}, got {usual} in {count[common]} of {len(kinds)} images but {text} in {count[rare]}, the"
        f" first is {path.parent.name}/{path.name}; convert the images to one kind"
    )


def notes_of(headers: Mapping[Path, Header], images: Mapping[Path, Header]) -> tuple[str, ...]:
    """Return sentences about images that are changed when they are read.

    Args:
        headers: headers of all files.
        images: headers of the images and test images.
    """
    notes: list[str] = []
    turned = [path for path, header in headers.items() if header.orientation != 1]
    notes += _note("turned as their EXIF orientation says", turned)
    if len({header.bands for header in images.values()}) > 1:
        notes += _note("grey, read as colour images", [path for path, header in images.items() if header.bands == 1])
    marked = [path for path, header in images.items() if header.no_data is not None]
    if marked:
        values = sorted({f"{images[path].no_data:g}" for path in marked})
        notes += _note(f"pixels of {', '.join(values)} have no data (GDAL_NODATA) and count as void", marked)
    return tuple(notes)


def _note(what: str, paths: Sequence[Path]) -> list[str]:
    names = ", ".join(f"{path.parent.name}/{path.name}" for path in paths[:3]) + (", ..." if len(paths) > 3 else "")
    return [f"{what}: {len(paths)} file{'s' * (len(paths) > 1)} ({names})"] if paths else []
