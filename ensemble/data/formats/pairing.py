"""Find what the names of images and of their masks have in common, from the names themselves."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble.data.formats.folders import IMAGE_WORDS, MASK_WORDS, words_of
from ensemble.data.formats.names import plain_name

_MARKS = "_-. "
_TRIED = 20  # masks whose names are compared with those of all images


@dataclass(frozen=True)
class Pairing:
    """Names of image files and mask files, ``{id}`` with what stands around it.

    Attributes:
        image: for example ``{id}_sat``.
        mask: for example ``{id}_mask``.
        pairs: number of images with a mask.
    """

    image: str
    mask: str
    pairs: int


def pair_names(images: Iterable[Path], masks: Iterable[Path]) -> Pairing | None:
    """Return how the names of masks follow from those of images, or None if they have nothing in common.

    Of several ways, the one with most pairs is chosen; then one whose words say that it is a mask.
    """
    image_stems = sorted({plain_name(path.stem) for path in images})
    mask_stems = sorted({plain_name(path.stem) for path in masks})
    if not image_stems or not mask_stems:
        return None
    candidates = {("{id}", "{id}"), *_contained(image_stems, mask_stems), *_around(image_stems, mask_stems)}
    found = [Pairing(image, mask, _count(image_stems, mask_stems, image, mask)) for image, mask in candidates]
    best = max(found, key=lambda each: (each.pairs, -_rank(each.mask), -len(each.image + each.mask), each.mask))
    return best if best.pairs else None


def pair_in_one_folder(files: Sequence[Path]) -> tuple[str, str] | None:
    """Return the names of images and masks that lie in one folder, with their endings, or None.

    Masks have a word such as ``_mask`` in their names, or they are the PNG files and the images the JPEG files.
    """
    masks = [path for path in files if _says_mask(path.stem)]
    images = [path for path in files if path not in set(masks)]
    pairing = pair_names(images, masks)
    if pairing is not None and pairing.mask != "{id}" and pairing.pairs == len(masks):
        return f"{pairing.image}.*", f"{pairing.mask}.*"
    endings = {path.suffix for path in files}
    photos = [suffix for suffix in endings if suffix.lower() in (".jpg", ".jpeg")]
    others = sorted(endings - set(photos))
    if len(photos) == 1 and len(others) == 1:
        stems = {suffix: {path.stem for path in files if path.suffix == suffix} for suffix in endings}
        if stems[others[0]] and stems[others[0]] <= stems[photos[0]]:
            return f"{{id}}{photos[0]}", f"{{id}}{others[0]}"
    return None


def _says_mask(stem: str) -> bool:
    """Return whether the first or last word of a name says that the file is a mask."""
    words = words_of(stem)
    return len(words) > 1 and any(word in (*MASK_WORDS, "l", "m") for word in (words[0], words[-1]))


def _contained(images: Sequence[str], masks: Sequence[str]) -> set[tuple[str, str]]:
    """Return how images are named within masks, such as ``{id}_mask``, and the same for images that have a word too."""
    found: Counter[tuple[str, str]] = Counter()
    for own, inner in {stem: _core(stem) for stem in images}.items():
        for mask in masks[:_TRIED]:
            for text, image in ((own, "{id}"), (inner, own.replace(inner, "{id}", 1))):
                if text and text in mask:
                    found[image, mask.replace(text, "{id}", 1)] += 1
    return {candidate for candidate, _ in found.most_common(_TRIED)}


def _core(stem: str) -> str:
    """Return a name without a first or last word such as ``_sat`` or ``img-``."""
    for mark in _MARKS:
        head, found, tail = stem.rpartition(mark)
        if found and tail.lower() in IMAGE_WORDS:
            return head
        head, found, tail = stem.partition(mark)
        if found and head.lower() in IMAGE_WORDS:
            return tail
    return stem


def _around(images: Sequence[str], masks: Sequence[str]) -> set[tuple[str, str]]:
    """Return what stands around the names if each image has a mask: common beginnings and ends are compared."""
    if len(images) < 2 or len(masks) < 2:
        return set()
    before, after = [_start(stems) for stems in (images, masks)], [_end(stems) for stems in (images, masks)]
    head, tail = _end(before).lstrip(_MARKS), _start(after).rstrip(_MARKS)  # of the names, not of what is around them
    image, mask = (
        f"{first.removesuffix(head)}{{id}}{last.removeprefix(tail)}" for first, last in zip(before, after, strict=True)
    )
    return {(image, mask)}


def _start(texts: Sequence[str]) -> str:
    return os.path.commonprefix(list(texts))  # noqa: RUF071  (letters are compared, not folders)


def _end(texts: Sequence[str]) -> str:
    return _start([text[::-1] for text in texts])[::-1]


def _count(images: Sequence[str], masks: Sequence[str], image: str, mask: str) -> int:
    return len(ids_of(images, image) & ids_of(masks, mask))


def ids_of(stems: Iterable[str], pattern: str) -> set[str]:
    """Return what stands for ``{id}`` in those names that fit a pattern.

    >>> ids_of(["7_mask", "8"], "{id}_mask")
    {'7'}
    """
    head, _, tail = pattern.partition("{id}")
    length = len(head) + len(tail)
    return {
        stem[len(head) : len(stem) - len(tail)]
        for stem in stems
        if len(stem) > length and stem.startswith(head) and stem.endswith(tail)
    }


def _rank(mask: str) -> int:
    """Return how little the name of a mask says that it is one."""
    ranks = [MASK_WORDS.index(word) for word in words_of(mask) if word in MASK_WORDS]
    return min(ranks, default=len(MASK_WORDS) if mask != "{id}" else 0)
