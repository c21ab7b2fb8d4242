"""Suspects are written as a table that can be excluded from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ensemble.data.cleaning.checks import Suspect
from ensemble.data.cleaning.exclusion import read_exclusion
from ensemble.report.check_data import suspects_frame, write_suspects


def suspect(row: int, reason: str, score: float, detail: str = "as it is") -> Suspect:
    return Suspect(row=row, id=str(row), reason=reason, score=score, detail=detail)


SOME = [suspect(4, "repeated-mask", 3), suspect(7, "repeated-mask", 3), suspect(4, "almost-void", 1 / 3, "1, 2")]


def test_table_has_a_row_per_suspect_and_typed_columns() -> None:
    frame = suspects_frame(SOME)
    assert list(frame.columns) == ["row", "id", "reason", "score", "detail"]
    assert frame["row"].tolist() == [4, 7, 4]
    assert {name: str(kind) for name, kind in suspects_frame([]).dtypes.items()} == {
        name: str(kind) for name, kind in frame.dtypes.items()
    }
    assert len(suspects_frame([])) == 0


def test_csv_reads_back_and_can_be_excluded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "suspects.csv"
    write_suspects(SOME, path)
    assert path.read_text().splitlines()[3] == '4,4,almost-void,0.333333,"1, 2"'
    again = pd.read_csv(path, dtype={"id": str})
    assert again["row"].tolist() == [4, 7, 4]
    assert again["score"].tolist() == pytest.approx([3, 3, 1 / 3], abs=1e-6)
    assert read_exclusion(f"{path}:repeated-mask", [str(row) for row in range(20)]) == ("4", "7")
    write_suspects([], path)
    assert path.read_text() == "row,id,reason,score,detail\n"
    assert [file.name for file in path.parent.iterdir()] == ["suspects.csv"]
