"""Read which images to leave out: ``--exclude suspects.csv`` or ``--exclude suspects.csv:repeated-mask``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.reading import is_file
from ensemble.core.texts import read_table
from ensemble.data.cleaning.checks import REASONS

BY_OUTCOME = "members-disagree"
"""The reason that looks at predictions: images that are left out for it are those with a low score."""


def read_exclusion(text: str, ids: Sequence[str], *, scored: bool = False) -> tuple[str, ...]:
    """Return the ids of the images to leave out, each once, in the order of the data.

    Args:
        text: path of a CSV with the column ``id``, as `ens data check` writes it. With ``:reason`` or
            ``:reason,reason`` after the path, only rows with one of these reasons count.
        ids: identity of every image of the data.
        scored: the images are left out of the score, too. Then no image may be listed because the members are wrong on
            it: whoever leaves out the images with a low score chooses the score by its outcome.

    Returns:
        Ids from ``ids``; empty if the list is empty.

    Raises:
        EnsError: when the file or its columns do not exist, a reason is unknown, images are not in the data, all images
            would be left out, or images would leave the score because members are wrong on them.
    """
    path, reasons = _split(text)
    rows = _read(path, ("id", "reason") if reasons else ("id",))
    if scored:
        _refuse_outcomes(path, [row for row in rows if not reasons or row["reason"] in reasons])
    known = {*REASONS, *(row.get("reason", "") for row in rows)} - {""}
    for reason in reasons:
        if reason not in known:
            raise UnknownName("reason", reason, known)
    wanted = {row["id"] for row in rows if not reasons or row["reason"] in reasons}
    missing = sorted(wanted - set(ids))
    if missing:
        raise EnsError(
            f"{len(missing)} of the {len(wanted)} images in {path} are not in the data, the first is '{missing[0]}';"
            " the list was made for other data, so run `ens data check` on these data"
        )
    if len(wanted) == len(set(ids)):
        raise EnsError(
            f"{path} lists all {len(wanted)} images, so no image would remain; select some reasons, as in"
            f" {path}:repeated-mask"
        )
    return tuple(name for name in ids if name in wanted)


def _refuse_outcomes(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Refuse a list that takes images out of the score because the members predict them badly."""
    wrong = len({row["id"] for row in rows if row["reason"] == BY_OUTCOME})
    if wrong:
        others = ",".join(dict.fromkeys(row["reason"] for row in rows if row["reason"] not in ("", BY_OUTCOME)))
        raise EnsError(
            f"{path} lists {wrong} image{'' if wrong == 1 else 's'} with the reason {BY_OUTCOME}: a score without the"
            " images that the members get wrong is too high. Leave them out of training only (without"
            f" exclude_from_score), or select other reasons: {path}:{others or 'repeated-mask'}"
        )


def _split(text: str) -> tuple[Path, tuple[str, ...]]:
    """Return the path and the reasons; a colon belongs to the path if only the whole text is a file."""
    whole = Path(text).expanduser()
    head, colon, tail = text.rpartition(":")
    path = Path(head).expanduser()
    if is_file(whole) or not colon or not is_file(path):
        if not is_file(whole):
            shown = whole if not colon or len(head) < 2 else path  # C:\suspects.csv has a drive and no reason
            raise EnsError(f"there is no file {shown}; write one with `ens data check DATA`")
        return whole, ()
    reasons = tuple(part.strip() for part in tail.split(",") if part.strip())
    if not reasons:
        raise EnsError(f"expected a reason after the colon of '{text}'; write one of {', '.join(REASONS)}")
    return path, reasons


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    table = read_table(path, ("id", "reason"), "write it again with `ens data check`")
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise EnsError(
            f"expected the column '{missing[0]}' in {path}, got {', '.join(table.columns) or 'an empty file'}; give a"
            " list that `ens data check` wrote"
        )
    return [{column: _cell(row.get(column, "")) for column in ("id", "reason")} for row in table.rows]


def _cell(text: str) -> str:
    """Return a cell without the apostrophe that keeps spreadsheets from running it as a formula."""
    return text[1:] if text[:2] in ("'=", "'+", "'-", "'@") else text
