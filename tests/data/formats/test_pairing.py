"""What names of images and masks have in common."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.data.formats.pairing import pair_in_one_folder, pair_names


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("images", "masks", "image", "mask", "pairs"),
    [
        (("1.png", "2.png"), ("1.png", "2.png"), "{id}", "{id}", 2),
        (("1.png", "2.png"), ("1_mask.png", "2_mask.png"), "{id}", "{id}_mask", 2),
        (("1.png", "2.png"), ("gt-1.png", "gt-2.png"), "{id}", "gt-{id}", 2),
        (("1_sat.jpg", "2_sat.jpg"), ("1_mask.png", "2_mask.png"), "{id}_sat", "{id}_mask", 2),
        (("img_1.jpg", "img_2.jpg"), ("seg_1.png", "seg_2.png"), "img_{id}", "seg_{id}", 2),
        (("a7x.png", "a8x.png"), ("b7y.png", "b8y.png"), "a{id}x", "b{id}y", 2),
        (("1.png", "2.png", "3.png"), ("1_L.png", "2_L.png"), "{id}", "{id}_L", 2),
        (("1.png",), ("1_manual1.png",), "{id}", "{id}_manual1", 1),
        (("1.png", "2.png"), ("1_color.png", "1_mask.png", "2_color.png", "2_mask.png"), "{id}", "{id}_mask", 2),
        (("top.1.png", "top.2.png"), ("top.1.png", "top.2.png"), "{id}", "{id}", 2),
        (("u\u0308.png", "1.png"), ("\u00fc.png", "1.png"), "{id}", "{id}", 2),
    ],
)
def test_names_around_the_id_are_found(
    images: tuple[str, ...], masks: tuple[str, ...], image: str, mask: str, pairs: int
) -> None:
    found = pair_names(paths(*images), paths(*masks))
    assert found is not None
    assert (found.image, found.mask, found.pairs) == (image, mask, pairs)


@pytest.mark.parametrize("masks", [(), ("x.png", "y.png")])
def test_names_with_nothing_in_common_are_no_pairs(masks: tuple[str, ...]) -> None:
    assert pair_names(paths("1.png", "2.png"), paths(*masks)) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("1.png", "1_mask.png", "2.png", "2_mask.png"), ("{id}.*", "{id}_mask.*")),
        (("1.jpg", "1.png", "2.jpg", "2.png"), ("{id}.jpg", "{id}.png")),
        (("1.JPG", "1.png", "2.JPG", "2.png"), ("{id}.JPG", "{id}.png")),
        (("1_sat.jpg", "1_mask.png", "2_sat.jpg", "2_mask.png"), ("{id}_sat.*", "{id}_mask.*")),
        (("1.png", "2.png"), None),
        (("1.jpg", "2.png"), None),
        (("mask.png", "label.png"), None),
        ((), None),
    ],
)
def test_pairs_in_one_folder(names: tuple[str, ...], expected: tuple[str, str] | None) -> None:
    assert pair_in_one_folder(paths(*names)) == expected
