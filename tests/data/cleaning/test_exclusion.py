"""Lists of what is left out of training: what they take, and every way to get them wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.data.cleaning.checks import REASONS
from ensemble.data.cleaning.exclusion import read_exclusion

IDS = tuple(f"{row:04d}" for row in range(8))
LIST = """row,id,reason,score,detail
2,0002,repeated-mask,3,"mask of 3 images, the first is 2; 90 corners"
5,0005,repeated-mask,3,
2,0002,unlike-the-rest,0.5,far
1,0001,almost-void,0.99,
"""


@pytest.fixture
def suspects(tmp_path: Path) -> Path:
    path = tmp_path / "suspects.csv"
    path.write_text(LIST)
    return path


def refused(text: str, *parts: str, ids: tuple[str, ...] = IDS) -> None:
    with pytest.raises(EnsError) as caught:
        read_exclusion(text, ids)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_all_or_some_reasons_in_the_order_of_the_data(suspects: Path) -> None:
    assert read_exclusion(f"{suspects}", IDS) == ("0001", "0002", "0005")
    assert read_exclusion(f"{suspects}:repeated-mask", IDS) == ("0002", "0005")
    assert read_exclusion(f"{suspects}:unlike-the-rest, almost-void", IDS) == ("0001", "0002")
    assert read_exclusion(f"{suspects}", IDS[::-1]) == ("0005", "0002", "0001")


def test_a_known_reason_that_is_not_in_the_list_leaves_nothing_out(suspects: Path) -> None:
    assert read_exclusion(f"{suspects}:members-disagree", IDS) == ()


def test_the_score_is_not_chosen_by_its_outcome(suspects: Path) -> None:
    suspects.write_text(f"{LIST}6,0006,members-disagree,0.9,\n1,0001,members-disagree,0.8,\n")
    assert read_exclusion(f"{suspects}:members-disagree", IDS) == ("0001", "0006")  # training may leave them out
    assert read_exclusion(f"{suspects}:almost-void", IDS, scored=True) == ("0001",)
    for text in (f"{suspects}", f"{suspects}:members-disagree", f"{suspects}:almost-void,members-disagree"):
        with pytest.raises(
            EnsError, match="lists 2 images with the reason members-disagree: a score without the images"
        ):
            read_exclusion(text, IDS, scored=True)
    with pytest.raises(
        EnsError, match=r"select other reasons: .*suspects.csv:repeated-mask,unlike-the-rest,almost-void$"
    ):
        read_exclusion(f"{suspects}", IDS, scored=True)


def test_a_list_without_suspects_leaves_nothing_out(suspects: Path) -> None:
    suspects.write_text(LIST.splitlines()[0] + "\n")
    assert read_exclusion(f"{suspects}", IDS) == ()
    assert read_exclusion(f"{suspects}:almost-void", IDS) == ()


def test_a_list_written_by_hand_needs_ids_only(suspects: Path) -> None:
    suspects.write_bytes("\ufeffid\r\n 0003 \r\n\r\n0001\r\n".encode())  # as spreadsheets save it
    assert read_exclusion(f"{suspects}", IDS) == ("0001", "0003")


def test_reasons_of_ones_own(suspects: Path) -> None:
    suspects.write_text("id,reason\n0003,blurred\n0004,dull\n")
    assert read_exclusion(f"{suspects}:blurred", IDS) == ("0003",)
    refused(f"{suspects}:blured", "unknown reason 'blured'; did you mean 'blurred'?")


def test_a_colon_in_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a:b.csv"
    path.write_text(LIST)
    assert read_exclusion(f"{path}", IDS) == ("0001", "0002", "0005")
    assert read_exclusion(f"{path}:almost-void", IDS) == ("0001",)


def test_no_file(tmp_path: Path) -> None:
    refused(f"{tmp_path / 'none.csv'}", f"there is no file {tmp_path / 'none.csv'};", "ens data check DATA")
    refused(f"{tmp_path / 'none.csv'}:almost-void", f"there is no file {tmp_path / 'none.csv'};")
    refused(r"C:\none.csv", r"there is no file C:\none.csv;")
    refused(f"{tmp_path}", "there is no file")


def test_unknown_reason(suspects: Path) -> None:
    refused(f"{suspects}:repeated-masks", "unknown reason 'repeated-masks'; did you mean 'repeated-mask'?", *REASONS)
    refused(f"{suspects}:almost-void,", ids=("0001",))  # a comma too many is no reason; the only image is listed
    refused(f"{suspects}:", "expected a reason after the colon", "repeated-mask")


def test_no_columns(suspects: Path) -> None:
    suspects.write_text("row,name\n1,a\n")
    refused(f"{suspects}", "expected the column 'id'", "got row, name; give a list that `ens data check` wrote")
    suspects.write_text("")
    refused(f"{suspects}", "expected the column 'id'", "an empty file")
    suspects.write_text("id\n0001\n")
    refused(f"{suspects}:almost-void", "expected the column 'reason'", "got id;")


def test_no_text(suspects: Path) -> None:
    suspects.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    refused(f"{suspects}", "is not text (it holds the byte 26); save it as UTF-8")


def test_a_list_of_other_data(suspects: Path) -> None:
    refused(f"{suspects}", "2 of the 3 images", "the first is '0002'", "other data", ids=("0001", "0009"))
    suspects.write_text("id\n1\n")  # a spreadsheet dropped the zeros
    refused(f"{suspects}", "1 of the 1 images", "the first is '1'")


def test_nothing_left(suspects: Path) -> None:
    refused(f"{suspects}", "lists all 3 images, so no image would remain", ids=("0001", "0002", "0005"))
    assert read_exclusion(f"{suspects}:repeated-mask", ("0001", "0002", "0005")) == ("0002", "0005")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(IDS[:-1]), st.sampled_from(list(REASONS)))),
    st.sets(st.sampled_from(list(REASONS)), min_size=1),
)
def test_what_is_left_out_is_what_the_reasons_say(
    tmp_path: Path, listed: list[tuple[str, str]], reasons: set[str]
) -> None:
    path = tmp_path / "any.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([("reason", "id"), *((reason, name) for name, reason in listed)])
    expected = {name for name, reason in listed if reason in reasons}
    assert read_exclusion(f"{path}:{','.join(reasons)}", IDS) == tuple(name for name in IDS if name in expected)
