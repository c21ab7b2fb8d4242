"""``ens import-member``: what it prints, and how ``ens combine`` and ``ens predict`` treat the imported member."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from ensemble.runs.member import Member

Ens = Callable[..., Result]


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.fixture
def predictions(tiny_runs: Path, tmp_path: Path) -> Path:
    """The stored probabilities of a member in a file of another tool, with one image that the member lacks."""
    store = Member.open(next((tiny_runs / "members").glob("unet-baseline-ce-*"))).store()
    ((_, probs, _),) = store.batches()
    ids = [*store.ids, "elsewhere"]
    np.savez_compressed(
        tmp_path / "other tool.npz", probabilities=np.concatenate([probs, probs[:1]]), ids=np.array(ids)
    )
    return tmp_path / "other tool.npz"


def test_a_file_becomes_a_member_that_is_combined(ens: Ens, runs: Path, predictions: Path, tiny_npz: Path) -> None:
    arguments = (
        "import-member",
        predictions,
        "--name",
        "deeplab",
        "--data",
        tiny_npz,
        "--runs",
        runs,
        "--loss",
        "dice",
    )
    result = ens(*arguments)
    assert result.exit_code == 0
    text = result.stdout
    assert "hold-out images, split of unet-baseline-" in text
    assert "'probabilities' of other tool.npz (npz): probabilities of scored classes soil, rock, ripples" in text
    assert "1 prediction of other images is ignored" in text
    assert "trust   the score is honest only if the tool did not train on these images" in text
    assert "mIoU" in text
    assert "already imported" not in text
    path = Path(text.splitlines()[-1])
    assert path.name.startswith("deeplab-")
    again = ens(*arguments)
    assert "already imported: same predictions, same data; nothing to do" in again.stdout
    assert again.stdout.splitlines()[-1] == str(path)
    assert path.name in ens("results", "--runs", runs).stdout
    combined = ens("combine", "deeplab", "unet-baseline-dice", "--method", "average", "--runs", runs, "--no-picture")
    assert combined.exit_code == 0
    assert path.name in combined.stdout
    for model in ("deeplab", "average-2"):
        refused = ens("predict", model, tiny_npz, "--runs", runs, "--out", runs / "maps")
        assert refused.exit_code == 2
        assert f"error: {path.name} was imported as probabilities and has no network" in refused.stderr
    assert not (runs / "maps").exists()


def test_another_order_of_the_classes_is_said(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    labels = np.load(tiny_npz)["training_set"][:, 1].astype(int)  # 0 is void
    probs = np.full((len(labels), 3, *labels.shape[1:]), 0.1, np.float32)
    for channel, value in enumerate((2, 1, 3)):
        probs[:, channel][labels == value] = 0.8
    probs[:, 0][labels == 0] = 0.8
    np.savez(tmp_path / "p.npz", probabilities=probs, rows=np.arange(len(labels)))
    result = ens("import-member", tmp_path / "p.npz", "--name", "x", "--data", tiny_npz, "--runs", runs)
    assert result.exit_code == 0, result.output
    assert "in the order rock, soil, ripples the predictions have a mean IoU of 100.0 %, in place of" in result.stdout


def test_json_and_the_options_of_training(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", logits=np.zeros((24, 4, 32, 32), np.float32), rows=np.arange(24))
    shared = ("--name", "x", "--data", tiny_npz, "--runs", runs, "--folds", "3")
    result = ens("import-member", tmp_path / "all.npz", *shared, "--split-seed", "5", "--background", "class", "--json")
    printed = json.loads(result.stdout)
    member = Member.open(Path(printed["path"]))
    assert printed["scores"]["protocol"] == "out-of-fold"
    data = member.settings.data
    assert (data.folds, data.split_seed, data.background) == (3, 5, "class")
    assert member.facts.classes == ("background", "soil", "rock", "ripples")
    quiet = ens("import-member", tmp_path / "all.npz", *shared, "--quiet")
    assert len(quiet.stdout.splitlines()) == 1
    assert Path(quiet.stdout.strip()) != member.path


def test_a_mistake_is_one_line(ens: Ens, runs: Path, predictions: Path, tiny_npz: Path) -> None:
    before = {*runs.rglob("*")}
    shared = ("import-member", predictions, "--name", "x", "--data", tiny_npz, "--runs", runs)
    for more, text in (
        (("--folds", "1"), "expected folds of at least 2, got 1"),
        (("--val-fraction", "0.5", "--like", "unet"), "expected either settings of the split or like unet, got both"),
        (("--logits",), "calls its array 'probabilities', but logits was given"),
        (("--folds", "3"), "of the 24 validation images have no prediction in"),
    ):
        result = ens(*shared, *more)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert len(result.stderr.splitlines()) == 1
        assert text in result.stderr
    assert {*runs.rglob("*")} == before


def test_weights_become_a_member_that_predicts(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    own = Member.open(next((runs / "members").glob("unet-baseline-ce-*")))
    file = Path(shutil.copy(own.path / "weights-f0.safetensors", tmp_path / "mine.safetensors"))
    shared = ("import-member", file, "--data", tiny_npz, "--runs", runs)
    network = ("--arch", "unet-baseline(filters=2, depth=1)", "--precision", "fp32")
    result = ens(*shared, *network, "--trained-on", "none")
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "6 images of the hold-out, split of unet-baseline-" in text
    assert "tensors, all used" in text.split("weights mine.safetensors: ")[1]
    assert "claim no image of these data was in its training; nobody can check that" in text
    path = Path(result.stdout.splitlines()[-1])
    assert path.name.startswith("mine-")
    assert "already imported: same weights" in ens(*shared, *network, "--trained-on", "none").stdout
    alike = " ".join(ens(*shared, *network, "--trained-on", "none", "--name", "again").stdout.split())
    assert f"note {own.name} has the same predictions, so an ensemble of both would count them twice" in alike
    assert "`ens remove again-" in alike
    assert ens("predict", path.name, tiny_npz, "--runs", runs, "--out", tmp_path / "masks").exit_code == 0
    assert len(list((tmp_path / "masks").glob("*.png"))) == 5
    other = (*shared, *network, "--mean", "0.5", "--std", "0.25", "--name", "half")
    assert "same predictions, so" not in ens(*other).stdout
    printed = json.loads(ens(*other, "--json").stdout)
    assert printed["scores"]["protocol"] == "hold-out, claimed"
    assert Path(printed["path"]).name.startswith("half-")


def test_options_of_the_other_kind_are_refused(ens: Ens, runs: Path, tiny_npz: Path, predictions: Path) -> None:
    before = {*runs.rglob("*")}
    shared = ("--data", tiny_npz, "--runs", runs)
    for files, more, text in (
        (("net.pth",), (), "expected --arch with the architecture of net.pth"),
        (("net.pth",), ("--arch", "unet"), "expected an existing file of weights (.pth, .pt or .safetensors), got net"),
        (("net.pth",), ("--ids", "ids.csv"), "--ids goes with predictions, but net.pth holds a trained network"),
        ((predictions,), ("--trained-on", "none"), "--trained-on goes with a trained network, but"),
        ((predictions,), ("--input-size", "64x64"), "--input-size goes with a trained network, but"),
        ((predictions, predictions), (), "expected one file or folder of predictions, got 2"),
        (
            ("net.pth",),
            ("--mean", "0.4;grey"),
            "expected numbers for --mean, such as 0.485,0.456,0.406, got '0.4;grey'",
        ),
    ):
        result = ens("import-member", *files, *shared, *more)
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 1
        assert text in result.stderr
    assert {*runs.rglob("*")} == before
