"""Which images a list of suspects leaves out: ``--exclude suspects.csv`` or ``suspects.csv:repeated-mask``."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError, UnknownName
from ensemble.data.cleaning.checks import REASONS


def read_exclusion(text: str, ids: Sequence[str]) -> tuple[str, ...]:
    """Read the ids to leave out, in the order of the data and each once.

    Args:
        text: path of a CSV with the column ``id``, as `ens data check` writes it; ``:reason`` or
            ``:reason,reason`` behind it takes only the rows whose column ``reason`` says so.
        ids: identity of every image of the data.

    Returns:
        Ids from ``ids``; none where the list holds none (data without suspects).

    Raises:
        EnsError: no such file, no such columns, an unknown reason, images that are not in the data, or no image
            that would be left.
    """
    path, reasons = _split(text)
    rows = _read(path, ("id", "reason") if reasons else ("id",))
    known = {*REASONS, *(row.get("reason", "") for row in rows)} - {""}
    for reason in reasons:
        if reason not in known:
            raise UnknownName("reason", reason, known)
    wanted = {row["id"] for row in rows if not reasons or row["reason"] in reasons}
    missing = sorted(wanted - set(ids))
    if missing:
        raise EnsError(
            f"{len(missing)} of the {len(wanted)} images in {path} are not in the data, the first is '{missing[0]}';"
            " it was made for other data, so run `ens data check` on these"
        )
    if len(wanted) == len(set(ids)):
        raise EnsError(f"{path} lists all {len(wanted)} images, none would be left; choose some of its reasons")
    return tuple(name for name in ids if name in wanted)


def _split(text: str) -> tuple[Path, tuple[str, ...]]:
    """Path and reasons; a colon belongs to the path where only that is a file."""
    whole = Path(text).expanduser()
    head, colon, tail = text.rpartition(":")
    path = Path(head).expanduser()
    if whole.is_file() or not colon or not path.is_file():
        if not whole.is_file():
            shown = whole if not colon or len(head) < 2 else path  # C:\suspects.csv has a drive, no reason
            raise EnsError(f"there is no file {shown}; write one with `ens data check DATA`")
        return whole, ()
    reasons = tuple(part.strip() for part in tail.split(",") if part.strip())
    if not reasons:
        raise EnsError(f"expected a reason behind the colon of '{text}', got none; known: {', '.join(REASONS)}")
    return path, reasons


def _read(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin their CSV with a mark
            reader = csv.DictReader(stream)
            rows = [{key: (row[key] or "").strip() for key in row if isinstance(row[key], str)} for row in reader]
            found = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EnsError(f"{path} cannot be read as CSV ({error}); write it again with `ens data check`") from None
    missing = [column for column in columns if column not in found]
    if missing:
        raise EnsError(
            f"expected the column '{missing[0]}' in {path}, got {', '.join(found) or 'an empty file'}; give a list"
            " as `ens data check` writes it"
        )
    return [{column: row.get(column, "") for column in ("id", "reason")} for row in rows]
