"""Test that the check of pages finds what it is for, and that no section of a page escapes it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PAGE = "experiments/README.md"


@pytest.fixture
def small(tmp_path: Path, section: Any) -> Any:
    """Return the opened section of a page of a few lines."""
    text = """# Page

## Results

    ens train DATA --epochs 30

The average of five has 60.4 % (55.8 to
69.7), by [a run](of/2/parts) of `unet(filters=24)` in November 2026, 0.5 points more, in 1,500 images.

| average | -0.25 | 3 |
"""
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return section("Results", path)


def numbers(page: Any) -> list[str]:
    return [text.split("'")[1] for text in page.left_over()]


def test_a_section_whose_numbers_are_all_compared_passes(small: Any) -> None:
    with small as page:
        page.says("The average of {:word} has {:.1%} % ({:.1%} to {:.1%})", 5, 0.6041, 0.5577, 0.6968)
        page.says("{} points more, in {:,} images", 0.5, 1500)
        page.says("| average | {:+.2%} | {} |", -0.0025, 3)


def test_a_number_that_nobody_compares_is_found(small: Any) -> None:
    small.says("{:.1%} %", 0.604)
    small.says("{:+.2f}", -0.25)
    assert numbers(small) == ["five", "55.8", "69.7", "0.5", "1,500", "3"]
    with (
        pytest.raises(
            AssertionError, match=r"neither compared nor stated:\n\s+'five' in .*The average of five has 60\.4"
        ),
        small,
    ):
        pass


def test_a_number_outside_of_a_place_is_not_compared(small: Any) -> None:
    small.says("has 60.4 % ({:.1%} to 69.7)", 0.558)
    assert numbers(small) == ["five", "60.4", "69.7", "0.5", "1,500", "-0.25", "3"]


@pytest.mark.parametrize(
    ("template", "value"),
    [("has {:.1%} %", 0.6051), ("{} points more", 5), ("in {} images", 500), ("in {:,} images", 150), ("| {} |", 0.25)],
)
def test_a_wrong_number_is_named_next_to_that_of_the_page(small: Any, template: str, value: float) -> None:
    with pytest.raises(AssertionError, match="not on the page"):
        small.says(template, value)


def test_stated_conditions_must_stand_on_the_page(small: Any) -> None:
    small.states("0.5 points more, in 1,500 images")
    assert numbers(small) == ["five", "60.4", "55.8", "69.7", "-0.25", "3"]
    with pytest.raises(AssertionError, match=r"not on the page: 0\.6 points"):
        small.states("0.6 points")


def test_every_section_of_the_page_is_checked(section: Any) -> None:
    page = (HERE.parents[1] / PAGE).read_text(encoding="utf-8")
    titles = ["", *re.findall(r"^## (.*)$", page, re.MULTILINE)]
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_page_*.py"))
    opened = set(re.findall(r'section\("([^"]*)"\)', tests))
    assert [title for title in titles if title not in opened] == []
