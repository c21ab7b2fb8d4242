"""An explanation is written whole: its figures and its tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from ensemble.core.errors import EnsError
from ensemble.explanation.result import Explanation
from ensemble.report.write_explanation import write_explanation


def test_everything_is_written(explanation: Explanation, tmp_path: Path) -> None:
    ticks: list[tuple[Any, ...]] = []
    written = write_explanation(explanation, tmp_path / "why", lambda *tick: ticks.append(tick))
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == sorted(path.name for path in written)
    pictures = [path for path in written if path.suffix == ".png"]
    assert [path.stem for path in pictures] == [
        "pairs",
        "contributions",
        "dropping",
        "reliability",
        "risk",
        "uncertainty",
    ]
    assert ticks[-1] == ("drawing", 6, 6)
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
    for name, table in explanation.tables.items():
        again = pd.read_csv(tmp_path / "why" / f"{name}.csv")
        assert list(again.columns) == list(table.columns)
        assert len(again) == len(table)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnsError, match="cannot write"):
        write_explanation(explanation, tmp_path / "file" / "x")
