"""Read weights that a user wrote into a table: a row per member, a column per class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ensemble.core.component_text import format_component
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.texts import read_table
from ensemble.runs.folder import match_name
from ensemble.runs.layout import is_run
from ensemble.runs.study_labels import labelled_name

MEMBER, WEIGHT = "member", "weight"
FORM = f"write the columns '{MEMBER}' and '{WEIGHT}', or '{MEMBER}' and a column per class"


@dataclass(frozen=True)
class WeightTable:
    """Weights of members, one each or one per class, as a file gives them.

    Attributes:
        path: the file.
        members: what the file calls the members: names, unique beginnings, ``STUDY:LABEL`` or paths.
        columns: names of the classes; ``weight`` alone stands for all classes.
        values: rows of weights, not negative.
    """

    path: Path
    members: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def method(self, names: Sequence[str], classes: Sequence[str], runs: Path = Path("runs")) -> str:
        """Return the method ``weighted(weights=[...])`` with these weights, in the order of members and classes.

        Args:
            names: the members that are combined.
            classes: their classes.
            runs: folder of the studies whose labels the file may hold.

        Raises:
            EnsError: a row names none or several of the members, a member has no row or two, a column is no class, or
                a class has no column or only zeros.
        """
        known = [Path(name) for name in names]
        found = [match_name(_name(member, runs), known, "member").name for member in self.members]
        for name in names:
            if found.count(name) != 1:
                raise EnsError(f"expected one row of {self.path} for {name}, got {found.count(name)}; {FORM}")
        if self.columns == (WEIGHT,) and WEIGHT not in classes:
            rows = self.values
        else:
            for column in self.columns:
                if column not in classes:
                    raise UnknownName(f"class in {self.path}", column, classes)
            missing = [name for name in classes if name not in self.columns]
            if missing:
                raise EnsError(f"expected a column of {self.path} for every class, got none for {missing[0]}; {FORM}")
            places = [self.columns.index(name) for name in classes]
            rows = tuple(tuple(row[place] for place in places) for row in self.values)
        for name, column in zip(classes if len(rows[0]) > 1 else ("a member",), zip(*rows, strict=True), strict=False):
            if not any(column):
                raise EnsError(f"expected a weight above 0 for {name} in {self.path}, got only 0; raise one of them")
        flat = [value for name in names for value in rows[found.index(name)]]
        return format_component("weighted", {"weights": tuple(flat)})


def read_weights(path: str | Path) -> WeightTable:
    """Read a table of weights (CSV): a row per member, with its weight or with a weight for each class.

    Raises:
        EnsError: the file cannot be read, or has another form.
    """
    path = Path(path)
    table = read_table(path, (MEMBER, WEIGHT), FORM)
    columns = tuple(name for name in table.columns if name and name != MEMBER)
    if MEMBER not in table.columns or not columns or not table.rows:
        raise EnsError(f"expected members with weights in {path}, got the columns {', '.join(table.columns)}; {FORM}")
    values = tuple(tuple(_weight(row.get(name, ""), row, name, path) for name in columns) for row in table.rows)
    return WeightTable(path, tuple(row.get(MEMBER, "") for row in table.rows), columns, values)


def _name(member: str, runs: Path) -> str:
    """Return the name of a member, or its beginning, of which a path or ``STUDY:LABEL`` may be given."""
    return Path(member).name if is_run(Path(member)) else labelled_name(member, runs)


def _weight(text: str, row: dict[str, str], column: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise EnsError(
            f"expected finite weights >= 0 in {path}, got '{text}' for {row.get(MEMBER, '')} in the column '{column}';"
            " write 0 for a member that does not count"
        )
    return value
