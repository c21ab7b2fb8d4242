"""A figure as part of a page: SVG in the page's own ink and font, or PNG where that is much smaller."""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from ensemble.report.drawing import DARK

LARGE = 150_000  # characters of SVG beyond which a smaller PNG is taken
DPI = 110  # of the PNG
INK = "#010203"  # stands for the page's own ink; black on the cells of a heat map stays black

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
# What matplotlib writes around what a page needs: the head of a file, metadata, and names of groups that would repeat.
_HEAD = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL)
_NAMES = re.compile(r' id="[A-Za-z0-9.]+_[0-9.]+"| font-family: [^;"]+;')
_SPACE = re.compile(r"(?<=>)\s+(?=<)|\s+$")
_SIZE = re.compile(r'(?<=<svg) [^>]*viewBox="0 0 ([0-9.]+) ([0-9.]+)"[^>]*>')


@dataclass(frozen=True)
class Chart:
    """A figure for the page.

    Attributes:
        key: name of its place on the page, in small letters.
        title: its heading.
        caption: what is written below it.
        alt: what it shows, for those who do not see it.
        draw: makes the figure.
    """

    key: str
    title: str
    caption: str
    alt: str
    draw: Callable[[], Figure]

    def html(self) -> Markup:
        """The figure with its text alternative; it is never drawn smaller than it can be read."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has more fonts than we
            with rc_context({**PAPER, "svg.hashsalt": self.key}):  # identifiers that are unique on the page
                drawn = _svg(self.draw(), self.alt)
            return drawn if len(drawn) <= LARGE else min(drawn, _png(self.draw(), self.alt), key=len)


def _svg(figure: Figure, alt: str) -> Markup:
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    text = _SPACE.sub("", _NAMES.sub("", _HEAD.sub("", stream.getvalue())))
    for drawn, on_page in ((INK, "currentColor"), ("#000000", "currentColor"), (DARK, "var(--blue)"), ("\n", " ")):
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
    """As wide as drawn (8 points are 10 pixels) where there is room, and not so narrow that nobody can read it."""
    return f"width:{points * 1.25:.0f}px;min-width:{points:.0f}px"
