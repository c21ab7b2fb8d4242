"""The table of quality: in every form of output, kept by a repeated command, and refused in one sentence."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ensemble.combining.combine import combine
from ensemble.combining.quality import Quality, quality_counts
from ensemble.core.errors import EnsError
from ensemble.data.formats.image_files import read_image
from ensemble.inference import large_files, write_predictions
from ensemble.inference.load import load
from ensemble.inference.replaceable import QUALITY_COLUMNS
from ensemble.inference.uncertainty_maps import with_information
from ensemble.inference.write_masks import predict
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        reader = csv.DictReader(stream)
        assert tuple(reader.fieldnames or ()) == QUALITY_COLUMNS
        return list(reader)


@pytest.fixture(scope="module")
def model(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of members that hold out enough images."""
    runs, data = tmp_path_factory.mktemp("quality") / "runs", tmp_path_factory.mktemp("data")
    noise = np.random.default_rng(0)
    for row in range(60):
        mask = np.kron(noise.integers(0, 3, (4, 4)), np.ones((8, 8))).astype(np.uint8)
        pixels = np.clip(mask * 60 + noise.normal(40, 30, mask.shape), 0, 255).astype(np.uint8)
        for kind, values in (("images", pixels), ("masks", mask)):
            (data / kind).mkdir(exist_ok=True)
            Image.fromarray(values).save(data / kind / f"{row:02d}.png")
    for seed in range(2):
        train_tiny(runs, data=data, epochs=3, val_fraction=0.5, seed=seed)
    return combine(method="average", runs=runs).ensemble.path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for name, size in {"a": (36, 40), "b": (32, 32), "c": (32, 32)}.items():
        Image.fromarray(noise.integers(0, 200, size, dtype=np.uint8)).save(folder / f"{name}.png")
    shutil.copy(folder / "c.png", folder / "copy of c.png")
    return folder


def test_rows_are_those_of_the_formula(model: Path, images: Path, tmp_path: Path) -> None:
    notes = list[str]()
    predict(model, images, tmp_path / "out", quality=True, device="cpu", on_note=notes.append)
    rows, predictor = read(tmp_path / "out" / "quality.csv"), load(model)
    quality = Quality.from_json(Ensemble.open(model).quality or {}, predictor.classes)
    for name in ("a", "b", "c", "copy of c"):
        probs = with_information(predictor.networks).of(read_image(images / f"{name}.png")[None])
        counts = quality_counts(probs[:, :3], predictor.pool.decide(probs[:, :3]), probs[:, 3])
        found = {row["class"]: row for row in rows if row["id"] == name}
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        expected = dict(zip(quality.names, quality(counts)[0], strict=True))
        pixels = {"": mask.size} | {
            each: int((mask == value).sum()) for each, value in zip(predictor.classes, predictor.values, strict=True)
        }
        assert {each: int(row["pixels"]) for each, row in found.items()} == {k: v for k, v in pixels.items() if v}
        for each, row in found.items():
            written = [float(row[key]) if row[key] else np.nan for key in ("iou", "low", "high")]
            np.testing.assert_allclose(written, expected[each], atol=6e-5)
    worst = min((row for row in rows if not row["class"]), key=lambda row: float(row["iou"]))
    (note,) = [
        note for note in notes if note.startswith("lowest estimated mean IoU of an image, with 90 % intervals: ")
    ]
    assert f"intervals: {worst['id']} {100 * float(worst['iou']):.0f} % (" in note


@pytest.mark.parametrize(
    ("out", "form", "table"),
    [
        ("p.csv", None, "p/quality.csv"),  # images of two sizes: a folder
        ("p.npz", None, "p/quality.csv"),
        ("p.csv", "rle", "p.quality.csv"),
    ],
)
def test_every_form_has_the_same_table(
    model: Path, images: Path, tmp_path: Path, out: str, form: str | None, table: str
) -> None:
    predict(model, images, tmp_path / "out", quality=True, device="cpu")
    predict(model, images, tmp_path / out, form=form, quality=True, device="cpu")
    assert (tmp_path / table).read_bytes() == (tmp_path / "out" / "quality.csv").read_bytes()


def test_one_image_and_one_npz(model: Path, images: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the table is ours, so it is replaced
        predict(model, images / "a.png", tmp_path / "mask.png", quality=True, device="cpu")
    assert {row["id"] for row in read(tmp_path / "mask.quality.csv")} == {"a"}
    np.savez(tmp_path / "new.npz", test_set=np.stack([read_image(images / f"{name}.png")[..., 0] for name in "bc"]))
    predict(model, tmp_path / "new.npz", tmp_path / "p.npz", quality=True, device="cpu")
    assert sum(not row["class"] for row in read(tmp_path / "p.quality.csv")) == 2
    (tmp_path / "mask.quality.csv").write_text("mine\n")
    with pytest.raises(EnsError, match=r"expected a new file for the output, but .*mask\.quality\.csv exists"):
        predict(model, images / "a.png", tmp_path / "mask.png", quality=True, device="cpu")


def test_a_repeated_command_keeps_the_table(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, write = list[str](), write_predictions.write_mask
    predict(model, images, tmp_path / "whole", quality=True, device="cpu")
    predict(model, images, tmp_path / "out", device="cpu")  # masks without a table are predicted again

    def stop(*given: object) -> None:
        if Path(str(given[2])).stem == "b":
            raise KeyboardInterrupt
        write(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(write_predictions, "write_mask", stop)
    with pytest.raises(KeyboardInterrupt):
        predict(model, images, tmp_path / "out", quality=True, device="cpu")
    monkeypatch.undo()
    for kept in ("4 of 4", None):
        notes.clear()
        predict(model, images, tmp_path / "out", quality=True, device="cpu", on_note=notes.append)
        first = (tmp_path / "out" / "quality.csv").read_bytes()
        assert first == (tmp_path / "whole" / "quality.csv").read_bytes()
        assert kept is None or any(note.startswith(kept) for note in notes)


def test_a_member_is_measured_on_its_own_images(model: Path, images: Path, tmp_path: Path) -> None:
    member = sorted((model.parent.parent / "members").iterdir())[0]
    predict(member, images, tmp_path / "out", quality=True, decide="expected-iou", device="cpu")
    rows = [row for row in read(tmp_path / "out" / "quality.csv") if not row["class"]]
    assert all(0 <= float(row["low"]) <= float(row["iou"]) <= float(row["high"]) <= 1 for row in rows)


def test_what_cannot_be_said_is_one_sentence(
    model: Path, tiny_runs: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more, text in (
        ({"tta": "flips"}, "for the way in which it predicted its validation images; leave out --tta, or the estimate"),
        ({"decide": "expected-iou"}, "leave out --decide, or the estimate of quality"),
    ):
        with pytest.raises(EnsError, match=text):
            predict(model, images, tmp_path / "out", quality=True, device="cpu", **more)  # pyright: ignore
    monkeypatch.setattr(large_files, "LARGE_PIXELS", 1200)
    with pytest.raises(
        EnsError, match=r"in an image of which more than the mask is written, got 36x40 in .* and quality"
    ):
        predict(model, images, tmp_path / "out", quality=True, device="cpu")
    monkeypatch.undo()
    notes, few = list[str](), sorted((tiny_runs / "members").iterdir())[0]
    predict(few, images, tmp_path / "out", quality=True, device="cpu", on_note=notes.append)
    assert [note for note in notes if "cannot say" in note] == [
        "cannot say how good the masks are for an image as a whole, soil, rock, ripples: fewer than 10 groups of"
        " validation images have it in their masks"
    ]
    assert all(not row["iou"] for row in read(tmp_path / "out" / "quality.csv"))


def test_an_ensemble_of_an_earlier_version_is_combined_again(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = replace(Ensemble.open(model), quality=None)
    monkeypatch.setattr(Ensemble, "open", lambda _: earlier)
    with pytest.raises(EnsError, match="was combined by an earlier version, which knew no quality; combine again"):
        predict(model, images, tmp_path / "out", quality=True, device="cpu")
