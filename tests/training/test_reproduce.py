"""Reproduction: the same bits, or the differences and their causes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_bytes, write_json
from ensemble.core.progress import no_progress
from ensemble.runs.member import Member
from ensemble.runs.store import Store, StoreWriter
from ensemble.training import reproduce as module
from ensemble.training.reproduce import (
    _store_apart,  # pyright: ignore[reportPrivateUsage]
    compare,
    reproduce,
)
from tests.conftest import SIZES

Train = Callable[..., Member]
Content = Callable[[Path], dict[str, object]]


@pytest.fixture(scope="module")
def trained(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member of two folds, in bf16 and deterministic mode."""
    wish: dict[str, Any] = {"folds": 2, "precision": "bf16", "deterministic": True, "augment": "full", "epochs": 1}
    return train_tiny(tmp_path_factory.mktemp("trained") / "runs", **wish).path


@pytest.fixture
def member(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs" / "members" / trained.name))


def rewrite(path: Path, name: str, content: Any) -> None:
    """Change a file of a member and its checksum, as if training had written it so."""
    write_bytes(path / name, content) if isinstance(content, bytes) else write_json(path / name, content)
    status = read_json(path / "status.json")
    files = status["files"] | {name: file_digest(path / name)}
    write_json(path / "status.json", sealed(status | {"files": files}))


def test_the_same_bits_come_out_in_a_temporary_folder_that_goes(
    member: Path, content_of: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    before, tasks = content_of(member), set[str]()
    found = reproduce(member, progress=lambda task, *_: tasks.add(task))
    assert found.exact
    assert (found.files, found.weights, found.pixels, found.scores_apart, found.epoch) == ((), 0, 0, 0, None)
    assert (found.name, found.path, found.environment) == (member.name, None, {})
    assert set(found.scores) == {"miou", "pixel_accuracy", "log_loss", "ece", "iou soil", "iou rock", "iou ripples"}
    assert {"training fold 1 of 2", "training fold 2 of 2"} <= tasks
    assert content_of(member) == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_the_repetition_is_kept_and_resumed(
    member: Path, content_of: Content, interrupt: Callable[[str, int], Any], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        reproduce(member, out=tmp_path / "again", progress=interrupt("training fold 2 of 2", 1))
    found = reproduce(member, out=tmp_path / "again")
    assert found.exact
    assert found.path == tmp_path / "again" / "members" / member.name
    assert found.path is not None
    assert content_of(found.path) == content_of(member)
    ticks: list[str] = []
    assert reproduce(member, out=tmp_path / "again", progress=lambda task, *_: ticks.append(task)).exact
    assert not any(task.startswith("training") for task in ticks)  # it is there


def test_how_far_apart_two_members_are(member: Path, trained: Path) -> None:
    weights = load_file(member / "weights-f1.safetensors")
    name = max(weights, key=lambda name: weights[name].size)
    largest = np.abs(weights[name]).argmax()
    weights[name].flat[largest] *= np.float32(1.25)
    rewrite(member, "weights-f1.safetensors", b"")
    save_file(weights, member / "weights-f1.safetensors")
    rewrite(member, "weights-f1.safetensors", (member / "weights-f1.safetensors").read_bytes())
    scores = read_json(member / "scores.json")
    rewrite(member, "scores.json", scores | {"miou": scores["miou"] + 0.125, "ece": None})
    history = (member / "history.csv").read_text().splitlines()
    cells = history[2].split(",")
    cells[3] = "9.5"
    rewrite(member, "history.csv", "\n".join([*history[:2], ",".join(cells), *history[3:]]).encode())
    environment = read_json(member / "environment.json")
    changed = environment | {"cpu": "Z80", "packages": {**environment["packages"], "torch": "1"}}
    rewrite(member, "environment.json", changed)
    found = compare(Member.open(trained), Member.open(member))
    assert not found.exact
    assert found.files == ("weights-f1.safetensors",)
    assert found.weights == pytest.approx(0.25, rel=1e-6)
    assert found.scores["miou"] == (scores["miou"], scores["miou"] + 0.125)
    assert found.scores_apart == np.inf  # one has no calibration error
    assert found.epoch == (2, 1)
    assert found.environment == {"cpu": (environment["cpu"], "Z80"), "torch": (environment["packages"]["torch"], "1")}


def test_pixels_that_change_class_are_counted(make_member: Callable[..., Member], tmp_path: Path) -> None:
    one = make_member(tmp_path / "one")
    probs = np.concatenate([probs for _, probs, _ in one.store().batches()])
    labels = np.concatenate([labels for _, _, labels in one.store().batches() if labels is not None])
    changed = probs.copy()
    changed[0] = changed[0, [1, 2, 3, 0]]  # every pixel of the first image gets another class
    other = make_member(tmp_path / "other", probs=changed)
    for path in (one.path, other.path):
        save_file({"w": np.zeros(3, np.float32)}, path / "weights-f0.safetensors")
    found = compare(one, other)
    assert found.files == ("probabilities/validation", "confusions.npz")
    assert found.pixels == pytest.approx((labels[0] != 255).sum() / (labels != 255).sum())
    assert found.weights == 0
    save_file({"w": np.ones(3, np.float32)}, other.path / "weights-f0.safetensors")
    assert compare(one, other).weights == np.inf  # from nothing to something
    save_file({"v": np.zeros(3, np.float32)}, other.path / "weights-f0.safetensors")
    assert compare(one, other).weights == np.inf


def test_stores_with_other_compression_are_equal(make_member: Callable[..., Member], tmp_path: Path) -> None:
    import zstandard

    from ensemble.core.files import digest
    from ensemble.runs.store.manifest import read_manifest, write_manifest

    one, other = (make_member(tmp_path / name) for name in ("one", "other"))
    for path in (one.path, other.path):
        save_file({"w": np.zeros(3, np.float32)}, path / "weights-f0.safetensors")
    folder = other.path / "probabilities" / "validation"
    manifest = read_manifest(folder)
    (chunk,) = manifest.chunks
    plain = zstandard.ZstdDecompressor().decompress((folder / chunk.file).read_bytes())
    packed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(plain)
    (folder / chunk.file).write_bytes(packed)
    other_chunk = replace(chunk, bytes=len(packed), digest=digest(packed))
    write_manifest(folder, replace(manifest, chunks=(other_chunk,)))
    rewrite(other.path, "probabilities/validation/manifest.json", (folder / "manifest.json").read_bytes())
    assert packed != (one.path / "probabilities" / "validation" / chunk.file).read_bytes()
    assert compare(one, Member.open(other.path)).exact


@pytest.mark.parametrize("compared", [8 << 20, 300])
def test_stores_of_many_sizes_are_compared_pixel_by_pixel(
    tmp_path: Path, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str, turned: int) -> Store:
        noise, meta = np.random.default_rng(0), {"split": "validation", "split_hash": "s", "data_hash": "d"}
        with StoreWriter(tmp_path / name, classes=("a", "b"), meta=meta) as writer:
            for row, size in enumerate(SIZES):
                probs = noise.dirichlet([1, 1], size).astype(np.float32).transpose(2, 0, 1)
                labels = np.zeros(size, np.uint8)
                labels[0] = 255
                if row == 5:
                    probs[:, : turned + 1] = probs[::-1, : turned + 1]  # the void row does not count
                writer.append([str(row)], probs[None], labels[None])
        return Store.open(tmp_path / name)

    monkeypatch.setattr(module, "COMPARED", compared)
    then = written("then", 0)
    labelled = sum((height - 1) * width for height, width in SIZES)
    assert _store_apart(then, written("now", 7), no_progress) == 7 * SIZES[5][1] / labelled
    assert _store_apart(then, written("void", -1), no_progress) == 0.0
    assert _store_apart(then, written("again", 0), no_progress) is None


# ---------------------------------------------------------------- refusals


def test_data_that_moved_are_asked_for(member: Path, tiny_npz: Path, tmp_path: Path) -> None:
    config = read_json(member / "config.json")
    config["settings"]["data"]["source"] = "gone.npz"
    rewrite(member, "config.json", config)
    with pytest.raises(EnsError, match=rf"the data of {member.name} are not at gone\.npz any more; pass their new"):
        reproduce(member)
    with np.load(tiny_npz) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "training_set": arrays["training_set"][::-1]})
    with pytest.raises(
        EnsError, match=r"was trained on other data than other\.npz \(the content differs\); pass the orig"
    ):
        reproduce(member, data=tmp_path / "other.npz")
    assert reproduce(member, data=tiny_npz).exact


def test_a_member_is_not_compared_with_itself(member: Path) -> None:
    with pytest.raises(EnsError, match=rf"runs is the folder of {member.name} itself; choose another"):
        reproduce(member, out=member.parent.parent)


def test_another_split_is_refused(member: Path) -> None:
    config = read_json(member / "config.json")
    config["data"]["split_hash"] = "0" * 32
    rewrite(member, "config.json", config)
    with pytest.raises(
        EnsError, match=r"are split differently now than when .* was trained, because a library groups near-dup"
    ):
        reproduce(member)


def test_a_missing_device_is_reported(member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = read_json(member / "config.json")
    config["settings"]["device"] = "cuda"
    rewrite(member, "config.json", config)
    with pytest.raises(
        EnsError, match="was trained on cuda, which torch does not find here; use a machine that has it"
    ):
        reproduce(member)


def test_other_code_and_other_encoder_weights_are_refused(member: Path, tmp_path: Path) -> None:
    original = read_json(member / "config.json")

    def refused(text: str, **changes: Any) -> None:
        rewrite(member, "config.json", original | {"settings": original["settings"] | changes})
        with pytest.raises(EnsError, match=text):
            reproduce(member)

    loss = original["settings"]["loss"] | {"origin": "mine.py 12345678"}
    refused(r"with the loss 'ce' of mine\.py 12345678, but here it comes from built-in; load that plug-in", loss=loss)
    architecture = original["settings"]["architecture"]
    refused("was imported as probabilities; train it again with", architecture=architecture | {"origin": "imported"})
    (tmp_path / "encoder.pth").write_bytes(b"other")
    options = architecture["options"] | {"encoder_weights": str(tmp_path / "encoder.pth")}
    refused(
        r"encoder\.pth holds other encoder weights than .* started from; restore the original",
        architecture=architecture | {"options": options},
        pretrained="0" * 32,
    )
