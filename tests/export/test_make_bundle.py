"""Bundles predict what the run predicts, to the bit, wherever they lie, and say in a sentence what they cannot do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ensemble
from ensemble.combining.cascade import Cascade
from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, write_json
from ensemble.export import latency
from ensemble.export.make_bundle import bundle
from ensemble.inference.load import load
from ensemble.inference.write_masks import predict
from ensemble.runs.bundle import open_bundle
from ensemble.runs.member import Member

Train = Callable[..., Member]


@pytest.fixture(scope="module")
def runs(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members that hold out all twelve groups fold by fold, of which an ensemble uses two."""
    folder = tmp_path_factory.mktemp("bundling") / "runs"
    for loss in ("ce", "dice", "focal"):
        train_tiny(folder, folds=3, epochs=4, loss=loss)
    combine(method="weighted(weights=[3, 1, 0])", folds=3, decide="expected-iou", runs=folder)
    return folder


@pytest.fixture(scope="module")
def whole(runs: Path) -> Path:
    """The directory of the ensemble."""
    return next((runs / "ensembles").iterdir())


@pytest.fixture(scope="module")
def street(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the ensemble, which nobody may write, in a folder without runs."""
    out = tmp_path_factory.mktemp("elsewhere") / "street.ens"
    bundle(whole, out, latency=False)
    out.chmod(0o444)
    return out


@pytest.fixture(scope="module")
def alone(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A member, and its bundle."""
    member = next((runs / "members").glob("*-ce-*"))
    return member, bundle(member, tmp_path_factory.mktemp("alone") / "one.ens", latency=False).path


def test_an_ensemble_predicts_the_same_bits(whole: Path, street: Path, tiny_arrays: dict[str, Any]) -> None:
    images = tiny_arrays["test_set"]
    run, file = load(whole), load(street)
    np.testing.assert_array_equal(file(images), run(images))
    np.testing.assert_array_equal(file.masks(file(images)), run.masks(run(images)))
    assert (file.name, file.classes, file.values, file.digest) == (run.name, run.classes, run.values, run.digest)
    assert len(file.members) == 2  # the third one has no weight
    assert len([part for part in open_bundle(street).digests if part.endswith(".safetensors")]) == 1 + 2 * 3


def test_a_cascade_predicts_the_same_bits(runs: Path, tiny_arrays: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    run = combine(keep_gain=0.5, folds=3, calibrate="members", runs=tmp_path / "runs").ensemble.path
    file = bundle(run, tmp_path / "cascade.ens", latency=False).path
    assert "It is a cascade: later networks run only on images" in open_bundle(file).read("card.md").decode()
    assert isinstance(load(file).pool, Cascade)
    np.testing.assert_array_equal(load(file)(tiny_arrays["test_set"]), load(run)(tiny_arrays["test_set"]))


def test_a_member_predicts_the_same_bits(alone: tuple[Path, Path], tiny_arrays: dict[str, Any]) -> None:
    run, file = map(load, alone)
    for tta in (None, "flips"):
        images = tiny_arrays["test_set"]
        np.testing.assert_array_equal(load(alone[1], tta=tta)(images), load(alone[0], tta=tta)(images))
    assert (file.name, file.digest) == (run.name, run.digest)


@pytest.mark.parametrize("more", [{}, {"coverage": 0.5}, {"max_error": 0.9}, {"quality": True}, {"decide": "argmax"}])
def test_files_are_the_same_with_promises_and_quality(
    whole: Path, street: Path, alone: tuple[Path, Path], tiny_npz: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    for kind, (run, file) in {"ensemble": (whole, street), "member": alone}.items():
        notes: dict[Path, list[str]] = {run: [], file: []}
        for model in (run, file):
            predict(model, tiny_npz, tmp_path / kind / model.stem, on_note=notes[model].append, device="cpu", **more)
        assert notes[run] == notes[file]
        one, other = (sorted((tmp_path / kind / model.stem).iterdir()) for model in (run, file))
        assert [path.name for path in one] == [path.name for path in other]
        assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
        assert any(path.suffix == ".csv" for path in one) == ("quality" in more)


def test_masks_of_the_run_are_kept(whole: Path, street: Path, tiny_npz: Path, tmp_path: Path) -> None:
    notes = list[str]()
    predict(whole, tiny_npz, tmp_path / "masks", device="cpu")
    predict(street, tiny_npz, tmp_path / "masks", device="cpu", on_note=notes.append)
    assert any("5 of 5 predictions are there already" in note for note in notes)


def test_another_process_in_another_folder_predicts_a_path(street: Path, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 41), dtype=np.uint8)).save(tmp_path / "photo.png")
    file = os.path.relpath(street, tmp_path)
    code = f"import ensemble, numpy; numpy.save('p.npy', ensemble.load({file!r})('photo.png'))"
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": paths})
    found = load(street)(tmp_path / "photo.png")
    assert found.shape == (3, 37, 41)
    np.testing.assert_allclose(np.load(tmp_path / "p.npy"), found, atol=1e-6)  # threads may differ


def test_the_same_model_gives_the_same_bytes(whole: Path, street: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.ens"
    assert ensemble.bundle(whole, out, latency=False).path.read_bytes() == street.read_bytes()
    timed = bundle(whole, out).about["latency"]  # a bundle of the same model is replaced
    assert timed["ms"] > 0
    assert (timed["height"], timed["width"]) == (32, 32)
    assert open_bundle(out).about["latency"] == timed


def test_progress_of_a_slow_model_ends_at_all(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = list[tuple[int, int]]()
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    found = latency.measure_latency(load(whole), lambda task, done, total, note="", /: steps.append((done, total)))
    assert found["images"] == latency.FEWEST
    assert [done for done, _ in steps] == list(range(latency.WARM_UP + latency.FEWEST + 1))
    assert steps[-1][0] == steps[-1][1]


def test_other_data_are_evaluated_with_the_same_scores(
    alone: tuple[Path, Path], street: Path, whole: Path, tiny_npz: Path, tmp_path: Path
) -> None:
    arrays = dict(np.load(tiny_npz))
    arrays["training_set"] = arrays["training_set"][::-1].copy()
    arrays["training_set"][..., ::2, :, :] ^= 1  # other pixels
    np.savez(tmp_path / "other.npz", **arrays)
    for run, file in ((whole, street), alone):
        found = [ensemble.evaluate(model, tmp_path / "other.npz", runs=tmp_path / model.stem) for model in (run, file)]
        assert found[0].scores == found[1].scores
        assert found[0].settings == found[1].settings


def test_copies_of_held_out_images_are_left_out_because_a_bundle_does_not_know_them(
    tiny_runs: Path, tiny_npz: Path, tmp_path: Path
) -> None:
    member = Member.open(next((tiny_runs / "members").glob("*-ce-*")))
    file = bundle(member.path, tmp_path / "one.ens", latency=False).path
    arrays = dict(np.load(tiny_npz))
    others = arrays["training_set"].copy()
    others[:, 0] ^= 1  # other pixels
    arrays["training_set"] = np.concatenate([arrays["training_set"], others])
    arrays["training_groups"] = np.tile(arrays["training_groups"], 2)
    np.savez(tmp_path / "other.npz", **arrays)
    notes, scores = list[str](), list[dict[str, Any]]()
    for model in (member.path, file):
        more: dict[str, Any] = {"runs": tmp_path / model.stem, "on_note": notes.append, "device": "cpu"}
        scores.append(ensemble.evaluate(model, tmp_path / "other.npz", **more).scores)
    assert scores[0]["images"] == len(others) + member.scores["images"]
    assert scores[1]["images"] == len(others)
    assert notes.count("a bundle does not say which images were held out, so copies of these are left out, too") == 1


def test_what_needs_predictions_of_validation_images_is_refused(
    street: Path, alone: tuple[Path, Path], tiny_npz: Path, tmp_path: Path, runs: Path
) -> None:
    with pytest.raises(EnsError, match=r"street\.ens holds no predictions of validation images, which this needs"):
        load(street, decide="offsets")
    with pytest.raises(EnsError, match=r"street\.ens is a bundle, which can predict and be evaluated, but holds no"):
        combine([str(street), str(next((runs / "members").iterdir()))], runs=runs)
    with pytest.raises(EnsError, match=r"the promises of .*street\.ens hold for the decision that it was made with"):
        predict(street, tiny_npz, tmp_path / "x", decide="argmax", coverage=0.5)


def test_a_bundle_without_stores_predicts_and_says_what_it_cannot(
    alone: tuple[Path, Path], tiny_npz: Path, tmp_path: Path, tiny_arrays: dict[str, Any]
) -> None:
    member = Path(shutil.copytree(alone[0], tmp_path / "runs" / "members" / alone[0].name))
    shutil.rmtree(member / "probabilities")
    notes = list[str]()
    out = bundle(member, tmp_path / "poor.ens", latency=False, on_note=notes.append).path
    assert [note.partition(":")[0] for note in notes] == [
        "the bundle cannot give promises about new images",
        "the bundle cannot give estimates of quality",
    ]
    np.testing.assert_array_equal(load(out)(tiny_arrays["test_set"]), load(alone[0])(tiny_arrays["test_set"]))
    with pytest.raises(EnsError, match="was made without predictions of validation images, so it can promise nothing"):
        predict(out, tiny_npz, tmp_path / "x", coverage=0.5)
    with pytest.raises(EnsError, match="was made without predictions of validation images, so it cannot estimate how"):
        predict(out, tiny_npz, tmp_path / "x", quality=True)


def test_other_files_are_not_replaced(alone: tuple[Path, Path], street: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(street, tmp_path / "other.ens"))
    (tmp_path / "text.ens").write_text("hello")
    for name, text in (
        (other.name, "but .* holds weighted-3-"),
        ("text.ens", "holds something that is no whole bundle"),
        ("model.zip", r"ends in \.ens"),
        ("missing/", r"ends in \.ens"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(EnsError, match=text):
            bundle(alone[0], tmp_path / name)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_damaged_weights_are_not_bundled(alone: tuple[Path, Path], tmp_path: Path) -> None:
    member = Path(shutil.copytree(alone[0], tmp_path / "runs" / "members" / alone[0].name))
    weights = member / "weights-f1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(EnsError, match=r"weights-f1\.safetensors differs from what was written"):
        bundle(member, tmp_path / "x.ens")
    assert not (tmp_path / "x.ens").exists()


def test_runs_without_digests_are_not_bundled(alone: tuple[Path, Path], tmp_path: Path) -> None:
    member = Path(shutil.copytree(alone[0], tmp_path / "runs" / "members" / alone[0].name))
    for name in ("status.json", "config.json"):
        write_json(member / name, read_json(member / name) | {"format_version": 1})
    status = read_json(member / "status.json")
    files = status["files"] | {"config.json": file_digest(member / "config.json")}
    write_json(member / "status.json", status | {"files": files})
    with pytest.raises(EnsError, match=r"was made by version 0\.1 or 0\.2, which kept no digest"):
        bundle(member, tmp_path / "x.ens")
