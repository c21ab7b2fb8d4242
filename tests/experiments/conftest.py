"""Compare a page with its CSV files: every number of a section is computed, or named as a stated condition.

    with section("Ten members, combined in every way") as page:
        row = page.csv("combination").query("method == 'average'").iloc[0]
        page.says("| average | {:.1%} | {:.3f} |", row.miou, row.log_loss)
        page.states("690 images")  # a condition, which no CSV holds

`says` fills a fragment of the page with values and looks for it, whatever the line breaks. Only the filled places
count as compared; a number in the rest of the fragment must be compared or stated by itself. At the end of the block
no number may be left over. Commands, code, links, pictures, versions, years and "95 %" need no comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from string import Formatter
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
NUMBER = re.compile(
    r"(?<![\w.])[+-]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+)?(?<=\d)(?!\w|\.\d)"
    rf"|\b(?:{'|'.join(WORDS[2:])}|hundred|thousand|million|half|quarters?|thirds?|fifths?|tenths?)\b",
    re.IGNORECASE,
)
NOT_MEASURED = re.compile(
    r"^```(?:sh|python|toml)\n.*?^```|^    .*?$"  # commands and code
    r"|!\[[^\]]*\]\([^)]*\)|\]\([^)]*\)|`[^`\n]+`|<!--.*?-->"  # pictures, the targets of links, code in sentences
    r"|\b\d+\.\d+\.\d+\b|\b(?:19|20)\d\d\b|\b95 %",  # versions, years, the level of all intervals
    re.DOTALL | re.MULTILINE,
)


class Filler(Formatter):
    """`str.format` in which ``{:.1%}`` leaves the sign to the text and ``{:word}`` writes a small number out."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.lower() == "word":
            return WORDS[value].capitalize() if format_spec == "Word" else WORDS[value]
        return format(value, format_spec).removesuffix("%" if format_spec.endswith("%") else "")


class Section:
    """The text of one section of a page, and which of its numbers have been compared.

    Attributes:
        text: the section with single spaces.
        left: the same text; what needs no comparison and what has been compared is blank.
    """

    def __init__(self, text: str) -> None:
        kept = NOT_MEASURED.sub(lambda found: re.sub(r"\S", "\0", found.group()), text)
        self.text, self.left = " ".join(text.split()), " ".join(kept.split()).replace("\0", " ")
        assert len(self.text) == len(self.left)

    def __enter__(self) -> Section:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert kind or not self.left_over(), "numbers that are neither compared nor stated:\n" + "\n".join(
            self.left_over()
        )

    @staticmethod
    def csv(name: str) -> pd.DataFrame:
        """Return the table ``experiments/results/NAME.csv``."""
        return pd.read_csv(ROOT / "experiments" / "results" / f"{name}.csv")

    def says(self, template: str, *values: object) -> None:
        """Check that the section holds the template filled with the values, and mark these as compared."""
        exact, loose, at = "", "", 0
        for literal, name, spec, _ in Formatter().parse(" ".join(template.split())):
            exact, loose = exact + re.escape(literal), loose + re.escape(literal)
            if name is not None:
                filled = Filler().format_field(values[at], spec or "")
                exact, loose, at = f"{exact}({re.escape(filled)})", f"{loose}(.{{0,60}}?)", at + 1
        assert at == len(values), f"{at} places for {len(values)} values: {template}"
        found = list(re.finditer(rf"(?<![\w.+-]){exact}(?!\d|[.,]\d)", self.text))
        instead = [other.group() for other in re.finditer(loose, self.text)]
        assert found, f"not on the page: {Filler().vformat(template, values, {})}\nbut: {instead}"
        for match in found:
            for group in range(1, at + 1):
                self._blank(match.start(group), match.end(group))

    def states(self, *fragments: str) -> None:
        """Check that the section holds these fragments, whose numbers are conditions or quotations of others."""
        for fragment in fragments:
            found = list(re.finditer(re.escape(" ".join(fragment.split())), self.text))
            assert found, f"not on the page: {fragment}"
            for match in found:
                self._blank(match.start(), match.end())

    def left_over(self) -> list[str]:
        """Return the numbers that are neither compared nor stated, each with the text around it."""
        return [
            f"{match.group()!r} in ...{self.text[max(0, match.start() - 40) : match.end() + 30]}..."
            for match in NUMBER.finditer(self.left)
        ]

    def _blank(self, start: int, end: int) -> None:
        self.left = self.left[:start] + " " * (end - start) + self.left[end:]


def cut(text: str, title: str) -> str:
    """Return the text below a heading, down to the next one; "" is what stands above the first."""
    start = re.search(rf"^## {re.escape(title)}\n", text, re.MULTILINE) if title else re.match("", text)
    assert start, f"no section {title!r}"
    return re.split(r"^## ", text[start.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def open_section(title: str, page: str | Path = "experiments/README.md") -> Section:
    """Open the section of a page below a heading; "" is what stands above the first one."""
    return Section(cut((ROOT / page).read_text(encoding="utf-8"), title))


@pytest.fixture
def section() -> Callable[..., AbstractContextManager[Any]]:
    """Return `open_section`."""
    return open_section
