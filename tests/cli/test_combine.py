"""``ens combine`` with methods, calibration, decisions and choice of members, on simulated members."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ensemble.cli.combine_tables import optimism
from ensemble.combining.compare_methods import summarise
from ensemble.combining.registry import variants
from ensemble.core.files import read_json
from ensemble.evaluation.caveats import too_few_groups
from tests.conftest import simulated_world

Ens = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path, make_member: Callable[..., Any]) -> Path:
    """Three simulated members of rising quality."""
    for index, quality in enumerate((0.5, 1.0, 2.0)):
        make_member(tmp_path, f"net{index}", quality=quality)
    return tmp_path


def test_everything_at_once_is_shown_and_saved(ens: Ens, runs: Path) -> None:
    result = ens(
        "combine", "--method", "greedy(bags=4, steps=6)", "--calibrate", "both",
        "--decide", "offsets", "--top", "2", "--folds", "3", "--runs", runs,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    for text in (
        "greedy of 3 members",
        "temperature after pooling ",
        "offsets soil ",
        "images of the fit (in-sample) ",
    ):
        assert text in result.stdout
    assert "net0" in result.stdout  # the member left out by --top is shown with its weight of 0
    (path,) = (runs / "ensembles").iterdir()
    settings = read_json(path / "config.json")["settings"]
    assert settings["options"] == {"bags": 4, "steps": 6}
    assert (settings["calibrate"], settings["decide"], settings["top"]) == ("both", "offsets", 2)
    assert read_json(path / "config.json")["pool"]["weights"][0] == [0, 0, 0, 0]


@pytest.mark.parametrize("source", ["validation", "images"])
def test_deciding_for_the_metric_is_shown_saved_and_named(ens: Ens, runs: Path, source: str) -> None:
    result = ens(
        "combine", "--method", "average", "--decide", "expected-iou", "--decide-from", source, "--no-picture",
        "--folds", "3", "--runs", runs,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "decided for the expected mean IoU: expected IoU %: soil " in result.stdout
    (path,) = (runs / "ensembles").iterdir()
    content = read_json(path / "config.json")
    assert (content["settings"]["decide"], content["settings"]["decide_from"]) == ("expected-iou", source)
    assert content["pool"]["decision"]["score"] == "iou"
    assert len(content["pool"]["decision"]["sizes"]) == 4
    more = ", decide from images" if source == "images" else ""
    assert read_json(path / "scores.json")["verdict"]["method"] == f"average, decide expected-iou{more}"


def test_what_an_ensemble_that_changed_loses_is_named(ens: Ens, runs: Path) -> None:
    command = ("combine", "--method", "average", "--no-picture", "--folds", "2", "--runs", runs)
    ens(*command)
    (path,) = (runs / "ensembles").iterdir()
    (path / "explain").mkdir()
    assert "removed" not in ens(*command).stdout
    assert (path / "explain").is_dir()
    (path / "status.json").write_text("{}")
    assert "removed, because the ensemble has changed: explain\n" in ens(*command).stdout
    assert not (path / "explain").exists()


def test_auto_says_what_it_chose(ens: Ens, runs: Path) -> None:
    result = ens("combine", "--method", "auto", "--folds", "2", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "auto chose " in result.stdout
    assert " of 2 folds)" in result.stdout


def test_keeping_as_many_as_there_are_is_no_other_ensemble(ens: Ens, runs: Path) -> None:
    plain = json.loads(ens("combine", "--method", "learned", "--json", "--runs", runs).stdout)
    many = json.loads(ens("combine", "--method", "learned", "--top", "9", "--json", "--runs", runs).stdout)
    assert many["path"] == plain["path"]
    assert len(list((runs / "ensembles").iterdir())) == 1


def test_drop_leaves_members_out(ens: Ens, runs: Path) -> None:
    result = ens("combine", "--method", "average", "--drop", "net0", "--folds", "2", "--runs", runs, "--json")
    content = json.loads(result.stdout)
    members = read_json(Path(content["path"]) / "config.json")["settings"]["members"]
    assert [name[:4] for name in members] == ["net1", "net2"]


@pytest.mark.parametrize("size", ["auto", "3"])
def test_the_smallest_objects_are_shown_and_saved(ens: Ens, runs: Path, size: str) -> None:
    command = ("combine", "--method", "average", "--smallest-object", size, "--no-picture", "--runs", runs)
    result = ens(*command, "--folds", "3")
    assert result.exit_code == 0, result.output
    assert "smallest object in pixels: soil " in result.stdout
    assert ("nothing was fitted" in result.stdout) == (size == "3")
    (path,) = (runs / "ensembles").iterdir()
    assert str(read_json(path / "config.json")["settings"]["smallest_object"]) == size
    assert read_json(path / "scores.json")["verdict"]["method"] == f"average, smallest object {size}"
    assert f"argmax, smallest object {size}" in ens("results", "--runs", runs, "--format", "csv").stdout


def test_a_wrong_smallest_object_is_refused(ens: Ens, runs: Path) -> None:
    result = ens("combine", "--smallest-object", "large", "--runs", runs)
    assert result.exit_code == 2
    assert "expected auto or a number of pixels from 2 to 1024 as the smallest object, got large" in result.output


def test_a_table_of_weights_is_taken_and_shown(ens: Ens, runs: Path) -> None:
    table = runs / "w.csv"
    table.write_text("member,weight\nnet2,3\nnet0,1\n")
    result = ens("combine", "--weights", table, "--no-picture", "--folds", "2", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "weighted of 2 members" in result.stdout
    assert "of them used" not in result.stdout
    assert "nothing was fitted" in result.stdout
    (path,) = (runs / "ensembles").iterdir()
    settings = read_json(path / "config.json")["settings"]
    assert [name[:4] for name in settings["members"]] == ["net2", "net0"]
    assert settings["options"] == {"weights": [3, 1]}
    table.write_text("member,weight\nnet2,3\nnet0,1\nnet1,0\n")
    result = ens("combine", "--weights", table, "--no-picture", "--folds", "2", "--runs", runs)
    assert "weighted of 3 members, 2 of them used" in result.stdout
    result = ens("combine", "--all-methods", "--weights", table, "--folds", "2", "--runs", runs)
    assert "note: --all-methods compares all methods, so --weights " in result.stdout


@pytest.mark.parametrize(
    ("honest", "in_sample", "words"),
    [
        (0.0860, 0.0864, "8.6 %, not higher"),
        (0.0864, 0.0866, "8.7 %, 0.1 points higher"),
        (0.50, 0.49, "49.0 %, not higher"),
    ],
)
def test_the_score_on_the_images_of_the_fit_is_compared_as_it_is_shown(
    honest: float, in_sample: float, words: str
) -> None:
    text = optimism({"miou": honest, "in_sample": {"miou": in_sample}})
    assert text == f"on the images of the fit (in-sample) {words}"


def test_differences_of_classes_that_few_groups_hold_are_marked(
    ens: Ens, tmp_path: Path, make_member: Callable[..., Any], make_world: Callable[..., Any]
) -> None:
    for name, quality in (("unet", 2.0), ("linknet", 1.0)):
        make_member(tmp_path, name, quality=quality, world=make_world(images=40))
    text = ens("combine", "--method", "average", "--no-picture", "--runs", tmp_path).stdout
    (path,) = (tmp_path / "ensembles").iterdir()
    verdict = read_json(path / "scores.json")["verdict"]["per_class"]["method - member"]
    assert [name for name, one in verdict.items() if one["few_groups"]] == ["big rock"]
    assert f"~{100 * verdict['big rock']['difference']:+.2f} (" in text
    assert f" {100 * verdict['soil']['difference']:+.2f} (" in text
    assert "\n~ fewer than 20 groups hold the class" in text


def test_all_methods_are_compared_and_nothing_is_saved(ens: Ens, runs: Path) -> None:
    result = ens("combine", "--all-methods", "--method", "greedy(bags=3)", "--folds", "2", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "note: --all-methods compares all methods, so --method greedy(bags=3) is not used\n" in result.stdout
    for method, _ in variants():
        assert f"\n{method}" in result.stdout
    columns = ("method", "mIoU %", "95 % interval", "in-sample", "log-loss", "ECE %", "- average", "- best member")
    for column in (*columns, "seconds"):
        assert column in result.stdout
    assert "best member" in result.stdout
    shown = " ".join(result.stdout.split())
    assert "in brackets: what auto chose on all images, and in how many folds it chose the same" in shown
    assert f"{len(variants())} variants so far judged on these validation images: those of this table" in shown
    assert not (runs / "ensembles").exists()
    more = " ".join(ens("combine", "--method", "greedy(bags=3)", "--no-picture", "--runs", runs).stdout.split())
    looks = f"{len(variants()) + 1} variants so far judged on these validation images; the intervals account for this"
    assert f"{looks} one only" in more


def test_all_methods_of_few_groups_have_no_interval(ens: Ens, tmp_path: Path, make_member: Callable[..., Any]) -> None:
    world = simulated_world(images=8)
    for name in ("net0", "net1"):
        make_member(tmp_path, name, world=world)
    shown = ens("combine", "--all-methods", "--folds", "2", "--runs", tmp_path).stdout
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("learned ")]
    assert row[2] == "-"
    assert "- to -" not in shown


def test_all_methods_end_with_what_to_do() -> None:
    def rows(**low: float | None) -> list[dict[str, Any]]:
        return [{"method": name.replace("_", " "), "difference_low": value} for name, value in low.items()]

    again = "instead of --all-methods: its verdict says whether to use it or the best member."
    assert summarise(rows(greedy=-0.1, learned=0.1, stacking=None, best_member=-0.1), 20) == (
        "Highest mIoU: greedy. Proven better than the plain average: learned. Repeat the command with --method"
        f' "learned" {again}'
    )
    assert summarise(rows(greedy=-0.1, learned=0, best_member=0.1), 20) == (
        "Highest mIoU: greedy. No method is proven better than the plain average. The best member alone is. Repeat the"
        f' command with --method "average" {again}'
    )
    assert summarise(rows(greedy=0.1, best_member=0.1), 5) == f"Highest mIoU: greedy. {too_few_groups(5)}"


def test_all_methods_as_json_and_quiet(ens: Ens, runs: Path) -> None:
    common = ("combine", "--all-methods", "--drop", "net0", "--folds", "2", "--runs", runs)
    rows = json.loads(ens(*common, "--json").stdout)
    assert len(rows) == len(variants()) + 1
    assert rows[-1]["method"] == "best member"
    assert rows[-1]["log_loss"] is None
    quiet = ens(*common, "--quiet")
    assert quiet.stdout.strip() == rows[0]["method"]


def test_help_shows_examples_and_every_option(ens: Ens) -> None:
    text = ens("combine", "--help").stdout
    for option in (
        "--method",
        "--folds",
        "--calibrate",
        "--decide",
        "--decide-from",
        "--top",
        "--drop",
        "--all-methods",
        "Example:",
    ):
        assert option in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--calibrate", "pol"), "unknown calibration 'pol'; did you mean 'pool'?"),
        (
            ("--decide-from", "images"),
            "expected decide expected-iou or expected-dice with decide_from images, got argmax",
        ),
        (("--decide-from", "image"), "unknown source of the decision 'image'; did you mean 'images'?"),
        (("--decide", "argmx"), "unknown decision 'argmx'; did you mean 'argmax'?"),
        (
            ("--method", "learned(objective=log)"),
            "unknown value 'log' for option objective of method 'learned'; did you mean",
        ),
        (("--method", "learned(objective)"), "expected the options of method 'learned' as name=value, got 'objective'"),
        (("--method", "weighted(weights=[1, 2, 3])", "--top", "2"), "expected either weights or top, got both"),
        (
            ("--method", "greedy(bags=0)"),
            "expected option bags of method 'greedy' to be at least 1, got 0; pass 1 or more",
        ),
        (
            ("--method", "greedy(steps=-2)"),
            "expected option steps of method 'greedy' to be at least 1, got -2; pass 1 or",
        ),
        (
            ("--method", "greedy(seed=-1)"),
            "expected option seed of method 'greedy' to be at least 0, got -1; pass 0 or",
        ),
        (
            ("--method", "auto(folds=1)"),
            "expected option folds of method 'auto' to be at least 2, got 1; pass 2 or more",
        ),
        (
            ("--method", "stacking(strength=-1)"),
            "option strength of method 'stacking' to be at least 0, got -1; pass 0",
        ),
        (
            ("--method", "per-class(strength=-1)"),
            "option strength of method 'per-class' to be at least 0, got -1; pass",
        ),
        (("--drop", "net9"), "unknown member 'net9'"),
        (("--drop", "net0", "--drop", "net1"), "expected at least two members to combine, got 1"),
        (("--keep-gain", "0.5"), "expected --cascade with --keep-gain, got --keep-gain alone; add --cascade"),
        (("--within-by", "miou"), "expected --within with --within-by, got --within-by alone; add a budget"),
        (("--within", "9s", "--within-by", "iou"), "unknown criterion 'iou'"),
        (("--all-methods", "--calibrate", "all"), "unknown calibration 'all'"),
    ],
    ids=" ".join,
)
def test_mistakes_are_one_sentence(ens: Ens, runs: Path, options: tuple[str, ...], text: str) -> None:
    result = ens("combine", *options, "--runs", runs)
    assert result.exit_code == 2
    assert text in result.stderr
    assert not (runs / "ensembles").exists()
