"""Every command does its job, shows an example, and speaks to scripts as asked."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import Result

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.core.formatting import percent
from ensemble.data import open_source as datasets
from ensemble.data.formats.npz import from_arrays
from ensemble.data.formats.source import ArraySource

Ens = Callable[..., Result]
TRAIN = ("--arch", "unet-baseline(filters=2, depth=1)", "--loss", "ce")
FAST = ("--epochs", "2", "--batch-size", "4", "--lr", "0.02", "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    """A copy of the folder with two members, to add to."""
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


COMMANDS = (
    *("quickstart", "train", "combine", "explain", "import-member", "results", "predict", "evaluate", "list"),
    *("compare", "study", "tune", "report", "track", "reproduce", "verify", "remove"),
    *("data summary", "data check", "data preview", "data next", "doctor", "bundle", "card", "pack"),
    *("refit", "distil"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(ens: Ens, command: str) -> None:
    result = ens(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example:  ens {command}" in " ".join(result.stdout.split("\n")).replace("\u2502", "")
    assert "\x1b" not in result.stdout


def test_help_lists_the_commands(ens: Ens) -> None:
    text = ens("--help").stdout
    names = {command.split()[0] for command in COMMANDS}
    assert all(name in text for name in names)
    assert "Start with:  ens quickstart" in text


def test_train_says_what_it_does_and_then_that_it_is_done(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    command = ("train", tiny_npz, *TRAIN, *FAST, "--out", tmp_path / "runs")
    result = ens(*command)
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "runs" / "members").iterdir()
    assert "tiny.npz: 24 images of 32x32, 1 band, 5 test images; soil, rock, ripples" in result.stdout
    assert "class 0 is void; 1" in result.stdout
    assert " % of the pixels carry no label" in result.stdout
    assert "12 groups (given groups)" in result.stdout
    assert "runs on cpu, fp32, " in result.stdout
    assert "M parameters, optimiser adamw (lr=0.02)" in result.stdout  # the network is too small for Muon
    assert "mIoU " in result.stdout
    assert result.stdout.splitlines()[-1] == str(path)
    assert "\x1b" not in result.output
    again = ens(*command)
    assert "already trained: same settings, same data; nothing to do" in again.stdout
    assert again.stdout.splitlines()[-1] == str(path)


def test_train_equals_the_function(ens: Ens, tiny_npz: Path, tiny_runs: Path, tmp_path: Path) -> None:
    result = ens("train", tiny_npz, *TRAIN, *FAST, "--out", tmp_path / "runs", "--quiet")
    path = Path(result.stdout.strip())
    assert (tiny_runs / "members" / path.name / "weights-f0.safetensors").read_bytes() == (
        path / "weights-f0.safetensors"
    ).read_bytes()


def test_every_option_of_train_arrives(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    options = "--loss focal(gamma=1.5) --augment none --epochs 1 --batch-size 3 --lr 0.01 --seed 5 --folds 2"
    more = "--split-seed 3 --background class --input-size 32x64 --keep best --tta d4 --device cpu --precision bf16"
    arch = "--arch unet(filters=2,depth=1)"
    result = ens("train", tiny_npz, *f"{arch} {options} {more}".split(), "--out", tmp_path / "r", "--json")
    content = json.loads(result.stdout)
    settings = read_json(Path(content["path"]) / "config.json")["settings"]
    assert settings["architecture"]["name"] == "unet"
    assert settings["architecture"]["options"] | {"filters": 2, "depth": 1} == settings["architecture"]["options"]
    assert (settings["loss"]["name"], settings["loss"]["options"]["gamma"]) == ("focal", 1.5)
    assert settings["data"] | {"folds": 2, "split_seed": 3, "background": "class"} == settings["data"]
    assert settings["optimiser"]["lr"] == 0.01
    expected = {"augmentation": "none", "epochs": 1, "batch_size": 3, "seed": 5, "keep": "best", "precision": "bf16"}
    assert settings | expected | {"tta": "d4", "input_size": [32, 64]} == settings
    assert content["scores"]["selected"] is True


def test_a_batch_that_the_data_cannot_fill_is_reported(
    ens: Ens, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.training import train as module

    def stop(*_: Any) -> None:
        raise EnsError("planned only")

    monkeypatch.setattr(module, "train_member", stop)
    command = ("train", tiny_npz, *TRAIN, *FAST, "--out", tmp_path / "runs")
    text = ens(*command, "--batch-size", "10000", "--sampler", "rare(per_batch=99)").stdout
    rows = text.split("a batch holds all ")[1].split(" ")[0]
    assert f"note    a batch holds all {rows} training images, fewer than batch_size 10000\n" in text
    assert "images with the rarest class per batch, not per_batch 99\n" in text
    assert "a batch holds" not in ens(*command).stdout


def test_the_plan_says_whether_the_split_is_given(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    options = ("--device", "cpu", "--arch", "unet-baseline(filters=2, depth=1)", "--dry-run", "--out", tmp_path / "r")
    assert "  split   hold-out of" in (new := ens("train", tiny_npz, *options).stdout)
    assert "as given" not in new
    ens("data", "split", tiny_npz, "--out", tmp_path / "s.csv")
    given = ens("train", tiny_npz, *options, "--split", tmp_path / "s.csv").stdout
    assert re.search(r"  split   hold-out of \d+ images as given, ", given), given
    said = ens("data", "split", tiny_npz, "--vault", "0.2", "--out", tmp_path / "v.csv").stdout
    aside = re.search(r"train: \d+ images, val: \d+ images, vault: (\d+) images", said)
    assert aside, said
    closed = ens("train", tiny_npz, *options, "--split", tmp_path / "v.csv").stdout
    assert re.search(rf"  split   hold-out of \d+ images as given, {aside[1]} images in the vault, ", closed), closed


def test_a_dry_run_says_what_training_takes_and_writes_nothing(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    options = ("--batch-size", "4", "--device", "cpu", "--arch", "unet-baseline(filters=2, depth=1)", "--dry-run")
    command = ("train", tiny_npz, *options, "--out", tmp_path / "runs")
    result = ens(*command, "--steps", "100")
    assert result.exit_code == 0, result.output
    rows = int(result.stdout.split("4 of ")[1].split(" ")[0])
    epochs = round(100 / (rows // 4))
    assert (
        f"  length  {epochs * (rows // 4)} steps: {epochs} epochs of {rows // 4} steps, 4 of {rows} training images"
        in (result.stdout)
    )
    assert re.search(
        r"  takes   about \d+ s \(a step took [\d.]+ s\), \d\.\d GB of memory and \d+ MB on disk\n", result.stdout
    )
    assert "groups: no interval can be trusted" in result.stdout
    assert result.stdout.endswith("nothing was trained or written; leave --dry-run out to train\n")
    found = json.loads(ens(*command, "--epochs", "7", "--json").stdout)
    assert (found["epochs"], found["epoch_steps"], found["steps"]) == (7, rows // 4, 7 * (rows // 4))
    assert found["state"] == "new"
    assert found["seconds"] > 0
    assert found["memory"] > 0
    short = ens(*command, "--budget", "0.001s").stdout
    assert f"  length  {rows // 4} steps: 1 epoch of {rows // 4} steps" in short
    assert "note    the budget of 0 s is too short: one epoch and the predictions take longer" in short
    assert list(tmp_path.iterdir()) == []


def test_a_budget_that_was_measured_before_training_is_not_measured_again(
    ens: Ens, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.training import member_writer

    monkeypatch.delattr(member_writer, "length_for_budget")
    budget = ("--budget", "0.1s", *FAST[2:])
    result = ens("train", tiny_npz, *TRAIN, *budget, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    settings = read_json(Path(result.stdout.splitlines()[-1]) / "config.json")["settings"]
    assert (settings["epochs"], settings["budget_seconds"]) == (1, 0.1)


def test_tta_copies_weights_and_says_so(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    (name,) = (path.name for path in (runs / "members").glob("unet-baseline-ce-*"))
    command = ("train", tiny_npz, *TRAIN, *FAST, "--out", runs, "--tta")
    result = ens(*command, "flips")
    assert "tta     flips: the mean over 4 views of every image" in result.stdout
    assert f"weights of {name}, which differs only in tta: only predictions are made" in result.stdout
    path = Path(result.stdout.splitlines()[-1])
    assert "weights of" not in ens(*command, "flips").stdout  # it is there
    made, asked = tmp_path / "made.npz", tmp_path / "asked.npz"
    ens("predict", path.name, tiny_npz, "--out", made, "--probabilities", "--runs", runs)
    told = ens(
        "predict", name, tiny_npz, "--out", asked, "--probabilities", "--runs", runs, "--tta", "flips", "--quiet"
    )
    assert told.stdout.strip() == f"5 masks in {asked}"
    with np.load(made) as one, np.load(asked) as other:
        assert one.files == other.files
        assert all(np.array_equal(one[key], other[key]) for key in one.files)
    for mistake, text in (
        (ens(*command, "flip"), "unknown value 'flip' for tta"),
        (ens("predict", name, tiny_npz, "--out", asked, "--runs", runs, "--tta", "f"), "test-time augmentation 'f'"),
    ):
        assert mistake.exit_code == 2
        assert text in mistake.stderr


def test_interrupted_training_is_reported_and_shown_when_resumed(
    ens: Ens, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.training.trainer import Trainer

    original = Trainer.step

    def step(self: Trainer, images: Any, labels: Any, number: int) -> Any:
        if number == 6 and self.job.checkpoint.name:  # not when steps are measured
            raise KeyboardInterrupt
        return original(self, images, labels, number)

    command = ("train", tiny_npz, *TRAIN, *FAST, "--out", tmp_path / "runs")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        result = ens(*command)
    assert result.exit_code == 130
    assert "interrupted; finished work is kept, and the same command resumes it" in result.stderr
    assert "resuming an interrupted run" in ens(*command).stdout


def test_combine_shows_weights_scores_and_a_verdict(ens: Ens, runs: Path) -> None:
    result = ens("combine", "--method", "average", "--folds", "2", "--runs", runs)
    assert result.exit_code == 0, result.output
    (path,) = (runs / "ensembles").iterdir()
    for text in ("average of 2 members", "0.500", "cross-fitted over 2 folds", "verdict:", "best member"):
        assert text in result.stdout
    assert result.stdout.splitlines()[-1] == str(path)
    assert (path / "examples.png").is_file()
    assert "\x1b" not in result.output


def test_combine_takes_names_and_weights(ens: Ens, runs: Path) -> None:
    names = [path.name for path in sorted((runs / "members").iterdir())]
    result = ens(
        "combine", names[1], names[0][:-2], "--method", "weighted(weights=[3, 1])", "--runs", runs, "--folds", "2",
        "--no-picture", "--json",
    )  # fmt: skip
    content = json.loads(result.stdout)
    config = read_json(Path(content["path"]) / "config.json")
    assert config["settings"]["members"] == [names[1], names[0]]
    assert config["settings"]["options"]["weights"] == [3, 1]
    assert not (Path(content["path"]) / "examples.png").exists()


def test_results_in_every_form(ens: Ens, runs: Path, tmp_path: Path) -> None:
    ens("combine", "--method", "average", "--folds", "2", "--runs", runs, "--quiet", "--no-picture")
    table = ens("results", "--runs", runs)
    assert all(text in table.stdout for text in ("average of 2", "unet-baseline", "mIoU %", "95 % interval", "ripples"))
    frame = pd.read_csv(io.StringIO(ens("results", "--runs", runs, "--format", "csv").stdout))
    assert sorted(frame["kind"]) == ["ensemble", "member", "member"]
    assert frame["miou"].is_monotonic_decreasing
    by_loss = json.loads(ens("results", "--runs", runs, "--sort", "log_loss", "--json").stdout)
    losses = [row["log_loss"] for row in by_loss]
    assert losses == sorted(losses)
    assert ens("results", "--runs", runs, "--format", "markdown").stdout.startswith("| name")
    written = ens("results", "--runs", runs, "--format", "parquet", "--out", tmp_path / "r.parquet")
    assert written.stdout.strip() == str(tmp_path / "r.parquet")
    assert len(pd.read_parquet(tmp_path / "r.parquet")) == 3


def test_predict_writes_masks_by_member_and_by_ensemble(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    ensemble = Path(ens("combine", "--folds", "2", "--runs", runs, "--quiet", "--no-picture").stdout.strip())
    result = ens("predict", ensemble.name[:9], tiny_npz, "--out", tmp_path / "p.npz", "--probabilities", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == f"5 masks in {tmp_path / 'p.npz'}"
    with np.load(tmp_path / "p.npz") as found:
        assert found["probabilities"].shape == (5, 3, 32, 32)
    member = next((runs / "members").iterdir())
    told = json.loads(ens("predict", member, tiny_npz, "--out", tmp_path / "png", "--json", "--device", "cpu").stdout)
    assert told == {"notes": [], "images": 5, "out": str(tmp_path / "png")}
    assert len(list((tmp_path / "png").glob("*.png"))) == 5


def test_quiet_is_one_line(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    member = next((runs / "members").iterdir())
    for command in (
        ("train", tiny_npz, *TRAIN, *FAST, "--out", runs),
        ("combine", "--runs", runs, "--folds", "2"),
        ("predict", member, tiny_npz, "--out", tmp_path / "x.csv"),
    ):
        result = ens(*command, "--quiet")
        assert result.exit_code == 0, result.output
        assert len(result.stdout.splitlines()) == 1
        assert result.stderr == ""


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("architectures", ["unet-baseline", "attention-unet", "linknet", "pspnet"]),
        ("losses", ["ce", "weighted-ce", "focal", "dice", "tversky", "unified"]),
        ("augmentations", ["none", "hflip", "vflip", "rotate90", "scale", "photometric", "flips", "geometric", "full"]),
        ("methods", ["average", "weighted", "learned"]),
        ("encoders", ["resnet18", "vgg11"]),
    ],
)
def test_list_shows_what_is_registered(ens: Ens, kind: str, names: list[str]) -> None:
    text, content = ens("list", kind).stdout, json.loads(ens("list", kind, "--json").stdout)
    found = [entry if isinstance(entry, str) else entry["name"] for entry in content]
    assert set(names) <= set(found)
    assert all(name in text for name in names)
    if kind == "losses":
        assert all(entry["summary"] for entry in content)
        assert "gamma=" in next(entry["options"] for entry in content if entry["name"] == "focal")


def test_data_summary_counts(ens: Ens, tiny_npz: Path) -> None:
    text = ens("data", "summary", tiny_npz).stdout
    assert "24 labelled, 5 unlabelled" in text
    assert "32x32, 1 band(s), uint8" in text
    assert "void (--background void)" in text
    content = json.loads(ens("data", "summary", tiny_npz, "--json", "--background", "class").stdout)
    assert content["classes"] == ["background", "soil", "rock", "ripples"]
    assert sum(content["pixel_shares"]) == pytest.approx(1)
    assert (content["groups"], content["void_share"], content["images"]) == (12, 0, 24)


def test_data_check_writes_a_list_that_train_takes(ens: Ens, tiny_arrays: dict[str, Any], tmp_path: Path) -> None:
    changed = {key: array.copy() for key, array in tiny_arrays.items()}
    changed["training_set"][7] = changed["training_set"][3]  # a copy
    changed["training_set"][9, 1] = 0
    changed["training_set"][9, 1, 5, :20] = 1  # hardly any label
    np.savez(tmp_path / "data.npz", **changed)
    result = ens("data", "check", tmp_path / "data.npz", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "data.npz: 24 images" in result.stdout
    assert "check members-disagree needs members" in result.stdout
    assert result.stdout.splitlines()[-1] == str(tmp_path / "out" / "suspects.csv")
    assert (tmp_path / "out" / "suspects.png").is_file()
    found = json.loads(ens("data", "check", tmp_path / "data.npz", "--out", tmp_path / "out", "--json").stdout)
    assert {(suspect["reason"], suspect["row"]) for suspect in found["suspects"]} >= {
        ("identical-image", 7),
        ("almost-void", 9),
    }
    exclude = f"{tmp_path / 'out' / 'suspects.csv'}:almost-void"
    words = ("train", tmp_path / "data.npz", *TRAIN, *FAST, "--exclude", exclude, "--out", tmp_path / "runs")
    result = ens(*words)
    assert "without 1 images in training" in result.stdout
    settings = read_json(Path(result.stdout.splitlines()[-1]) / "config.json")["settings"]
    assert settings["exclude"] == ["9"]
    again = ens("data", "check", tmp_path / "data.npz", "--out", tmp_path / "out", "--runs", tmp_path / "runs")
    assert "members-disagree needs" not in again.stdout


def test_data_preview_draws_an_augmentation(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    words = ("data", "preview", tiny_npz, "--augment", "flips + copy-paste", "--count", "3")
    result = ens(*words, "--out", tmp_path / "p.png", "--json")
    content = json.loads(result.stdout)
    assert content["augmentation"] == "flips + copy-paste(count=8, margin=2)"
    assert len(content["images"]) == 3
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    result = ens(*words, "--out", tmp_path / "p.jpg")
    assert result.exit_code == 2
    assert "expected a file name that ends in .png as --out" in result.output


def test_doctor_shows_what_training_will_use(ens: Ens) -> None:
    content = json.loads(ens("doctor", "--json").stdout)
    assert content["precision"] in ("fp32", "bf16")
    assert content["packages"]["torch"]
    text = ens("doctor").stdout
    assert content["reason"] in text
    assert "\x1b" not in text


def test_names_with_brackets_are_shown_as_they_are(ens: Ens, tiny_arrays: dict[str, Any], tmp_path: Path) -> None:
    odd = ["void", "soil [/wet]", "[red]rock", "a [b]"]
    arrays: dict[str, Any] = tiny_arrays | {"classes": np.array(odd)}
    np.savez(tmp_path / "odd.npz", **arrays)
    result = ens("train", tmp_path / "odd.npz", *TRAIN, *FAST, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    for text in (result.stdout, ens("data", "summary", tmp_path / "odd.npz").stdout):
        assert all(name in text for name in odd[1:])


@pytest.mark.slow
def test_quickstart_goes_the_whole_way(ens: Ens, tmp_path: Path) -> None:
    result = ens("quickstart", "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    for text in (
        "1/3 attention-unet(filters=16, depth=2, attention=gate) x unified",
        "3/3 pspnet x weighted-ce",
        "verdict:",
        "average of 3",
        "learned of 3",
    ):
        assert text in result.stdout
    assert len(list((tmp_path / "runs" / "members").iterdir())) == 3
    assert len(list((tmp_path / "runs" / "ensembles").iterdir())) == 2
    assert len(list((tmp_path / "runs" / "ensembles").glob("*/sample-masks/*.png"))) == 48
    assert len(list((tmp_path / "runs" / "ensembles").glob("*/examples.png"))) == 1
    scores = [read_json(path) for path in (tmp_path / "runs" / "members").glob("*/scores.json")]
    assert all(0.5 < score["miou"] < 0.9 for score in scores), scores


def test_quickstart_on_a_tiny_sample(
    ens: Ens, tiny_arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.cli import quickstart
    from ensemble.inference import open_images

    twice = np.concatenate([tiny_arrays["training_set"], tiny_arrays["training_set"][..., ::-1]])
    arrays = tiny_arrays | {"training_set": twice, "training_groups": np.arange(48)}

    def sample() -> ArraySource:
        return from_arrays(arrays, "sample")

    monkeypatch.setattr(datasets, "embedded_sample", sample)
    monkeypatch.setattr(open_images, "embedded_sample", sample)
    small = {"arch": "unet-baseline(filters=2, depth=1)", "epochs": 1}
    monkeypatch.setattr(quickstart, "MEMBERS", tuple(small | {"loss": loss} for loss in ("ce", "dice", "focal")))
    result = ens("quickstart", "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert "verdict:" in result.stdout
    assert "done in " in result.stdout.splitlines()[-1]
    assert len(list((tmp_path / "runs" / "ensembles").glob("*/sample-masks/*.png"))) == 5
    content = json.loads(ens("quickstart", "--out", tmp_path / "runs", "--json").stdout)
    assert Path(content["ensemble"]).is_dir()
    assert content["verdict"]


@pytest.mark.parametrize("kind", ["architectures", "losses", "methods", "augmentations", "samplers", "encoders"])
def test_no_list_is_wider_than_100_characters(ens: Ens, kind: str) -> None:
    assert max(len(line.rstrip()) for line in ens("list", kind).stdout.splitlines()) <= 100


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        (1, "(1 group: no interval can be trusted, hold-out)"),
        (2, "(2 groups: no interval can be trusted, hold-out)"),
        (10, "(95 % interval 20.0 to 70.0, hold-out)"),
    ],
)
def test_the_last_line_of_train_has_no_interval_from_few_groups(groups: int, text: str) -> None:
    from ensemble.cli.train import score_line

    scores = {"miou": 0.5, "miou_low": 0.2, "miou_high": 0.7, "iou": {"soil": 0.5}, "log_loss": 1.0}
    line = score_line({**scores, "protocol": "hold-out", "groups": groups}, (1,))
    assert f"mIoU 50.0 %[/] {text}; soil 50.0; log-loss 1.000" in line


def test_the_last_line_of_train_shows_the_foreground_of_two_classes() -> None:
    from ensemble.cli.train import score_line

    scores = {"miou": 0.5, "iou": {"class 0": 0.9, "cell": 0.1}, "dice_per_class": {"class 0": 0.95, "cell": 0.18}}
    more = {"miou_low": None, "miou_high": None, "log_loss": 1.0, "protocol": "hold-out", "groups": 3}
    line = score_line(scores | more, (0, 255))
    assert "; foreground 'cell': IoU 10.0, Dice 18.0; log-loss 1.000" in line


@pytest.mark.parametrize("command", ["train", "tune", "study", "quickstart", "import-member"])
def test_the_folder_of_runs_has_the_same_name_everywhere(ens: Ens, command: str, tmp_path: Path) -> None:
    text = ens(command, "--help").stdout
    assert "--runs" in text
    assert "--out" in text


def test_train_takes_runs_as_out(ens: Ens, tiny_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    texts = [
        ens("train", tiny_npz, "--arch", "unet-baseline", "--loss", "ce", option, tmp_path / "file" / "x").stderr
        for option in ("--out", "--runs")
    ]
    assert texts[0] == texts[1]
    assert str(tmp_path / "file") in texts[0]


def test_evaluate_prints_a_table_and_writes_a_row(ens: Ens, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    name = sorted((runs / "members").iterdir())[0].name
    command = ("evaluate", name, tiny_npz, "--runs", runs, "--device", "cpu")
    told = ens(*command, "--out", tmp_path / "scores.csv")
    assert told.exit_code == 0
    assert f"{name} on tiny.npz: " in told.stdout
    assert "class    IoU %  low  high  Dice %  ECE %  Brier" in told.stdout
    content = json.loads(ens(*command, "--json").stdout)
    counts = content["scores"]["objects"]["rock"]
    recall, right = (content["scores"][f"object_{each}_per_class"]["rock"] for each in ("recall", "precision"))
    shown = rf"rock +{counts['true']} +{percent(recall)} +{percent(right)} .*{counts['small']['found']} of "
    assert re.search(shown, told.stdout.replace("\n", " "))
    assert f"image-level mIoU {percent(content['scores']['image_miou'])} %" in told.stdout
    assert (content["model"], content["part"]) == (name, "validation")
    assert (tmp_path / "scores.csv").read_text().startswith("score,class,value,low,high\nmiou,,")
    again = ens(*command, "--out", tmp_path / "scores.csv")
    assert (again.exit_code, "exists; choose a new place" in again.stderr) == (2, True)
    table = json.loads(ens("results", "--runs", runs, "--where", "path == '" + content["path"] + "'", "--json").stdout)
    assert [row["part"] for row in table] == ["validation"]


def test_the_version(ens: Ens) -> None:
    told = ens("--version")
    assert told.exit_code == 0
    assert told.stdout.startswith("ens ")
