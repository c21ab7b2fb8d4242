"""The results table: its frozen columns, and what is in it."""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ensemble import results
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import file_digest, read_json, sealed
from ensemble.results import DamagedRun, table
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]


def score(*names: str) -> dict[str, str]:
    return {f"{name}{end}": "float64" for name in names for end in ("", "_low", "_high")}


BEFORE = {
    **dict.fromkeys(("name", "kind", "architecture", "encoder", "loss", "augmentation", "sampler"), "string"),
    **dict.fromkeys(("optimiser", "tta", "crop", "input", "student", "decision", "background"), "string"),
    **dict.fromkeys(("seed", "folds", "epochs", "parameters"), "Int64"),
    **dict.fromkeys(("gflops", "seconds", "latency_ms"), "float64"),
    **score("miou", "miou_keras"),
}
CLASSES = score("iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock")
MORE = {
    **score("dice", "foreground_iou"),
    "foreground_dice": "float64",
    **score("pixel_accuracy", "boundary_f1", "log_loss", "brier", "ece", "image_miou"),
    **dict.fromkeys(("miou_without_rare", "miou_without_group"), "float64"),
    "deciding_group": "string",
    **score("object_recall", "object_f1"),
}
OTHERS = {
    **score(
        *(f"object_{n}_{c}" for n in ("recall", "precision", "f1") for c in ("soil", "bedrock", "sand", "big_rock"))
    ),
    **dict.fromkeys((f"{n}_{c}" for n in ("ece", "brier") for c in ("soil", "bedrock", "sand", "big_rock")), "float64"),
}
AFTER = {
    **dict.fromkeys(("images", "groups"), "Int64"),
    **dict.fromkeys(("protocol", "part"), "string"),
    "selected": "boolean",
    **dict.fromkeys(("data", "data_hash", "split_hash", "git", "cpu", "device", "finished", "path"), "string"),
}
TYPES = {**BEFORE, **CLASSES, **MORE, **OTHERS, **AFTER}


def types_of(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


def test_columns_and_types_are_frozen(runs: Path) -> None:
    frame = results.load(runs)
    assert list(frame.columns) == list(TYPES)
    assert types_of(frame) == TYPES
    assert {name: column.dtype for name, column in results.COLUMNS.items()} == BEFORE | MORE | AFTER


def test_rows_hold_what_the_directories_hold(runs: Path, make_member: MakeMember, rewrite: Callable[..., None]) -> None:
    member = make_member(runs, "linknet", quality=1.5, seed=3)
    rewrite(member.path, "status.json", gflops=0.75, latency_ms=4.5)
    environment: dict[str, Any] = {"revision": "abc", "cpu": "a processor", "gpu": None}
    rewrite(member.path, "environment.json", **environment)
    row: Any = results.load(runs).set_index("name").loc[member.name]
    assert (row["kind"], row["architecture"], row["loss"], row["seed"]) == ("member", "linknet", "ce", 3)
    assert (row["augmentation"], row["sampler"], row["tta"], row["epochs"]) == ("flips", "uniform", "none", 3)
    assert (row["crop"], row["input"], row["decision"]) == ("none", "native", "argmax")
    assert (row["parameters"], row["gflops"], row["seconds"], row["latency_ms"]) == (1000, 0.75, 2.5, 4.5)
    assert (row["background"], row["data"], row["data_hash"]) == ("void", "gone.npz", "0" * 32)
    assert (row["git"], row["cpu"], row["device"]) == ("abc", "a processor", "cpu")
    assert (row["images"], row["groups"], row["protocol"], row["selected"]) == (20, 10, "hold-out", False)
    assert row["finished"] == "2026-11-01T00:00:00+00:00"
    assert Path(row["path"]) == member.path
    for name in ("miou", "miou_low", "miou_high", "miou_keras", "pixel_accuracy", "log_loss", "brier", "ece"):
        assert row[name] == member.scores[name]
    for end in ("", "_low", "_high"):
        assert row[f"iou_big_rock{end}"] == member.scores[f"iou{end}"]["big rock"]
    assert row[["encoder", "folds"]].isna().tolist() == [True] * 2


def test_an_ensemble_gets_its_costs_and_origin_from_its_members(runs: Path, rewrite: Callable[..., None]) -> None:
    for path, gflops in zip(sorted((runs / "members").iterdir()), (0.5, 0.25), strict=True):
        rewrite(path, "status.json", gflops=gflops, latency_ms=3.0)
        rewrite(path, "environment.json", revision=f"rev {gflops}", cpu="one processor")
    frame: Any = results.load(runs)
    row: Any = frame[frame["kind"] == "ensemble"].iloc[0]
    assert row["architecture"] == "average of 2"
    assert (row["parameters"], row["seconds"], row["gflops"], row["latency_ms"]) == (2000, 5.0, 0.75, 6.0)
    assert (row["background"], row["cpu"], row["device"]) == ("void", "one processor", "cpu")
    assert pd.isna(row["git"])  # they do not agree
    assert row["protocol"] == "cross-fitted over 5 folds"
    assert (row["data"], row["data_hash"], row["split_hash"]) == ("gone.npz", "0" * 32, "1" * 32)
    assert row[["seed", "loss", "epochs"]].isna().all()
    assert row["iou_soil"] > 0


@pytest.mark.parametrize(
    ("decide", "source", "shown"),
    [("offsets", "validation", "offsets"), ("expected-iou", "images", "expected-iou from images")],
)
def test_ensembles_can_be_grouped_by_their_decision(runs: Path, decide: Any, source: Any, shown: str) -> None:
    from ensemble.combining.combine import combine

    combine(method="average", decide=decide, decide_from=source, runs=runs)
    frame: Any = results.load(runs)
    assert sorted(frame.loc[frame["kind"] == "ensemble", "decision"]) == ["argmax", shown]
    groups: Any = results.by(frame, ["decision"])
    assert dict(zip(groups["decision"], groups["n"], strict=True)) == {"argmax": 3, shown: 1}
    assert set(results.display(frame)["decision"]) == {"-", shown}


def test_an_ensemble_costs_what_predicting_with_it_costs(
    tmp_path: Path, make_member: MakeMember, rewrite: Callable[..., None]
) -> None:
    from ensemble.combining.combine import combine

    members = [make_member(tmp_path, name) for name in ("unet", "pspnet", "linknet")]
    for number, member in enumerate(members, 1):
        rewrite(member.path, "status.json", parameters=10**number, gflops=float(number), latency_ms=1.0)
    combine(members, method="weighted(weights=[2, 0, 1])", runs=tmp_path)
    frame: Any = results.load(tmp_path)
    row: Any = frame[frame["kind"] == "ensemble"].iloc[0]
    assert (row["parameters"], row["gflops"], row["latency_ms"]) == (1010, 4.0, 2.0)
    assert row["seconds"] == 7.5  # all three were trained
    assert "of its members with a weight" in results.COLUMNS["parameters"].about


def test_an_ensemble_without_one_of_its_members_does_not_know_its_cost(runs: Path) -> None:
    shutil.rmtree(next((runs / "members").glob("unet*")))
    frame: Any = results.load(runs)
    row: Any = frame[frame["kind"] == "ensemble"].iloc[0]
    assert row[["parameters", "seconds", "background", "cpu", "selected"]].isna().all()
    assert row["miou"] > 0


def test_a_cost_that_one_member_does_not_know_is_unknown(runs: Path, rewrite: Callable[..., None]) -> None:
    rewrite(next((runs / "members").iterdir()), "status.json", gflops=1.0)
    frame = results.load(runs)
    assert frame.set_index("kind").loc["ensemble", ["gflops", "latency_ms"]].isna().all()  # pyright: ignore


def test_an_ensemble_of_members_with_and_without_a_background_class_has_none(
    tmp_path: Path, make_member: MakeMember
) -> None:
    from ensemble.combining.combine import combine

    members = [make_member(tmp_path, "unet"), make_member(tmp_path, "linknet", background="class")]
    combine(members, method="average", runs=tmp_path)
    frame = results.load(tmp_path).set_index("architecture")
    assert frame["background"].to_dict() == {"unet": "void", "linknet": "class", "average of 2": "void"}
    sets: Any = results.sets_of(frame)
    assert sets["unet"] == sets["average of 2"] != sets["linknet"]


def test_an_ensemble_of_a_selected_member_is_marked(runs: Path, rewrite: Callable[..., None]) -> None:
    assert results.load(runs)["selected"].tolist() == [False] * 3
    member = next((runs / "members").iterdir())
    rewrite(member, "scores.json", selected=True)
    marked = results.load(runs)
    assert set(marked[marked["selected"]]["name"]) == {member.name, *marked[marked["kind"] == "ensemble"]["name"]}


def test_runs_of_older_versions_lack_scores_and_nothing_else(runs: Path) -> None:
    path = next((runs / "members").glob("unet*"))
    old = {"miou": 0.5, "iou": {"soil": 0.4}}
    (path / "scores.json").write_text(json.dumps(old))
    status = read_json(path / "status.json")
    status["files"]["scores.json"] = file_digest(path / "scores.json")
    (path / "status.json").write_text(json.dumps(sealed(status)))
    row: Any = results.load(runs).set_index("name").loc[path.name]
    assert (row["miou"], row["iou_soil"]) == (0.5, 0.4)
    assert row[["miou_low", "iou_soil_low", "dice", "boundary_f1", "ece", "groups"]].isna().all()


def test_best_comes_first_and_rows_are_numbered(runs: Path) -> None:
    frame = results.load(runs)
    assert frame["miou"].is_monotonic_decreasing
    assert list(frame.index) == [0, 1, 2]


def test_unfinished_and_hidden_directories_are_left_out(runs: Path, rewrite: Callable[..., None]) -> None:
    unfinished, other = sorted((runs / "members").iterdir())
    rewrite(unfinished, "status.json", state="training")
    shutil.copytree(other, other.with_name(".half-imported.tmp"))
    (runs / "members" / "notes.txt").write_text("not a run")
    (runs / "members" / "empty").mkdir()
    frame = results.load(runs)
    assert set(frame["name"]) == {other.name, *(path.name for path in (runs / "ensembles").iterdir())}


# ---------------------------------------------------------------- reading


def test_a_new_and_a_removed_run(runs: Path, make_member: Callable[..., Member]) -> None:
    path = next((runs / "members").glob("unet*"))
    other = next(each for each in (runs / "members").iterdir() if each != path)
    another = make_member(runs, "another")
    shutil.rmtree(path)
    frame = results.load(runs)
    assert set(frame["name"]) == {other.name, another.name, *(each.name for each in (runs / "ensembles").iterdir())}
    assert frame.set_index("kind").loc[["ensemble"], "seconds"].isna().all()  # one of its members is gone


def test_an_ensemble_sees_its_member_change(runs: Path, rewrite: Callable[..., None]) -> None:
    rewrite(next((runs / "members").glob("unet*")), "status.json", parameters=5000)
    assert results.load(runs).set_index("kind").loc["ensemble", "parameters"] == 6000


def test_reading_leaves_no_file_behind(runs: Path) -> None:
    before = {*runs.rglob("*")}
    results.load(runs)
    assert {*runs.rglob("*")} == before


def test_a_run_that_may_not_be_read_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def allowed(path: Path, mode: int) -> bool:  # chmod would not stop root
        return "unet" not in path.name

    monkeypatch.setattr(table, "os", SimpleNamespace(access=allowed, R_OK=os.R_OK, X_OK=os.X_OK))
    frame, problems = results.scan(runs)
    assert len(frame) == 2
    assert "cannot be read (no permission); allow it, or move it away" in problems[0]


def test_progress_is_reported_when_there_are_many_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int]] = []
    results.scan(runs, lambda task, done, total, _="": calls.append((task, done, total)))
    assert calls == []
    monkeypatch.setattr(table, "MANY", 2)
    results.scan(runs, lambda task, done, total, _="": calls.append((task, done, total)))
    assert calls[-1] == ("reading runs", 2, 2)


@pytest.mark.slow
def test_a_thousand_runs_load_in_under_two_seconds(tmp_path: Path, runs: Path) -> None:
    member = next((runs / "members").glob("unet*"))
    for number in range(1000):
        path = tmp_path / "many" / "members" / f"unet-ce-s{number}"
        path.mkdir(parents=True)
        for name in ("scores.json", "status.json"):
            shutil.copy(member / name, path / name)
        (path / "config.json").write_text(json.dumps(read_json(member / "config.json") | {"name": path.name}))
        status = read_json(path / "status.json")
        files = status["files"] | {"config.json": file_digest(path / "config.json")}
        (path / "status.json").write_text(json.dumps(sealed(status | {"files": files})))
    start = time.process_time()
    assert len(results.load(tmp_path / "many")) == 1000
    assert time.process_time() - start < 2


# ---------------------------------------------------------------- damage


def test_lost_files_and_members_are_named_though_the_table_needs_none(runs: Path) -> None:
    one, other = sorted((runs / "members").iterdir())
    (ensemble,) = (runs / "ensembles").iterdir()
    assert results.losses(results.load(runs)) == []
    (one / "history.csv").unlink()
    shutil.rmtree(one / "probabilities")
    shutil.rmtree(other)
    frame, problems = results.scan(runs)
    assert (len(frame), problems) == (2, [])
    lost, lacks = sorted(results.losses(frame), key=lambda text: "needs" in text)
    files = "history.csv, probabilities/validation/manifest.json"
    removal = f"ens remove {one.name} --runs {one.parent.parent}"
    assert lost == f"{one} has lost {files}; remove it with `{removal}` and train it again"
    assert lacks == f"{ensemble} needs the member {other.name}, which is missing; copy it there, or train it again"


def damage_scores(path: Path) -> None:
    (path / "scores.json").write_text("{}")


def damage_config(path: Path) -> None:
    (path / "config.json").unlink()


def damage_status(path: Path) -> None:
    (path / "status.json").write_text('{"format_version": 1, "state": "comp')


def damage_environment(path: Path) -> None:
    (path / "environment.json").write_text("[]")
    status = read_json(path / "status.json")
    files = status["files"] | {"environment.json": file_digest(path / "environment.json")}
    (path / "status.json").write_text(json.dumps(sealed(status | {"files": files})))


def a_newer_version(path: Path) -> None:
    status = json.loads((path / "status.json").read_text())
    (path / "status.json").write_text(json.dumps(status | {"format_version": 7}))


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_scores, "scores.json differs from what was written"),
        (damage_config, "config.json is missing; remove it with `ens remove unet-ce"),
        (damage_status, "status.json cannot be read"),
        (damage_environment, "environment.json is damaged"),
        (a_newer_version, "has format 7, but this version reads formats 1 and 2; upgrade"),
    ],
)
def test_a_damaged_run_is_named_and_hides_no_other(runs: Path, damage: Callable[[Path], None], text: str) -> None:
    path = next((runs / "members").glob("unet*"))
    damage(path)
    with pytest.warns(DamagedRun, match=f"left out of the table: .*{path.name}.*{text}"):
        frame = results.load(runs)
    assert len(frame) == 2
    assert path.name not in set(frame["name"])
    assert frame.set_index("kind").loc[["ensemble"], "seconds"].isna().all()
    again, problems = results.scan(runs)
    pd.testing.assert_frame_equal(again, frame)
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("scores.json", {"miou": "high"}),
        ("scores.json", {"iou": {"soil": [1]}}),
        ("scores.json", {"images": 2.5}),
        ("scores.json", {"groups": 10**30}),
        ("scores.json", {"log_loss": float("inf")}),
        ("scores.json", {"selected": "yes"}),
        ("status.json", {"finished": 5}),
        ("status.json", {"parameters": True}),
    ],
)
def test_values_of_another_kind_are_damage_not_a_traceback(
    runs: Path, rewrite: Callable[..., None], file: str, changes: dict[str, Any]
) -> None:
    path = next((runs / "members").glob("unet*"))
    rewrite(path, file, **changes)
    frame, problems = results.scan(runs)
    assert len(frame) == 2
    assert len(problems) == 1
    assert f"{path} is damaged ({next(iter(changes)).replace('iou', 'iou')}" in problems[0].replace("iou_soil", "iou")


def test_an_empty_folder_is_an_empty_table(tmp_path: Path) -> None:
    frame = results.load(tmp_path)
    assert len(frame) == 0
    assert types_of(frame) == BEFORE | MORE | AFTER


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"there is no folder .*nowhere; train a member with `ens train` first, or cho"):
        results.load(tmp_path / "nowhere")


def test_nothing_is_warned_of_where_all_is_well(runs: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.load(runs)


# ---------------------------------------------------------------- classes


def test_members_of_other_classes_stand_beside_with_columns_of_their_own(
    runs: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    other = make_member(runs, "linknet", world=make_world(classes=("cell", "nucleus (dark)"), data_hash="c" * 32))
    frame = results.load(runs)
    assert set(results.class_columns(frame.columns)) == {
        *("iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock", "iou_cell", results.column_of("nucleus (dark)")),
    }
    assert results.resolve("iou_nucleus_dark", frame.columns) == results.column_of("nucleus (dark)")
    at = list(frame.columns).index("miou_keras_high") + 1
    assert all(str(name).startswith("iou_") for name in frame.columns[at : at + 18])
    row: Any = frame.set_index("name").loc[other.name]
    assert pd.isna(row["iou_soil"])
    assert row["iou_cell"] == other.scores["iou"]["cell"]
    assert sorted(frame["iou_cell"].isna().tolist()) == [False, True, True, True]


def test_classes_whose_names_collide_keep_their_own_columns(
    tmp_path: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    member = make_member(tmp_path, "unet", world=make_world(classes=("big rock", "big_rock", "time", "rock low")))
    frame = results.load(tmp_path)
    names = ["iou_big_rock", "iou_big__rock", "iou_time", "iou_rock_low_"]
    assert results.class_columns(frame.columns) == names
    assert frame.loc[0, names].tolist() == list(member.scores["iou"].values())
    assert frame["iou_big_rock_low"].tolist() == [member.scores["iou_low"]["big rock"]]
    shown = results.display(frame)
    assert {"time", "IoU time"} <= set(shown.columns)
    assert " s" in str(shown["time"].iloc[0])  # still the training time


def test_a_class_without_a_score_is_missing_not_zero(
    tmp_path: Path, make_member: MakeMember, rewrite: Callable[..., None]
) -> None:
    member = make_member(tmp_path, "unet")
    rewrite(member.path, "scores.json", iou=member.scores["iou"] | {"big rock": None})
    frame = results.load(tmp_path)
    assert frame["iou_big_rock"].isna().tolist() == [True]
    assert results.display(frame, ["big rock"]).iloc[0, 0] == "-"


ODD = ("a+", "a-", "[red]", "$x$", "=1+1", "Big_Rock", "big rock")


def test_names_of_classes_are_shown_as_they_are(
    tmp_path: Path, make_member: MakeMember, make_world: Callable[..., Any]
) -> None:
    member = make_member(tmp_path, "unet", world=make_world(classes=ODD))
    frame = results.load(tmp_path)
    shown = results.show(frame)
    for name in ODD:
        assert frame[results.column_of(name)].tolist() == [member.scores["iou"][name]]
        assert shown.columns[name] == results.column_of(name)
    assert results.display(frame, ["a-", "Big_Rock", "[RED]"]).columns.tolist() == ["a-", "Big_Rock", "[red]"]


# ---------------------------------------------------------------- sorting


@pytest.mark.parametrize("column", ["miou", "iou_soil", "sand", "pixel_accuracy"])
def test_scores_are_sorted_from_the_largest(runs: Path, column: str) -> None:
    name = results.resolve(column, results.load(runs).columns)
    assert results.sort(results.load(runs), column)[name].is_monotonic_decreasing


@pytest.mark.parametrize("column", ["log_loss", "brier", "ece", "seconds", "parameters", "name"])
def test_losses_costs_and_names_are_sorted_from_the_smallest(runs: Path, column: str) -> None:
    sorted_frame = results.sort(results.load(runs), column)
    assert sorted_frame[column].is_monotonic_increasing
    assert list(sorted_frame.index) == [0, 1, 2]


def test_rows_without_the_value_come_last(runs: Path) -> None:
    assert pd.isna(results.sort(results.load(runs), "seed")["seed"].iloc[-1])


def test_texts_are_sorted_from_a_to_z(runs: Path) -> None:
    names = results.sort(results.load(runs), "arch")["architecture"].dropna().tolist()
    assert names == sorted(names)


def test_an_unknown_column_is_answered_with_a_suggestion(runs: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown column 'moiu'; did you mean 'miou'\? Known: miou, "):
        results.sort(results.load(runs), "moiu")
