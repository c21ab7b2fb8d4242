"""Short names are as short as possible and never the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.report.short_names import short_names


def test_names_are_as_short_as_possible() -> None:
    assert short_names(["unet-ce-s0-aaaaaa", "unet-ce-s0-bbbbbb", "unet-dice-s1-cccccc"]) == [
        "unet-ce-s0-aaaaaa",
        "unet-ce-s0-bbbbbb",
        "unet-dice",
    ]
    assert short_names(["from-elsewhere"]) == ["from-elsewhere"]
    long = "attention-unet-resnet34-0.7focal-tversky-0.3weighted-ce-s0-0a1b2c"
    assert short_names([long]) == ["attention-une\u20263weighted-ce"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.from_regex(r"[a-c]{1,40}(-s[0-9])?(-[0-9a-f]{6})?", fullmatch=True), unique=True, max_size=8))
def test_short_names_are_never_the_same(names: list[str]) -> None:
    short = short_names(names)
    assert len(set(short)) == len(names)
    assert all(len(new) <= len(old) for new, old in zip(short, names, strict=True))
