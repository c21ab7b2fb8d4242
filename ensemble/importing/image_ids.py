"""Find the image of each prediction, and check that every image of the split has one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ensemble.core.errors import EnsError
from ensemble.core.texts import read_table
from ensemble.importing.readers import Predictions


def image_ids(predictions: Predictions, table: Path | None, known: Sequence[str]) -> list[str]:
    """Return the image id of every prediction, from ``table`` or else from the predictions themselves.

    Args:
        predictions: the opened predictions.
        table: CSV with a line per image in the order of the array and a column ``id`` (or ``row``, the row in the data
            set, from 0); for a folder also with a column ``file``, the name of the file of each image.
        known: ids of the data set, in its order.

    Raises:
        EnsError: no ids, a table that does not fit, a row outside the data set, or an id that occurs twice.
    """
    if table is not None:
        ids = _from_table(predictions, table, known)
    elif predictions.ids is not None:
        ids = list(predictions.ids)
    elif predictions.rows is not None:
        ids = _of_rows(predictions.rows, known, predictions.path)
    else:
        raise EnsError(
            f"{predictions.path} does not name its images; add the array 'ids' or 'rows' to an npz, or pass a CSV with"
            " a line per image and a column id or row (as ids, or as test_ids for test images)"
        )
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise EnsError(f"image '{name}' occurs twice in {table or predictions.path}; keep one of the two")
        seen.add(name)
    return ids


def positions(ids: Sequence[str], wanted: Sequence[str], path: Path, split: str) -> list[int]:
    """Return the number of the prediction of each wanted image; predictions of other images are left out.

    Raises:
        EnsError: images without a prediction; the message names the first of them.
    """
    where = {name: index for index, name in enumerate(ids)}
    missing = [name for name in wanted if name not in where]
    if missing:
        raise EnsError(
            f"{len(missing)} of the {len(wanted)} {split} images have no prediction in {path}, the first is"
            f" '{missing[0]}' (the first prediction is for '{ids[0]}'); predict these images too, pass their ids as a"
            " CSV as ids, or choose the split that the predictions were made for"
        )
    return [where[name] for name in wanted]


def _from_table(predictions: Predictions, table: Path, known: Sequence[str]) -> list[str]:
    lines = _read_table(table)
    column = next((name for name in ("id", "row") if name in lines[0]), None)
    if column is None:
        raise EnsError(f"expected the column 'id' or 'row' in {table}, got {', '.join(lines[0])}; rename the column")
    if predictions.files is not None:
        if "file" not in lines[0]:
            raise EnsError(
                f"expected the column 'file' in {table}, because {predictions.path} is a folder, got"
                f" {', '.join(lines[0])}; add a column with the file of each image"
            )
        by_file = {line["file"]: line for line in lines}
        matches = [by_file.get(file.name) or by_file.get(file.stem) for file in predictions.files]
        lines = [line for line in matches if line is not None]
        if len(lines) < len(matches):
            raise EnsError(f"{table} has no line for {predictions.files[matches.index(None)].name}; add a line for it")
    elif len(lines) != predictions.count:
        raise EnsError(
            f"expected a line per image in {table}, got {len(lines)} for {predictions.count} images;"
            " write a line for each image of the array"
        )
    values = [line[column] for line in lines]
    return values if column == "id" else _of_rows(values, known, table)


def _read_table(table: Path) -> list[dict[str, str]]:
    read = read_table(table, ("id", "row", "file"), "check the path and the file")
    if not read.rows:
        raise EnsError(f"expected a header and a line per image in {table}, got no lines; write the table again")
    return [dict.fromkeys(read.columns, "") | row for row in read.rows]


def _of_rows(rows: Sequence[str], known: Sequence[str], path: Path) -> list[str]:
    wrong = [row for row in rows if not (row.isascii() and row.isdigit() and int(row) < len(known))]
    if wrong:
        raise EnsError(
            f"expected rows 0 to {len(known) - 1} of the data set in {path}, got {wrong[0]}; use ids instead"
        )
    return [known[int(row)] for row in rows]
