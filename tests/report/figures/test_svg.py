"""A figure on the page takes the ink of the page and escapes names."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ensemble.report import figures
from ensemble.report.figures.drawing import new_figure
from ensemble.report.figures.svg import Chart


def test_figures_take_the_ink_of_the_page_and_escape_names() -> None:
    names = ["<script>alert(1)</script>", "a$b^$", "\u6f22\u5b57 & co"]
    chart = Chart("confusions", "", "", 'a "b" <c>', lambda: figures.confusion_figure({"x": np.eye(3)}, names))
    html = chart.html()
    assert html == chart.html()  # nothing that changes from run to run
    assert html.startswith('<svg role="img" aria-label="a &#34;b&#34; &lt;c&gt;" viewBox="0 0 ')
    assert "<script" not in html
    for name in ("&lt;script&gt;alert(1)&lt;/script&gt;", "a$b^$", "\u6f22\u5b57 &amp; co", "fill: currentColor"):
        assert name in html
    assert "#010203" not in html
    assert "DejaVu" not in html
    assert ' id="figure' not in html


def test_a_large_figure_becomes_a_picture() -> None:
    def crowded() -> Figure:
        figure = new_figure(3, 3, "")
        figure.subplots().plot(*np.random.default_rng(0).random((2, 8000)), linewidth=0.5)
        return figure

    html = Chart("crowd", "", "", "8,000 lines", crowded).html()
    assert html.startswith('<img class="paper" alt="8,000 lines" src="data:image/png;base64,')
    picture = Image.open(io.BytesIO(base64.b64decode(html.split("base64,")[1].split('"')[0])))
    assert picture.size == (330, 330)
