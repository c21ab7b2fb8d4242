"""A figure as part of the report: SVG in the ink and font of the page, or PNG where a PNG is much smaller."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from ensemble.report.figures.drawing import BLUE

LARGE = 150_000  # characters; above this the smaller of SVG and PNG is used
DPI = 110  # resolution of the PNG
INK = "#010203"  # placeholder for the ink of the page; black on the cells of a heat map stays black
MOST_IN_ALT = 12  # most runs or classes that a text alternative lists

PAPER: dict[Any, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": INK,
    "grid.color": "#8a929b",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.facecolor": "none",
    "svg.fonttype": "none",
    "text.parse_math": False,
}
# matplotlib adds what a page does not need: the head of a file, metadata, and names of groups that would repeat.
_HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_NAMES = re.compile(r' id="[A-Za-z0-9.]+_[0-9.]+"| font-family: [^;"]+;')
_SPACE = re.compile(r"(?<=>)\s+(?=<)|\s+$")
_SIZE = re.compile(r'(?<=<svg) [^>]*viewBox="0 0 ([0-9.]+) ([0-9.]+)"[^>]*>')


@dataclass(frozen=True)
class Chart:
    """A figure of the report with its words.

    Attributes:
        key: anchor of its section on the page, in small letters.
        title: heading of the section.
        caption: text below the figure.
        alt: description for readers who do not see the figure.
        draw: function that draws the figure.
    """

    key: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]

    def html(self) -> Markup:
        """Return the figure with its text alternative, never smaller than it can be read."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has more fonts
            with rc_context({**PAPER, "svg.hashsalt": self.key}):  # makes identifiers unique on the page
                drawn = _svg(self.draw(), self.alt)
            return drawn if len(drawn) <= LARGE else min(drawn, _png(self.draw(), self.alt), key=len)


def alt_list(subject: str, entries: Sequence[str]) -> str:
    """Return a text alternative that lists the first entries and counts the others."""
    more = f" and {len(entries) - MOST_IN_ALT} more" if len(entries) > MOST_IN_ALT else ""
    return f"{subject}: {', '.join(entries[:MOST_IN_ALT])}{more}"


def shown_of(shown: int, total: int, things: str, which: str = "best") -> str:
    """Return a sentence about how many things a figure shows; empty when it shows all of them."""
    return f" The figure shows the {shown} {which} of {total} {things}." if shown < total else ""


def _svg(figure: Figure, alt: str) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    text = _SPACE.sub("", _NAMES.sub("", _HEAD.sub("", stream.getvalue())))
    for drawn, on_page in ((INK, "currentColor"), ("#000000", "currentColor"), (BLUE, "var(--blue)"), ("\n", " ")):
        text = text.replace(drawn, on_page)
    size = _SIZE.search(text)
    assert size is not None
    head = Markup('<svg role="img" aria-label="{}" viewBox="0 0 {} {}" style="{}">').format(
        alt, size[1], size[2], _width(float(size[1]))
    )
    return head + Markup(text[text.index(">") + 1 :])


def _png(figure: Figure, alt: str) -> Markup:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI)
    content = base64.b64encode(stream.getvalue()).decode()
    picture = '<img class="paper" alt="{}" src="data:image/png;base64,{}" style="{}">'
    return Markup(picture).format(alt, content, _width(72 * figure.get_figwidth()))


def _width(points: float) -> str:
    """Return a style: as wide as drawn (8 points are 10 pixels) where there is room, and never too narrow to read."""
    return f"width:{points * 1.25:.0f}px;min-width:{points:.0f}px"
