"""Plans: every mistake is found before a file is written, and a directory's name is a function of its content."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ensemble.architectures import ARCHITECTURES
from ensemble.config import TrainSettings
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import file_digest
from ensemble.runs.member import Member
from ensemble.training import member_writer
from ensemble.training.checkpoint import save_weights
from ensemble.training.length import Length
from ensemble.training.plan import Plan
from ensemble.training.train import plan_training


class Usage(NamedTuple):
    """What ``shutil.disk_usage`` returns."""

    total: int
    used: int
    free: int


def test_a_plan_is_complete_and_writes_nothing(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made = plan(batch_size=4)
    assert made.state == "new"
    assert made.settings.epochs == round(600 / (len(made.training_rows(0)) // 4))  # the default length is in steps
    assert made.settings.data.background == "void"
    options = {key: option.default for key, option in ARCHITECTURES.options("unet-baseline").items()}
    assert made.settings.architecture.options == options | {"filters": 2, "depth": 1}
    assert made.settings.architecture.origin == made.settings.loss.origin == "built-in"
    assert (made.settings.augmentation, made.settings.sampler) == ("hflip", "uniform")
    assert made.facts.classes == ("soil", "rock", "ripples")
    assert (made.facts.values, made.facts.outputs, made.facts.keras_ignored) == ((1, 2, 3), 3, None)
    assert (made.facts.bands, made.facts.height, made.facts.width) == (1, 32, 32)
    assert made.parameters > 0
    assert made.path.parent == tmp_path / "runs" / "members"
    assert re.fullmatch("unet-baseline-ce-s0-[0-9a-f]{6}", made.path.name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"arch": "unet-baselin"}, "unknown architecture 'unet-baselin'; did you mean 'unet-baseline'? Known: "),
        ({"loss": "dise"}, "unknown loss 'dise'; did you mean 'dice'? Known: "),
        ({"augment": "flip"}, "unknown augmentation 'flip'; did you mean 'flips'? Known: "),
        ({"arch": "unet-baseline(filter=2)"}, "unknown option 'filter' of architecture 'unet-baseline'; did you mean"),
        ({"arch": "unet-baseline(filters=two)"}, "expected a whole number for option filters of architecture"),
        ({"loss": "focal(gama=1)"}, "unknown option 'gama' of loss 'focal'; did you mean 'gamma'?"),
        ({"arch": "unet-baseline(encoder=resnet18)"}, "unknown option 'encoder' of architecture 'unet-baseline'"),
        ({"augment": "flips + cutmix(q=1)"}, "unknown option 'q' of augmentation 'cutmix'"),
        ({"augment": "gone.toml"}, "gone.toml"),
        ({"sampler": "rear"}, "unknown sampler 'rear'; did you mean 'rare'?"),
        ({"sampler": "rare(per_batch=0)"}, "expected per_batch of 1 or more"),
        ({"arch": "linknet(encoder=resnet81)"}, "unknown encoder 'resnet81'; did you mean"),
        (
            {"epochs": 2, "budget": 60.0},
            "expected one of steps, epochs and budget, got epochs and budget; each of them",
        ),
        ({"epochs": 2, "steps": 9}, "got steps and epochs; each of them says how long to train, so keep one"),
        ({"steps": 2, "epochs": 9, "budget": 1.0}, "got steps and epochs and budget"),
        ({"steps": 0}, "expected steps of at least 1, got 0"),
        ({"epochs": 0}, "expected epochs of at least 1, got 0"),
        ({"batch_size": 1}, "expected batch_size of at least 2, got 1"),
        ({"lr": -1.0}, "expected lr above 0, got -1.0"),
        ({"lr": float("nan")}, "expected lr to be a finite number, got nan"),
        ({"seed": -1}, "expected seed of at least 0, got -1"),
        ({"budget": 0.0}, "expected budget above 0, got 0.0"),
        ({"keep": "first"}, "unknown value 'first' for keep"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "fp16"}, "unknown precision 'fp16'; did you mean"),
    ],
)
def test_mistakes_are_reported_and_nothing_is_written(
    plan: Callable[..., Plan], tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(EnsError, match=re.escape(text)):
        plan(**changes)
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_is_an_option_of_the_architectures_that_have_one(plan: Callable[..., Plan]) -> None:
    made = plan(arch="linknet(encoder=resnet18)")
    assert made.settings.architecture.options["encoder"] == "resnet18"
    assert made.path == plan(arch=" linknet( encoder = resnet18 )").path


def test_the_name_does_not_depend_on_how_the_same_thing_is_said(
    plan: Callable[..., Plan], tiny_npz: Path, tmp_path: Path
) -> None:
    made = plan()
    shutil.copy(tiny_npz, tmp_path / "moved.npz")
    assert plan(data=tmp_path / "moved.npz").path == made.path
    assert plan(epochs=made.settings.epochs, lr=2e-3, augment="hflip").path == made.path  # the defaults, spelt out
    assert plan(steps=600).path == made.path
    assert plan(background="void").path == made.path
    assert plan(arch="unet-baseline(depth=1, filters=2)").path == made.path


def test_networks_from_random_weights_have_muon_if_it_would_change_something(plan: Callable[..., Plan]) -> None:
    arch = "unet-baseline(filters=16, depth=1)"
    muon, adamw = plan(arch=arch), plan(arch=arch, optimiser="adamw")
    assert (muon.settings.optimiser.name, muon.settings.optimiser.lr) == ("muon", 0.015)
    assert (adamw.settings.optimiser.name, adamw.settings.optimiser.lr) == ("adamw", 0.002)
    assert plan(arch=arch, optimiser="muon", lr=0.015).path == muon.path
    assert plan(arch=arch, lr=0.002).path not in (muon.path, adamw.path)
    assert plan().settings.optimiser.name == "adamw"  # its two filters
    assert plan(known=muon, arch=arch, optimiser="adamw").path == adamw.path
    assert plan(known=adamw, arch=arch).path == muon.path
    with pytest.raises(EnsError, match="expected a network with hidden layers of at least 16 channels"):
        plan(optimiser="muon")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"epochs": 29},
        {"budget": 60.0},
        {"batch_size": 8},
        {"lr": 1e-3},
        {"augment": "none"},
        {"augment": "flips + cutmix"},
        {"sampler": "rare"},
        {"sampler": "rare(per_batch=2)"},
        {"loss": "dice"},
        {"arch": "unet-baseline(filters=3, depth=1)"},
        {"keep": "best"},
        {"tta": "d4"},
        {"precision": "bf16"},
        {"split_seed": 1},
        {"folds": 3},
        {"val_fraction": 0.5},
        {"background": "class"},
        {"input_size": (32, 64)},
        {"input_scale": 2},
    ],
    ids=str,
)
def test_another_member_has_another_name(plan: Callable[..., Plan], changes: dict[str, Any]) -> None:
    assert plan(**changes).path.name != plan().path.name


def test_other_data_of_the_same_file_name_is_another_member(
    plan: Callable[..., Plan], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    changed = {key: array.copy() for key, array in tiny_arrays.items()}
    changed["training_set"][5, 0, 3, 3] ^= 1
    np.savez(tmp_path / "tiny.npz", **changed)
    assert plan(data=tmp_path / "tiny.npz").path.name != plan().path.name


@pytest.fixture
def suspects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of three suspects for two reasons."""
    path = tmp_path_factory.mktemp("check") / "suspects.csv"
    path.write_text("row,id,reason\n4,4,repeated-mask\n9,9,repeated-mask\n9,9,almost-void\n")
    return path


def test_excluded_images_are_not_trained_on_but_scored(plan: Callable[..., Plan], suspects: Path) -> None:
    whole, made = plan(folds=3), plan(folds=3, exclude=str(suspects))
    assert made.settings.exclude == ("4", "9")
    assert made.facts.split_hash == whole.facts.split_hash  # so that it can be combined with the others
    assert made.path.name != whole.path.name
    for fold in range(3):
        assert set(made.training_rows(fold).tolist()) == set(whole.training_rows(fold).tolist()) - {4, 9}
        assert made.split.validation[fold].tolist() == whole.split.validation[fold].tolist()
    assert plan(exclude=f"{suspects}:almost-void").settings.exclude == ("9",)


def test_images_excluded_from_the_score_are_in_neither_part(plan: Callable[..., Plan], suspects: Path) -> None:
    whole = plan(folds=3)
    made = plan(folds=3, exclude=str(suspects), exclude_from_score=True)
    assert (made.settings.exclude, made.settings.data.unscored) == ((), ("4", "9"))
    assert made.facts.split_hash != whole.facts.split_hash
    assert set(made.split.scored.tolist()) == set(range(24)) - {4, 9}
    for fold in range(3):
        assert set(made.training_rows(fold).tolist()) == set(whole.training_rows(fold).tolist()) - {4, 9}
    with pytest.raises(EnsError, match="exclude_from_score needs exclude"):
        plan(exclude_from_score=True)
    suspects.write_text(suspects.read_text() + "7,7,members-disagree\n")
    with pytest.raises(EnsError, match="a score without the images that the members get wrong is too high"):
        plan(exclude=str(suspects), exclude_from_score=True)
    assert plan(exclude=str(suspects)).settings.exclude == ("4", "7", "9")


def test_a_class_that_only_excluded_images_hold_is_reported(
    plan: Callable[..., Plan], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    changed = {key: array.copy() for key, array in tiny_arrays.items()}
    masks = changed["training_set"][:, 1]
    masks[masks == 3] = 2
    masks[:4, :4, 20:] = 3
    np.savez(tmp_path / "rare.npz", **changed)
    (tmp_path / "list.csv").write_text("id\n0\n1\n2\n3\n")
    with pytest.raises(EnsError, match="the class 'ripples' has no labelled pixel in the training images; "):
        plan(data=tmp_path / "rare.npz", exclude=str(tmp_path / "list.csv"))


def test_encoder_weights_count_by_their_content(plan: Callable[..., Plan], tmp_path: Path) -> None:
    encoder = ARCHITECTURES.create("linknet", 1, 3).get_submodule("network.encoder")
    files = [tmp_path / name for name in ("one.safetensors", "moved.safetensors", "other.safetensors")]
    for file in files[:2]:
        save_weights(file, encoder.state_dict())
    save_weights(files[2], {name: tensor * 2 for name, tensor in encoder.state_dict().items()})
    one, moved, other = (plan(arch=f"linknet(encoder_weights={file})") for file in files)
    assert one.settings.architecture.options["encoder_weights"] == str(files[0])
    assert one.settings.pretrained == file_digest(files[0])
    assert one.path == moved.path
    assert len({one.path, other.path, plan(arch="linknet").path}) == 3


def test_encoder_weights_of_a_package_count_by_their_name(plan: Callable[..., Plan]) -> None:
    encoder, weights = "encoder=tu-tf_efficientnet_lite0", "encoder_weights=package:efficientnet-lite0"
    packaged, random = plan(arch=f"linknet({encoder}, {weights})"), plan(arch=f"linknet({encoder})")
    assert packaged.settings.pretrained == "package:efficientnet-lite0"
    assert packaged.path != random.path


@pytest.mark.parametrize(
    ("arch", "text"),
    [
        ("linknet(encoder_weights=package:efficientnet-lite0)", "got resnet18; write encoder=tu-tf_efficientnet_lite0"),
        ("linknet(encoder_weights=gone.pt)", r"or an existing file .*, got 'gone\.pt'"),
    ],
)
def test_unfit_encoder_weights_are_found_before_training(plan: Callable[..., Plan], arch: str, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        plan(arch=arch)


@pytest.mark.parametrize("blocked", ["runs", "runs/members"])
def test_a_file_in_the_way_is_found_before_training(plan: Callable[..., Plan], tmp_path: Path, blocked: str) -> None:
    file = tmp_path / blocked
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    with pytest.raises(EnsError, match=rf"expected a folder that can be written for .*, but {file} is not; choose"):
        plan()
    assert file.read_text() == "mine"


def test_a_full_disk_is_found_before_training(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12, 5_000_000))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(EnsError, match=r"expected 2\d MB of free disk for this member, got 5 MB in .*; free disk"):
        plan()
    assert list(tmp_path.iterdir()) == []


def test_more_folds_need_more_disk(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def needs(**changes: Any) -> float:
        with pytest.raises(EnsError) as caught:
            plan(**changes)
        return float(str(caught.value).split()[1])

    monkeypatch.setattr(shutil, "disk_usage", lambda path: seen.append(1) or Usage(1, 1, 0))  # pyright: ignore[reportUnknownLambdaType]
    wide = "unet-baseline(filters=64, depth=3)"
    assert needs(folds=10, arch=wide) > needs(arch=wide) + 20


def test_training_leaves_out_images_that_are_void_throughout(
    plan: Callable[..., Plan], tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    changed = {key: array.copy() for key, array in tiny_arrays.items()}
    changed["training_set"][4:8, 1] = 0
    np.savez(tmp_path / "void.npz", **changed)
    made = plan(data=tmp_path / "void.npz", folds=3)
    for fold in range(3):
        rows, all_rows = made.training_rows(fold), made.split.training(fold)
        assert set(rows.tolist()) == set(all_rows.tolist()) - {4, 5, 6, 7}
        assert made.job(fold, 2).training_rows.tolist() == rows.tolist()


def test_the_job_of_a_fold_never_trains_on_what_it_validates(plan: Callable[..., Plan]) -> None:
    made = plan(folds=3, batch_size=4)
    jobs = [made.job(fold, 5) for fold in range(3)]
    for job in jobs:
        assert not set(job.training_rows.tolist()) & set(job.validation_rows.tolist())
        assert len(job.training_rows) + len(job.validation_rows) == 24
        assert (job.epochs, job.steps) == (5, len(job.training_rows) // 4)
    assert sorted(row for job in jobs for row in job.validation_rows.tolist()) == list(range(24))
    assert len({job.checkpoint for job in jobs}) == 3


def test_the_epochs_measured_are_stored_once_and_do_not_change_the_name(
    train_tiny: Callable[..., Member], plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(task: str, done: int, total: int, note: str = "", /) -> None:
        if task == "training" and done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(member_writer, "length_for_budget", lambda plan, progress: Length(2))  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", epochs=None, budget="1m", progress=stop)
    monkeypatch.delattr(member_writer, "length_for_budget")  # measured once: a resumed run must not measure again
    member = train_tiny(tmp_path / "runs", epochs=None, budget="60s")
    assert (member.settings.epochs, member.settings.budget_seconds) == (2, 60.0)
    assert member.settings.directory_name(member.facts.data_hash + member.facts.split_hash) == member.name
    assert len(list((tmp_path / "runs" / "members").iterdir())) == 1


def test_network_and_loss_have_a_default(tiny_npz: Path, tmp_path: Path) -> None:
    made = plan_training({"data": tiny_npz, "out": tmp_path / "runs"})
    defaults = TrainSettings()
    assert (made.settings.architecture.name, made.settings.loss.name) == (defaults.arch, defaults.loss)


def test_wrong_names_are_value_errors() -> None:
    assert issubclass(UnknownName, ValueError)
