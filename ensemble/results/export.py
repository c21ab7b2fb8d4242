"""Write the table: numbers as CSV and Parquet, texts with their marks as Markdown, LaTeX and HTML."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import atomic, write_bytes
from ensemble.core.formatting import visible
from ensemble.results.best import notes
from ensemble.results.find_column import column
from ensemble.results.formatting import FormattedTable, show

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

Format = Literal["csv", "parquet", "markdown", "latex", "html"]
ENDINGS: dict[str, Format] = {
    ".csv": "csv", ".parquet": "parquet", ".md": "markdown", ".txt": "markdown", ".tex": "latex",
    ".html": "html", ".htm": "html",
}  # fmt: skip
BEST = "Bold: the best of its column."


def write(frame: pd.DataFrame, form: str, out: Path | None = None, *, shown: FormattedTable | None = None) -> str:
    """Return the table as text, or write it atomically to the file ``out``.

    Args:
        frame: the table for CSV and Parquet, with all digits.
        form: ``csv``, ``parquet``, ``markdown``, ``latex`` or ``html``.
        out: file to write; without it the text is returned.
        shown: the formatted table for the other three (default: the usual columns of ``frame``).

    Returns:
        The text; it is empty if the table was written to a file.

    Raises:
        EnsError: the format is unknown, Parquet has no file, or the file cannot be written.
    """
    if form == "parquet":
        if out is None:
            raise EnsError("expected a file for Parquet, which is binary; pass one as out, such as results.parquet")
        with atomic(out) as stream:
            frame.to_parquet(stream, index=False)
        return ""
    if form == "csv":
        text = csv_text(frame)
    elif form in _TEXTS:
        text = _TEXTS[form](shown or _shown(frame))
    else:
        raise UnknownName("format", form, [*dict.fromkeys(ENDINGS.values())])
    if out is None:
        return text
    write_bytes(out, text.encode())
    return ""


def csv_text(frame: pd.DataFrame, **options: Any) -> str:
    """Return a table as CSV in which no text is a formula.

    A spreadsheet runs a cell that begins with ``=``, ``+``, ``-`` or ``@``, and names of classes and images come from
    files. Such a text gets an apostrophe in front, which spreadsheets hide; numbers and single signs stay as they are.

    Args:
        frame: the table; its index is left out.
        options: further options of ``DataFrame.to_csv``, such as ``float_format``.
    """
    texts = frame.select_dtypes(include=["object", "string", "category"]).columns
    safe = frame.assign(**{str(name): frame[name].map(_no_formula) for name in texts}) if len(texts) else frame
    return safe.rename(columns=_no_formula).to_csv(index=False, lineterminator="\n", **options)


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


_FORMULA = re.compile(r"(?![-+]?[\d.]+$)[=+\-@\t\r]+[^=+\-@\t\r]")


def styled(frame: pd.DataFrame) -> Styler:
    """Return the table for a notebook: formatted texts, the best of every column in bold, the notes below.

    >>> from ensemble import results
    >>> results.styled(results.load("runs"))  # doctest: +SKIP
    """
    return _styler(_shown(frame))


def _shown(frame: pd.DataFrame) -> FormattedTable:
    return replace(show(frame), notes=tuple(notes(frame)))


def _decorated(shown: FormattedTable, safe: Callable[[str], str], bold: str, dagger: str) -> pd.DataFrame:
    """Return escaped cells and headings: the best in bold, those that tie with it followed by a dagger."""

    def decorate(title: str) -> list[str]:
        cells = zip(map(safe, shown.texts[title]), shown.best[title], shown.tied[title], strict=True)
        return [bold.format(text) if top else text + dagger if tied else text for text, top, tied in cells]

    return pd.DataFrame({safe(str(title)): decorate(str(title)) for title in shown.texts}, index=shown.texts.index)


def _caption(shown: FormattedTable) -> list[str]:
    return [*([BEST] if bool(shown.best.to_numpy().any()) else []), *shown.notes]


def _markdown(shown: FormattedTable) -> str:
    cells = _decorated(shown, _safe_markdown, "**{}**", "\u2020")
    table = cells.to_markdown(index=False, disable_numparse=True) + "\n"
    return table + "".join(f"\n{_safe_markdown(line)}\n" for line in _caption(shown))


def _latex(shown: FormattedTable) -> str:
    cells = _decorated(shown, _safe_latex, r"\textbf{{{}}}", _safe_latex("\u2020"))
    return cells.style.hide(axis="index").to_latex(
        hrules=True,
        caption=" ".join(map(_safe_latex, _caption(shown))) or None,
        column_format="".join("l" if words else "r" for words in _words(shown)),
        position="htbp",
        position_float="centering",
    )


def _words(shown: FormattedTable) -> list[bool]:
    """Return whether each column holds words, which are aligned to the left."""
    return [column(shown.columns.get(str(title), "name")).unit in ("text", "flag") for title in shown.texts]


def _html(shown: FormattedTable) -> str:
    return _styler(shown).to_html(doctype_html=True, table_attributes='lang="en"')


def _styler(shown: FormattedTable) -> Styler:
    cells = _decorated(shown, escape, "<strong>{}</strong>", "\u2020")
    caption = "<br>".join(map(escape, _caption(shown)))
    left = ", ".join(f".col{place}" for place, words in enumerate(_words(shown)) if words)
    styles: Any = [*_STYLES, *([{"selector": left, "props": "text-align: left;"}] if left else [])]
    styler = cells.style.hide(axis="index").set_uuid("results").set_table_styles(styles)
    return styler.set_caption(caption) if caption else styler


_STYLES: Any = [
    {"selector": "th, td", "props": "text-align: right; padding: 0.2em 0.6em; white-space: nowrap;"},
    {"selector": "caption", "props": "caption-side: bottom; text-align: left; padding-top: 0.5em;"},
]


def _safe_markdown(text: str) -> str:
    """Escape characters that Markdown would read as emphasis, code, links, HTML or the end of a cell."""
    return re.sub(r"([\\`*|<&$\[\]~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return visible(text).replace("\n", " ").replace("\t", " ")


def _safe_latex(text: str) -> str:
    return _one_line(text).translate(_LATEX)


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "|": "$|$", "\u00b1": r"$\pm$", "\u2020": r"$^{\dagger}$"}
)
_TEXTS: dict[str, Callable[[FormattedTable], str]] = {"markdown": _markdown, "latex": _latex, "html": _html}
