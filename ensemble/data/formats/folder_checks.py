"""Check that the images of a folder fit together, from their headers, and say what is changed when they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.data.formats.header import Header
from ensemble.data.formats.image_files import left_out
from ensemble.data.formats.pixels import natural_span


def check_sizes(
    images: Mapping[str, Path],
    masks: Mapping[str, Path],
    test: Mapping[str, Path],
    headers: Mapping[Path, Header],
    size: tuple[int, int] | None,
) -> None:
    """Check that an image and its mask have one size, and that all images have one unless they are resized.

    Raises:
        EnsError: they have not; the text names the pair, or the sizes.
    """
    for stem, path in images.items():
        image, mask = headers[path], headers[masks[stem]]
        if (image.height, image.width) != (mask.height, mask.width):
            turned = [text for text in (_turned(image, "image"), _turned(mask, "mask")) if text]
            raise EnsError(
                f"the image {stem} is {image.height}x{image.width} but its mask is {mask.height}x{mask.width}"
                f"{' (' + ', '.join(turned) + ')' if turned else ''}; expected equal sizes, fix that pair"
            )
    sizes = sorted({(headers[path].height, headers[path].width) for path in (*images.values(), *test.values())})
    if len(sizes) > 1 and size is None:
        texts = ", ".join(f"{h}x{w}" for h, w in sizes[:4])
        raise EnsError(
            f"the images have {len(sizes)} different sizes ({texts}{', ...' if len(sizes) > 4 else ''});"
            f" choose one, for example image_size {sizes[0][0]}x{sizes[0][1]}"
        )


def _turned(header: Header, what: str) -> str:
    return f"the {what} is turned by its EXIF orientation {header.orientation}" if header.orientation != 1 else ""


def check_types(images: Mapping[Path, Header]) -> None:
    """Check that all images, test images included, hold numbers in the same units.

    Raises:
        EnsError: some have 8 bits and others 16 or fractions; the text counts them and names the first.
    """
    kinds = {path: header.dtype if natural_span(header.dtype) else "numbers" for path, header in images.items()}
    _one_kind({path: (kind, images[path].dtype) for path, kind in kinds.items()}, "pixels of one type")


def check_bands(images: Mapping[Path, Header]) -> int:
    """Return the number of bands that all images get; a few grey images among colour images get three.

    Raises:
        EnsError: other mixtures; the text counts them and names the first.
    """
    count = Counter(header.bands for header in images.values())
    if set(count) == {1, 3} and count[1] < count[3]:
        return 3
    _one_kind({path: (str(h.bands), f"{h.bands} band(s)") for path, h in images.items()}, "images of equal bands")
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


def notes_of(folders: Sequence[Path], headers: Mapping[Path, Header], images: Mapping[Path, Header]) -> tuple[str, ...]:
    """Return sentences about files that are left out and about images that are changed when they are read.

    Args:
        folders: folders of images and masks.
        headers: headers of all files.
        images: headers of the images and test images.
    """
    notes = [note for note in map(left_out, folders) if note]
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
