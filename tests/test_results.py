"""The results table: its frozen columns, what is in it, and every way of writing it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ensemble import results
from ensemble.errors import EnsError, UnknownName
from ensemble.files import file_digest
from ensemble.members import Member
from ensemble.pool.ensembles import combine_members

MakeMember = Callable[..., Member]

TYPES = {
    "name": "string",
    "kind": "string",
    "architecture": "string",
    "encoder": "string",
    "loss": "string",
    "augmentation": "string",
    "sampler": "string",
    "seed": "Int64",
    "folds": "Int64",
    "epochs": "Int64",
    "parameters": "Int64",
    "seconds": "float64",
    "miou": "float64",
    "miou_low": "float64",
    "miou_high": "float64",
    "miou_keras": "float64",
    "iou_soil": "float64",
    "iou_bedrock": "float64",
    "iou_sand": "float64",
    "iou_big_rock": "float64",
    "pixel_accuracy": "float64",
    "log_loss": "float64",
    "ece": "float64",
    "protocol": "string",
    "selected": "boolean",
    "data": "string",
    "data_hash": "string",
    "split_hash": "string",
}


@pytest.fixture
def runs(tmp_path: Path, make_member: MakeMember) -> Path:
    """Two members and their average."""
    members = [make_member(tmp_path, name, quality=quality) for name, quality in (("unet", 1.0), ("pspnet", 2.0))]
    combine_members(members, "average", runs=tmp_path)
    return tmp_path


def types_of(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


def test_columns_and_types_are_frozen(runs: Path) -> None:
    frame = results.load(runs)
    assert list(frame.columns) == list(TYPES)
    assert types_of(frame) == TYPES


def test_rows_hold_what_the_directories_hold(runs: Path, make_member: MakeMember) -> None:
    frame = results.load(runs).set_index("name")
    member = make_member(runs, "unet", quality=1.0)
    row: Any = frame.loc[member.name]
    assert (row["kind"], row["architecture"], row["loss"], row["augmentation"]) == ("member", "unet", "ce", "flips")
    assert (row["seed"], row["epochs"], row["parameters"], row["seconds"]) == (0, 3, 1000, 2.5)
    assert (row["protocol"], row["selected"], row["data"]) == ("hold-out", False, "gone.npz")
    assert (row["data_hash"], row["split_hash"]) == ("0" * 32, "1" * 32)
    assert pd.isna(row["encoder"])
    assert pd.isna(row["folds"])
    for name in ("miou", "miou_low", "miou_high", "miou_keras", "pixel_accuracy", "log_loss", "ece"):
        assert row[name] == member.scores[name]
    assert row["iou_big_rock"] == member.scores["iou"]["big rock"]


def test_an_ensemble_adds_up_its_members(runs: Path) -> None:
    frame = results.load(runs)
    row = frame[frame["kind"] == "ensemble"].iloc[0]
    assert row["architecture"] == "average of 2"
    assert (row["parameters"], row["seconds"]) == (2000, 5.0)
    assert row["protocol"] == "cross-fitted over 5 folds"
    assert (row["data"], row["data_hash"], row["split_hash"]) == ("gone.npz", "0" * 32, "1" * 32)
    assert pd.isna(row["seed"])
    assert row["iou_soil"] > 0


def test_an_ensemble_without_one_of_its_members_does_not_know_its_cost(runs: Path) -> None:
    shutil.rmtree(next((runs / "members").glob("unet*")))
    frame = results.load(runs)
    row = frame[frame["kind"] == "ensemble"].iloc[0]
    assert pd.isna(row["parameters"])
    assert pd.isna(row["seconds"])
    assert row["miou"] > 0


def test_best_comes_first_and_rows_are_numbered(runs: Path) -> None:
    frame = results.load(runs)
    assert frame["miou"].is_monotonic_decreasing
    assert list(frame.index) == [0, 1, 2]


def test_unfinished_members_are_left_out(runs: Path) -> None:
    path = next((runs / "members").glob("unet*")) / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "training"}))
    frame = results.load(runs)
    assert len(frame) == 2
    assert not any(name.startswith("unet") for name in frame["name"])


def test_a_damaged_directory_is_named(runs: Path) -> None:
    path = next((runs / "members").glob("unet*"))
    (path / "scores.json").write_text("{}")
    with pytest.raises(EnsError, match=f"{path.name}.scores.json differs from what was written"):
        results.load(runs)


def test_members_of_other_classes_stand_beside_with_columns_of_their_own(
    runs: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    other = make_member(runs, "linknet", world=make_world(classes=("cell", "nucleus (dark)"), data_hash="c" * 32))
    frame = results.load(runs)
    classes = [name for name in frame.columns if name.startswith("iou_")]
    assert set(classes) == {"iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock", "iou_cell", "iou_nucleus_dark"}
    at = list(frame.columns).index("miou_keras") + 1
    assert list(frame.columns)[at : at + 6] == classes
    row: Any = frame.set_index("name").loc[other.name]
    assert pd.isna(row["iou_soil"])
    assert row["iou_cell"] == other.scores["iou"]["cell"]
    assert sorted(frame["iou_cell"].isna().tolist()) == [False, True, True, True]


def test_a_class_without_a_score_is_missing_not_zero(
    tmp_path: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    from dataclasses import replace

    world = make_world()
    masks = world.masks_nhw.copy()
    masks[masks == 4] = 0
    probs = make_member(tmp_path / "else", "unet").store()
    (_, values, _), *_ = list(probs.batches(32))
    values[:, 3] = 0
    make_member(tmp_path, "unet", world=replace(world, masks_nhw=masks), probs=values / values.sum(1, keepdims=True))
    frame = results.load(tmp_path)
    assert frame["iou_big_rock"].isna().tolist() == [True]
    assert "-" in results.display(frame).loc[0].to_dict().values()


def test_an_empty_folder_is_an_empty_table(tmp_path: Path) -> None:
    frame = results.load(tmp_path)
    assert len(frame) == 0
    assert list(frame.columns) == [name for name in TYPES if not name.startswith("iou_")]
    assert types_of(frame) == {name: kind for name, kind in TYPES.items() if not name.startswith("iou_")}
    assert "mIoU %" in results.write(frame, "markdown")
    assert results.write(frame, "csv").startswith("name,kind,")


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"there is no folder .*nowhere; train a member with `ens train` first, or give"):
        results.load(tmp_path / "nowhere")


# ---------------------------------------------------------------- sorting


@pytest.mark.parametrize("column", ["miou", "iou_soil", "pixel_accuracy"])
def test_scores_are_sorted_from_the_largest(runs: Path, column: str) -> None:
    assert results.sort(results.load(runs), column)[column].is_monotonic_decreasing


@pytest.mark.parametrize("column", ["log_loss", "ece", "seconds", "parameters", "name"])
def test_losses_costs_and_names_are_sorted_from_the_smallest(runs: Path, column: str) -> None:
    sorted_frame = results.sort(results.load(runs), column)
    assert sorted_frame[column].is_monotonic_increasing
    assert list(sorted_frame.index) == [0, 1, 2]


def test_rows_without_the_value_come_last(runs: Path) -> None:
    assert pd.isna(results.sort(results.load(runs), "seed")["seed"].iloc[-1])


def test_an_unknown_column_is_answered_with_a_suggestion(runs: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown column 'moiu'; did you mean 'miou'\? Known: architecture, augment"):
        results.sort(results.load(runs), "moiu")


@pytest.mark.parametrize(
    ("name", "column"),
    [("big rock", "iou_big_rock"), ("Soil", "iou_soil"), ("rock (big)", "iou_rock_big"), ("Fläche", "iou_fläche")],
)
def test_columns_of_classes(name: str, column: str) -> None:
    assert results.column_of(name) == column


# ---------------------------------------------------------------- writing


def test_csv_comes_back_as_it_was(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    again = pd.read_csv(io.StringIO(results.write(frame, "csv")), dtype=dict[Any, Any](TYPES))
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert results.write(frame, "csv", tmp_path / "out" / "table.csv") == ""
    assert (tmp_path / "out" / "table.csv").read_text() == results.write(frame, "csv")
    assert "\r" not in results.write(frame, "csv")


def test_parquet_comes_back_as_it_was(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    assert results.write(frame, "parquet", tmp_path / "table.parquet") == ""
    again = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(again, frame)
    assert types_of(again) == TYPES


def test_parquet_wants_a_file(runs: Path) -> None:
    with pytest.raises(EnsError, match=r"expected a file for Parquet, which is binary; add --out results.parquet"):
        results.write(results.load(runs), "parquet")


def test_a_folder_that_cannot_be_written_is_named(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnsError, match=r"cannot write .*table.csv: .*; choose another place"):
        results.write(results.load(runs), "csv", tmp_path / "file" / "table.csv")


def test_markdown_shows_per_cent_with_the_interval(runs: Path, tmp_path: Path) -> None:
    frame = results.load(runs)
    text = results.write(frame, "markdown")
    lines = text.splitlines()
    assert len(lines) == 2 + len(frame)
    header = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert header == [
        *("name", "architecture", "encoder", "loss", "augment", "sampler", "folds", "params M", "time", "mIoU %"),
        *("95 % interval", "Keras", "soil", "bedrock", "sand", "big rock", "pixels %", "log-loss", "ECE %"),
    ]
    first = dict(zip(header, (cell.strip() for cell in lines[2].strip("|").split("|")), strict=True))
    best: Any = frame.loc[0]
    assert first["name"] == best["name"]
    assert first["mIoU %"] == f"{100 * best['miou']:.1f}"
    assert first["95 % interval"] == f"{100 * best['miou_low']:.1f}-{100 * best['miou_high']:.1f}"
    assert first["log-loss"] == f"{best['log_loss']:.3f}"
    assert first["encoder"] == "-"
    assert "nan" not in text.lower()
    results.write(frame, "markdown", tmp_path / "table.md")
    assert (tmp_path / "table.md").read_text() == text
    assert results.markdown(frame, ["name", "mIoU %"]).splitlines()[0].count("|") == 3


def test_times_and_sizes_are_shown_in_readable_units(runs: Path) -> None:
    frame = results.load(runs)
    frame["seconds"] = [12.4, 99.6, 600.0]
    frame["parameters"] = pd.array([1_234_567, 990, None], dtype="Int64")
    shown = results.display(frame)
    assert shown["time"].tolist() == ["12 s", "100 s", "10.0 min"]
    assert shown["params M"].tolist() == ["1.23", "0.00", "-"]


def test_a_member_without_an_interval_shows_a_dash(runs: Path) -> None:
    frame = results.load(runs)
    frame.loc[0, ["miou_low", "miou_high"]] = float("nan")
    assert results.display(frame)["95 % interval"].iloc[0] == "-"


def test_classes_whose_names_collide_keep_their_own_columns(
    tmp_path: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    make_member(tmp_path, "unet", world=make_world(classes=("big rock", "big_rock", "time")))
    frame = results.load(tmp_path)
    assert [name for name in frame.columns if name.startswith("iou_")] == ["iou_big_rock", "iou_big_rock_", "iou_time"]
    shown = results.display(frame)
    assert {"time", "IoU time"} <= set(shown.columns)
    assert " s" in str(shown["time"].iloc[0])  # still the training time


def test_an_ensemble_of_a_selected_member_is_marked(runs: Path) -> None:
    frame = results.load(runs).set_index("name")
    assert not any(frame["selected"].tolist())
    member = next((runs / "members").iterdir())
    scores = json.loads((member / "scores.json").read_text())
    (member / "scores.json").write_text(json.dumps(scores | {"selected": True}))
    status = json.loads((member / "status.json").read_text())
    status["files"]["scores.json"] = file_digest(member / "scores.json")
    (member / "status.json").write_text(json.dumps(status))
    marked = results.load(runs)
    assert set(marked[marked["selected"]]["name"]) == {member.name, *marked[marked["kind"] == "ensemble"]["name"]}


def test_texts_are_sorted_from_a_to_z(runs: Path) -> None:
    names = results.sort(results.load(runs), "architecture")["architecture"].dropna().tolist()
    assert names == sorted(names)
