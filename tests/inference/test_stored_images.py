"""``ens predict MODEL stored``: the stored probabilities of test images, pooled without a network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.export.make_bundle import bundle
from ensemble.importing.import_member import import_member
from ensemble.inference import member_network
from ensemble.inference.load import load
from ensemble.inference.write_masks import predict
from ensemble.runs.member import Member

COUNT = 5


@pytest.fixture(scope="module")
def models(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A member, its average with another one, decided for expected IoU, and a cascade of the two."""
    runs = tmp_path_factory.mktemp("stored") / "runs"
    shutil.copytree(tiny_runs, runs)
    members = sorted((runs / "members").iterdir())
    decided = combine(members, method="average", decide="expected-iou", runs=runs)
    cascade = combine(members, method="average", keep_gain=0.5, runs=runs)
    return {"member": members[0], "decided": decided.ensemble.path, "cascade": cascade.ensemble.path}


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every attempt to load a network fail."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a network was loaded")

    monkeypatch.setattr(member_network, "load_member", refuse)


@pytest.mark.usefixtures("no_networks")
@pytest.mark.parametrize("model", ["member", "decided", "cascade"])
def test_masks_are_those_of_the_stored_probabilities(
    models: dict[str, Path], tiny_npz: Path, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = list[str]()
    out = tmp_path / "stored.npz"
    assert predict(models[model], "stored", out, probabilities=True, on_note=notes.append) == COUNT
    assert any("no network predicts" in note for note in notes)
    monkeypatch.undo()
    predict(models[model], tiny_npz, tmp_path / "anew.npz", probabilities=True)
    with np.load(out) as stored, np.load(tmp_path / "anew.npz") as anew:
        assert stored["ids"].tolist() == anew["ids"].tolist()
        np.testing.assert_allclose(stored["probabilities"], anew["probabilities"], atol=0.02)  # 8 bits
        np.testing.assert_array_equal(stored["masks"], load(models[model]).masks(stored["probabilities"]))
        assert np.mean(stored["masks"] == anew["masks"]) > 0.95


@pytest.mark.usefixtures("no_networks")
def test_everything_else_is_written_as_for_other_images(models: dict[str, Path], tmp_path: Path) -> None:
    out, notes = tmp_path / "masks", list[str]()
    asked: dict[str, Any] = {"uncertainty": ["entropy", "mutual-information"], "quality": True}
    predict(models["decided"], "stored", out, **asked)
    for kind in ("entropy", "mutual-information"):
        assert len(list(out.glob(f"*.{kind}.tif"))) == COUNT
    assert len((out / "quality.csv").read_text().splitlines()) > COUNT
    predict(models["decided"], "stored", out, on_note=notes.append, **asked)
    assert any(f"{COUNT} of {COUNT} predictions are there already" in note for note in notes)


@pytest.mark.usefixtures("no_networks")
def test_the_images_can_decide(models: dict[str, Path], tmp_path: Path) -> None:
    assert predict(models["decided"], "stored", tmp_path / "a.npz", decide_from="images") == COUNT


def test_what_cannot_be_done_is_refused_in_a_sentence(
    train_tiny: Callable[..., Member], tiny_arrays: dict[str, Any], models: dict[str, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "untested.npz", **{name: each for name, each in tiny_arrays.items() if name != "test_set"})
    member = train_tiny(tmp_path / "runs", data=tmp_path / "untested.npz", epochs=1)
    with pytest.raises(EnsError, match=r"no stored probabilities .* give images in place of 'stored'"):
        predict(member.path, "stored", tmp_path / "a.npz")
    with pytest.raises(EnsError, match="leave tta out"):
        predict(models["decided"], "stored", tmp_path / "a.npz", tta="hflip")


def test_a_large_image_is_refused(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.inference.batching.WHOLE_PIXELS", 100)
    with pytest.raises(EnsError, match="32x32 pixels, which is too large"):
        predict(models["decided"], "stored", tmp_path / "a.npz")


def test_a_folder_of_this_name_is_noted_and_has_another_path(
    models: dict[str, Path], tiny_arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    (tmp_path / "stored").mkdir()
    Image.fromarray(tiny_arrays["test_set"][0]).save(tmp_path / "stored" / "one.png")
    monkeypatch.chdir(tmp_path)
    notes = list[str]()
    assert predict(models["decided"], "stored", tmp_path / "a.npz", on_note=notes.append) == COUNT
    assert any("give ./stored to predict its images" in note for note in notes)
    for place, images in enumerate(["./stored", Path("stored")]):
        assert predict(models["decided"], images, tmp_path / f"{place}.npz") == 1


def test_a_bundle_and_an_imported_member_say_what_to_do(
    models: dict[str, Path], tiny_npz: Path, tmp_path: Path
) -> None:
    file = bundle(models["member"], tmp_path / "one.ens", latency=False).path
    with pytest.raises(EnsError, match=r"the bundle .*one\.ens holds no stored probabilities .* give the images, or"):
        predict(file, "stored", tmp_path / "a.npz")
    store = Member.open(models["member"]).store()
    np.savez(tmp_path / "given.npz", probs=np.concatenate([each for _, each, _ in store.batches()]), ids=store.ids)
    given = import_member(tmp_path / "given.npz", name="given", data=tiny_npz, runs=tmp_path / "runs")
    with pytest.raises(EnsError, match="import it with those of test images"):
        predict(given.member.path, "stored", tmp_path / "a.npz")
