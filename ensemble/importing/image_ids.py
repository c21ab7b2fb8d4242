"""Which image each prediction belongs to, and whether every image that must be there is."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.importing.readers import Predictions


def image_ids(predictions: Predictions, table: Path | None, known: Sequence[str]) -> list[str]:
    """Id of every prediction, from ``table``, else from what the file says.

    Args:
        predictions: the opened predictions.
        table: a CSV with a line per image in the order of the array and a column ``id`` (or ``row``, a row of the
            data set from 0); for a folder with the name of each image's file in a column ``file``.
        known: ids of the data set, in its order.

    Raises:
        EnsError: nothing says it, the table does not fit, a row that is none, or an id given twice.
    """
    if table is not None:
        ids = _from_table(predictions, table, known)
    elif predictions.ids is not None:
        ids = list(predictions.ids)
    elif predictions.rows is not None:
        ids = _of_rows(predictions.rows, known, predictions.path)
    else:
        raise EnsError(
            f"{predictions.path} does not say which images it holds; add the array 'ids' or 'rows' to an npz, or give"
            " a CSV with a column id or row and a line per image (--ids, for test images --test-ids)"
        )
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise EnsError(f"image '{name}' is there twice in {table or predictions.path}; expected each image once")
        seen.add(name)
    return ids


def positions(ids: Sequence[str], wanted: Sequence[str], path: Path, what: str) -> list[int]:
    """Number of the prediction of every wanted image, in the order of ``wanted``; others are left out.

    Raises:
        EnsError: images without a prediction, the first of them named.
    """
    where = {name: index for index, name in enumerate(ids)}
    missing = [name for name in wanted if name not in where]
    if missing:
        raise EnsError(
            f"{len(missing)} of the {len(wanted)} {what} images have no prediction in {path}, the first is"
            f" '{missing[0]}' (its images are called '{ids[0]}' and so on); predict them too, give their names in a"
            " CSV with --ids, or choose the split it was made for"
        )
    return [where[name] for name in wanted]


def _from_table(predictions: Predictions, table: Path, known: Sequence[str]) -> list[str]:
    lines = _read_table(table)
    column = next((name for name in ("id", "row") if name in lines[0]), None)
    if column is None:
        raise EnsError(f"expected the column 'id' or 'row' in {table}, got {', '.join(lines[0])}; name it so")
    if predictions.files is not None:
        if "file" not in lines[0]:
            raise EnsError(
                f"expected the column 'file' in {table}, which says whose id it is in the folder {predictions.path},"
                f" got {', '.join(lines[0])}; add it"
            )
        by_file = {line["file"]: line for line in lines}
        found = [by_file.get(file.name) or by_file.get(file.stem) for file in predictions.files]
        lines = [line for line in found if line is not None]  # files that the table leaves out are checked below
        if len(lines) < len(found):
            raise EnsError(f"{table} has no line for {predictions.files[found.index(None)].name}; add it")
    elif len(lines) != predictions.count:
        raise EnsError(f"expected a line per image in {table}, got {len(lines)} for {predictions.count} images")
    values = [line[column] for line in lines]
    return values if column == "id" else _of_rows(values, known, table)


def _read_table(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets begin their CSV with a mark
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EnsError(f"{table} cannot be read as CSV ({error}); check the path and the file") from None
    if not rows:
        raise EnsError(f"expected a head and a line per image in {table}, got no lines; write it again")
    return [{str(key).strip(): (row[key] or "").strip() for key in row if isinstance(row[key], str)} for row in rows]


def _of_rows(rows: Sequence[str], known: Sequence[str], path: Path) -> list[str]:
    wrong = [row for row in rows if not (row.isascii() and row.isdigit() and int(row) < len(known))]
    if wrong:
        raise EnsError(f"expected rows 0 to {len(known) - 1} of the data set in {path}, got {wrong[0]}; use its ids")
    return [known[int(row)] for row in rows]
