"""A table of the user's weights: what it becomes, and every mistake in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.combining.combine import combine
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS
from ensemble.combining.serialization import read_pool
from ensemble.combining.weight_table import WeightTable, read_weights
from ensemble.core.component_text import parse_given
from ensemble.core.errors import EnsError
from ensemble.runs.member import Member

NAMES, CLASSES = ("unet-ce-s0-1", "pan-ce-s0-2"), ("soil", "rock", "big rock")


@pytest.fixture
def members(tmp_path: Path, make_member: Callable[..., Any]) -> list[Member]:
    return [make_member(tmp_path, name, quality=quality) for name, quality in (("pspnet", 1.0), ("unet", 2.0))]


def table_of(tmp_path: Path, text: str) -> WeightTable:
    file = tmp_path / "weights.csv"
    file.write_text(text)
    return read_weights(file)


def test_rows_and_columns_come_in_any_order(tmp_path: Path) -> None:
    table = table_of(tmp_path, "Member;big rock;soil;rock\npan;3;1;2\nunet;6;4;5\n")
    assert table.method(NAMES, CLASSES) == "weighted(weights=[4.0, 5.0, 6.0, 1.0, 2.0, 3.0])"


def test_a_single_column_weights_all_classes(tmp_path: Path) -> None:
    assert table_of(tmp_path, "member,weight\nunet,2\npan,0\n").method(NAMES, CLASSES) == "weighted(weights=[2.0, 0.0])"


def test_a_class_may_be_called_weight(tmp_path: Path) -> None:
    table = table_of(tmp_path, "member,weight\nunet,2\npan,1\n")
    assert table.method(NAMES, ("weight",)) == "weighted(weights=[2.0, 1.0])"


def test_members_may_be_labels_of_a_study_and_paths(tmp_path: Path, members: list[Member]) -> None:
    names = [member.name for member in members]
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mars.csv").write_text(f"label,name\nthe best,{names[0]}\n")
    table = table_of(tmp_path, f"member,weight\n{members[1].path},2\nmars:the best,3\n")
    assert table.method(names, CLASSES, tmp_path) == "weighted(weights=[3.0, 2.0])"
    assert combine(weights=tmp_path / "weights.csv", runs=tmp_path).aligned.names == (names[1], names[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("member\nunet\npan\n", "expected members with weights in .*weights.csv, got the columns member; write the"),
        ("name,weight\nunet,1\n", "expected members with weights in .*, got the columns name, weight; write the col"),
        ("member,weight\n", "expected members with weights in .*; write the columns 'member' and 'weight', or"),
        ("member,weight\nunet,1\npan,-1\n", "expected finite weights >= 0 in .*, got '-1' for pan in the column 'we"),
        ("member,weight\nunet,1\npan,\n", "got '' for pan in the column 'weight'; write 0 for a member"),
        ("member,weight\nunet,1\npan,nan\n", "got 'nan' for pan in the column 'weight'"),
        ("member,weight\nunet,1\nx,2\n", "unknown member 'x'"),
        ("member,weight\nunet,1\nunet-ce,2\n", "expected one row of .*weights.csv for unet-ce-s0-1, got 2"),
        ("member,weight\nunet,1\n", "expected one row of .*weights.csv for pan-ce-s0-2, got 0"),
        ("member,weight\nunet,0\npan,0\n", "expected a weight above 0 for a member in .*, got only 0; raise one"),
        ("member,soil,rok,big rock\nunet,1,1,1\npan,1,1,1\n", "unknown class in .* 'rok'; did you mean 'rock'"),
        ("member,soil,rock\nunet,1,1\npan,1,1\n", "expected a column of .* for every class, got none for big rock"),
        ("member,soil,rock,big rock\nunet,1,0,1\npan,1,0,1\n", "expected a weight above 0 for rock in .*, got only 0"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        table_of(tmp_path, text).method(NAMES, CLASSES)


def test_a_table_makes_the_pool_worked_by_hand(tmp_path: Path, members: list[Member]) -> None:
    """Soil 1:3, bedrock from the first member only, the others 1:1; probabilities are normalised after that."""
    (tmp_path / "w.csv").write_text("member,soil,bedrock,sand,big rock\nunet,3,0,1,2\npspnet,1,5,1,2\n")
    done = combine(weights=tmp_path / "w.csv", runs=tmp_path)
    assert done.aligned.names == (members[1].name, members[0].name)  # the table names the members, in its order
    pool = read_pool(done.ensemble)
    assert isinstance(pool, Pool)
    assert pool.weights_mc.tolist() == [[0.75, 0, 0.5, 0.5], [0.25, 1, 0.5, 0.5]]
    assert not done.fitted.was_fitted
    assert done.ensemble.settings.options == {"weights": [3, 0, 1, 2, 1, 5, 1, 2]}
    assert done.ensemble.scores["in_sample"]["miou"] == done.ensemble.scores["miou"]
    one, other = (np.array(each, np.float32) for each in ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]))
    pooled = np.array([0.175, 0.3, 0.25, 0.25])
    found = pool(np.stack([one, other])[:, None, :, None, None]).ravel()
    np.testing.assert_allclose(found, pooled / pooled.sum(), rtol=1e-6)


def test_members_that_are_named_keep_their_order_and_a_row_each(tmp_path: Path, members: list[Member]) -> None:
    (tmp_path / "w.csv").write_text("member,weight\nunet,3\npspnet,1\n")
    done = combine(members, weights=tmp_path / "w.csv", runs=tmp_path)
    assert done.ensemble.settings.options == {"weights": [1, 3]}
    assert done.ensemble.name == combine(members, method="weighted(weights=[1, 3])", runs=tmp_path).ensemble.name


def test_a_table_and_a_method_together_are_refused(tmp_path: Path, members: list[Member]) -> None:
    (tmp_path / "w.csv").write_text("member,weight\nunet,3\npspnet,1\n")
    with pytest.raises(EnsError, match=r"expected a method or a table of weights, got vote and .*w.csv; leave one of"):
        combine(members, method="vote", weights=tmp_path / "w.csv", runs=tmp_path)
    with pytest.raises(EnsError, match="expected either weights or top, got both"):
        combine(members, weights=tmp_path / "w.csv", top=1, runs=tmp_path)
    assert not (tmp_path / "ensembles").exists()


@settings(deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=2, max_size=2))
def test_written_and_read_weights_are_the_same_numbers(rows: list[list[float]]) -> None:
    table = WeightTable(Path("w.csv"), ("unet", "pan"), CLASSES, tuple(map(tuple, rows)))
    if not np.array(rows).any(0).all():
        with pytest.raises(EnsError, match="expected a weight above 0 for"):
            table.method(NAMES, CLASSES)
        return
    call = parse_given(table.method(NAMES, CLASSES), COMBINERS)
    assert np.reshape(call.options["weights"], (2, 3)).tolist() == rows
