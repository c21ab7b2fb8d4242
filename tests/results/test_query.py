"""``--where`` chooses the right rows, compared with Python itself, and runs no code."""

from __future__ import annotations

import contextlib
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.results import COLUMNS, where

ROWS: list[dict[str, Any]] = [
    {"name": "a", "loss": "unified", "seed": 0, "miou": 0.5, "iou_big_rock": 0.0, "selected": True, "kind": "member"},
    {"name": "b", "loss": "unified", "seed": 1, "miou": 0.6, "iou_big_rock": 0.2, "selected": False, "kind": "member"},
    {"name": "c", "loss": "0.5*dice + ce", "seed": 0, "miou": 0.7, "selected": False, "kind": "member"},
    {"name": "d", "miou": 0.65, "kind": "ensemble", "parameters": 2**53},
]
FRAME = pd.DataFrame(ROWS, columns=[*COLUMNS, "iou_big_rock"]).astype(
    {name: column.dtype for name, column in COLUMNS.items()}
)


def chosen(condition: str) -> str:
    return "".join(where(FRAME, condition)["name"])


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("loss == 'unified' and seed == 0", "a"),
        ("loss == 'unified' or miou > 0.64", "abcd"),
        ("not loss == 'unified'", "cd"),
        ("loss != 'unified'", "cd"),
        ("loss == ''", "d"),
        ("loss != ''", "abc"),
        ("miou - 0.1 >= iou_big_rock", "ab"),
        ("-seed < 0", "b"),
        ("seed in (0, 2)", "ac"),
        ("seed not in [0, 2]", "bd"),
        ("loss in ('unified', '')", "abd"),
        ("seed in ()", ""),
        ("0.5 < miou <= 0.65", "bd"),
        ("0.65 == miou", "d"),
        ("seed < 1", "ac"),
        ("not seed < 1", "bd"),  # d has no seed, so it is not less
        ("seed >= -1", "abc"),
        ("selected", "a"),
        ("not selected", "bcd"),
        ("selected == True or seed == 1", "ab"),
        ("(kind == 'ensemble') or (seed == 1 and not selected)", "bd"),
        ("big_rock > 0.1", "b"),
        ("arch == ''", "abcd"),
        ("iou_big_rock < miou", "ab"),
        ("parameters == 9007199254740992", "d"),
        ("parameters < 1000000000000000000000000000000", "d"),
        ("  seed == 0 ", "ac"),
        (r"name == '\d' or name == 'a'", "a"),
        ("name > 'b'", "cd"),
    ],
)
def test_what_is_chosen(condition: str, names: str) -> None:
    assert chosen(condition) == names


def test_rows_are_numbered_anew() -> None:
    assert list(where(FRAME, "seed == 0").index) == [0, 1]
    assert len(where(FRAME.head(0), "seed == 0 or 'x' == loss or seed in (1, 2)")) == 0


@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('touch /tmp/x')",
        "name.upper() == 'A'",
        "name[0] == 'a'",
        "miou ** 2 > 0.5",
        "miou // 1 > 0",
        "loss * 1000000000 == 'a'",
        "'a' * 1000000000 == loss",
        "loss + 'a' == 'a'",
        "seed + selected == 1",
        "loss == None",
        "'dice' in loss",
        "loss not in name",
        "@name == 'a'",
        "`name` == 'a'",
        "name.__class__ == 'a'",
        "__class__.x == 1",
        "1 == 1",
        "'a' == 'a' or seed == 0",
        "seed == [0, 1]",
        "seed in {0, 1}",
        "(seed == 0) & (miou > 0.5)",
        "~selected",
        "seed == (lambda: 0)()",
        "[x for x in name]",
        "seed if selected else miou",
        "(name := 'a')",
        "f'{name}' == 'a'",
        "loss == b'unified'",
        "loss is None",
        "seed == 0j",
        "miou > ...",
        "miou",
        "'unified'",
        "True",
        "seed = 0",
        "seed == 0; seed == 1",
        "seed\n== 0",
        "import os",
        "",
        "   ",
        "seed ==",
        "seed == 0\x00",
        "(" * 500 + "seed == 0" + ")" * 500,
        "not " * 100_000 + "selected",
        "seed in (1, name())",
        "seed in loss",
        "'a' in 'abc'",
        "seed in seed",
        "seed == " + "9" * 5000,
        "'a' 'b' in (loss)()",
        "seed == {1: 2}",
        "*seed",
        "seed == -name",
        "seed == 0 == (yield)",
    ],
)
def test_everything_else_is_refused_in_one_sentence(condition: str) -> None:
    with pytest.raises(EnsError, match="expected comparisons of columns joined by and, or, not, such as") as caught:
        where(FRAME, condition)
    assert "columns: name, kind, " in str(caught.value)
    assert "iou_big_rock" in str(caught.value)
    assert "miou_low" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        ("los == 'ce'", r"unknown column 'los'; did you mean 'loss'\? .*\(a text needs quotes: 'los'\)"),
        ("loss == tversky", r"unknown column 'tversky'.*a text needs quotes: 'tversky'"),
        (
            "loss == 0",
            "'loss == 0' compares text with number; write texts in quotes and numbers without",
        ),
        ("seed == '0'", "compares number with text"),
        ("selected < True", "compares truth with truth"),
        ("seed == True", "compares number with truth"),
        ("loss == miou", "compares text with number"),
        ("seed in (0, 'a')", "compares number with text"),
        ("miou > 60", "expected a share between 0 and 1 for miou, got 60; 60 % is 0.6"),
        ("miou == 1e999", "expected a share between 0 and 1 for miou"),
        ("50 < big_rock", "expected a share between 0 and 1 for iou_big_rock, got 50"),
    ],
)
def test_mistakes_are_reported(condition: str, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        where(FRAME, condition)


# ---------------------------------------------------------------- against Python itself

_COMPARISONS = st.sampled_from(
    [
        "seed == 0", "seed != 1", "loss == 'unified'", "loss != 'unified'", "seed in (0, 5)",
        "kind == 'member'", "selected == True", "name < 'c'", "miou > 0.55", "0.5 < miou < 0.66",
    ]
)  # fmt: skip
_CONDITIONS = st.recursive(
    _COMPARISONS,
    lambda inner: st.one_of(
        inner.map(lambda text: f"not ({text})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(_CONDITIONS)
def test_conditions_mean_what_they_mean_in_python(condition: str) -> None:
    expected = [
        row["name"]
        for row in ROWS
        if eval(condition, {}, {name: row.get(name) for name in ("name", "kind", "loss", "seed", "miou", "selected")})
    ]
    assert list(where(FRAME, condition)["name"]) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_no_text_is_a_traceback(condition: str) -> None:
    with contextlib.suppress(EnsError):  # anything else is a traceback for the user
        where(FRAME, condition)
