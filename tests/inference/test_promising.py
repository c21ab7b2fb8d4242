"""Promises of loaded models: pixels left open, class sets, and a sentence wherever nothing can be promised."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from ensemble.combining.combine import combine
from ensemble.combining.held_out import HeldOut
from ensemble.combining.pool import Pool
from ensemble.combining.promises import gather_evidence
from ensemble.core.errors import EnsError
from ensemble.evaluation.promises import abstain, cover
from ensemble.inference import write_predictions
from ensemble.inference.left_open import LeftOpen
from ensemble.inference.load import load
from ensemble.inference.open_images import open_images
from ensemble.inference.predictor import Predictor
from ensemble.inference.promising import SELECTED, promise, thresholds
from ensemble.inference.write_masks import predict, predict_to
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

Train = Callable[..., Member]


@pytest.fixture(scope="module")
def runs(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two members that hold out all twelve groups, fold by fold, and an ensemble."""
    folder = tmp_path_factory.mktemp("promising") / "runs"
    train_tiny(folder, folds=3, epochs=8)
    train_tiny(folder, folds=3, epochs=8, loss="dice")
    combine(method="learned", folds=3, runs=folder)
    return folder


@pytest.fixture(scope="module")
def ensemble(runs: Path) -> Path:
    return next((runs / "ensembles").iterdir())


@pytest.fixture(scope="module")
def member(runs: Path) -> Path:
    return min((runs / "members").iterdir())


def read(path: Path) -> dict[str, Any]:
    with np.load(path) as written:
        return dict(written)


def held_out(path: Path) -> HeldOut:
    return HeldOut.of(Member.open(path) if path.parent.name == "members" else Ensemble.open(path))


def strict(path: Path) -> float:
    """An error that not all pixels keep."""
    evidence = gather_evidence(held_out(path))
    return abstain(evidence.right, evidence.wrong, 0.9).wrong / 2


@pytest.mark.parametrize("which", ["member", "ensemble"])
def test_the_least_certain_pixels_become_void(
    request: pytest.FixtureRequest, tiny_npz: Path, tmp_path: Path, which: str
) -> None:
    path, notes = request.getfixturevalue(which), list[str]()
    plain = load(path)
    evidence = gather_evidence(held_out(path))
    everything = abstain(evidence.right, evidence.wrong, 0.9)
    assert everything.threshold == 0.0
    error = everything.wrong / 2  # half as many as there are
    found = abstain(evidence.right, evidence.wrong, error)
    assert found.threshold
    options: dict[str, Any] = {"probabilities": True, "device": "cpu", "on_note": notes.append}
    predict(path, tiny_npz, tmp_path / "a.npz", max_error=error, **options)
    written = read(tmp_path / "a.npz")
    expected = plain.masks(written["probabilities"])
    expected[written["probabilities"].max(1) < np.float32(found.threshold)] = 255
    assert 0 < (expected == 255).mean() < 1
    np.testing.assert_array_equal(written["masks"], expected)
    assert f"Of the validation pixels {100 * found.kept:.1f} % are kept" in notes[0]
    assert (
        f"become 255. Promised for groups of images like the 12 held out, on average: at most {100 * error:g} %"
        in notes[0]
    )


def test_a_promise_that_all_pixels_keep_changes_no_mask(member: Path, tiny_npz: Path, tmp_path: Path) -> None:
    predict(member, tiny_npz, tmp_path / "plain.npz", device="cpu")
    notes = list[str]()
    predict(member, tiny_npz, tmp_path / "kept.npz", device="cpu", max_error=0.99, on_note=notes.append)
    assert notes[0].startswith("no pixel has to be left open. Promised for groups of images like the 12 held out, on")
    assert "0.0000" not in notes[0]
    np.testing.assert_array_equal(read(tmp_path / "kept.npz")["masks"], read(tmp_path / "plain.npz")["masks"])


def test_masks_of_another_promise_are_not_kept(member: Path, tiny_npz: Path, tmp_path: Path) -> None:
    def void() -> int:
        return sum(int((np.asarray(Image.open(file)) == 255).sum()) for file in (tmp_path / "out").iterdir())

    predict(member, tiny_npz, tmp_path / "out", device="cpu")
    assert void() == 0
    predict(member, tiny_npz, tmp_path / "out", device="cpu", max_error=strict(member))
    assert void() > 0
    predict(member, tiny_npz, tmp_path / "out", device="cpu")
    assert void() == 0


def test_large_images_leave_the_same_pixels_open(
    ensemble: Path, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"max_error": strict(ensemble), "device": "cpu"}
    predict(ensemble, tiny_npz, tmp_path / "whole", **options)
    monkeypatch.setattr(write_predictions, "is_large", lambda _: True)
    predict(ensemble, tiny_npz, tmp_path / "strips", **options)
    for file in (tmp_path / "whole").glob("*.png"):
        assert (tmp_path / "strips" / file.name).read_bytes() == file.read_bytes()


def test_a_promise_is_that_of_the_decision_that_is_asked_for(ensemble: Path) -> None:
    """Confidence is the probability of the class that the rule decides, and its errors are counted."""
    predictor = load(ensemble, decide="expected-iou")
    error = strict(ensemble)
    found, _ = promise(predictor, ensemble, max_error=error)
    evidence = gather_evidence(held_out(ensemble).deciding_as(predictor.pool))
    assert found.least == abstain(evidence.right, evidence.wrong, error).threshold
    assert found.digest not in (predictor.digest, promise(load(ensemble), ensemble, max_error=error)[0].digest)


def test_what_cannot_be_promised_is_refused_in_a_sentence(
    tiny_runs: Path, member: Path, tiny_npz: Path, tmp_path: Path
) -> None:
    few = min((tiny_runs / "members").iterdir())
    predictor = load(member)

    def refused(text: str, model: Path, made: Predictor, **promised: Any) -> None:
        with pytest.raises(EnsError, match=text):
            promise(made, model, **promised)

    above = "expected a share above 0 and below 1 for"
    refused(rf"{above} max_error \(--max-error\), got 5; 0.05 is 5 %", member, predictor, max_error=5.0)
    refused(rf"{above} coverage \(--coverage\), got 1; 0.05", member, predictor, coverage=1.0)
    refused(
        "cannot promise that at most 5 % of the kept pixels are wrong: this takes 10 groups of validation images, but"
        " there are 3; hold out more scenes",
        few,
        load(few),
        max_error=0.05,
    )
    refused(
        r"cannot promise that at most 0.0001 % of the kept pixels are wrong: too many are wrong in the 12 groups of"
        r" validation images, however few are kept; allow a larger max_error \(--max-error\)",
        member,
        predictor,
        max_error=1e-6,
    )
    turned = replace(predictor, tta="d4")
    refused("that it was trained with, but d4 was asked for; leave it out", member, turned, max_error=0.5)
    with pytest.raises(EnsError, match="cannot promise"):
        predict(few, tiny_npz, tmp_path / "out", max_error=0.05, device="cpu")
    assert not (tmp_path / "out").exists()


def test_class_sets_hold_a_bit_per_class(ensemble: Path, tiny_npz: Path, tmp_path: Path) -> None:
    notes = list[str]()
    options: dict[str, Any] = {"device": "cpu", "coverage": 0.9, "on_note": notes.append}
    predict(ensemble, tiny_npz, tmp_path / "a.npz", probabilities=True, **options)
    written, evidence = read(tmp_path / "a.npz"), gather_evidence(held_out(ensemble))
    thresholds = [cover(true, 0.9).threshold for true in evidence.true_c]
    assert None not in thresholds
    in_set = np.unpackbits(written["sets"], axis=1, bitorder="little", count=3)
    expected = written["probabilities"] >= np.array(thresholds, np.float32)[:, None, None]
    np.testing.assert_array_equal(in_set, expected)
    assert 0 < expected.mean() < 1
    assert f"'soil' from {thresholds[0]:.4f}, 'rock' from {thresholds[1]:.4f}, 'ripples' from" in notes[0]
    assert "the set holds the true class at 90 % of the pixels of each of these classes" in notes[0]
    assert notes[0].endswith(". A set may be empty, or lack the class of the mask")
    for again in (False, True):
        notes.clear()
        predict(ensemble, tiny_npz, tmp_path / "masks", **options)
        assert ("5 of 5 predictions are there already" in notes[-1]) == again
    files = sorted((tmp_path / "masks").glob("*.sets.tif"))
    assert [file.name.removesuffix(".sets.tif") for file in files] == written["ids"].tolist()
    for file, sets, mask in zip(files, written["sets"], written["masks"], strict=True):
        np.testing.assert_array_equal(tifffile.imread(file), sets[0])
        png = file.with_name(file.name.replace(".sets.tif", ".png"))
        np.testing.assert_array_equal(np.asarray(Image.open(png)), mask)
    with pytest.raises(
        EnsError, match="csv holds masks only, but class sets were asked for; write an npz, or a folder"
    ):
        predict(ensemble, tiny_npz, tmp_path / "a.csv", **options)


def test_more_than_eight_classes_take_more_bytes(member: Path) -> None:
    predictor = replace(load(member), in_set_c=tuple(np.linspace(0.05, 0.5, 11)))
    probs = np.random.default_rng(0).random((2, 11, 3, 4), np.float32)
    sets = predictor.sets(probs)
    assert (sets.shape, sets.dtype) == ((2, 2, 3, 4), np.uint8)
    for place, least in enumerate(np.linspace(0.05, 0.5, 11).astype(np.float32)):
        np.testing.assert_array_equal(sets[:, place // 8] >> place % 8 & 1, probs[:, place] >= least)


def test_a_class_in_few_groups_is_in_every_set(tmp_path: Path, make_member: Train) -> None:
    """Ten groups; the rare class is in fewer, so nothing is promised for it, and it is never ruled out."""
    one = make_member(tmp_path, "net", quality=1.0)
    holders = len(gather_evidence(HeldOut.of(one)).true_c[3].groups)
    assert 0 < holders < 10
    networks: Any = None  # nothing is predicted
    plain = Predictor("net", one.facts.classes, one.facts.values, (one,), networks, Pool.uniform(1, 4))
    found, (promised, refused) = promise(plain, one.path, coverage=0.9)
    assert found.in_set_c
    assert found.in_set_c[3] == 0
    assert min(found.in_set_c[:3]) > 0
    assert "big rock" not in promised
    assert refused == (
        "cannot promise 90 % for classes held by fewer than 10 groups of validation images, so they are in every set:"
        f" 'big rock' ({holders} groups)"
    )
    one.scores["selected"] = True
    assert promise(plain, one.path, coverage=0.9)[1] == [SELECTED, promised, refused]
    with pytest.raises(
        EnsError, match=r"cannot promise class sets that hold 95 % of any class: this takes 19 groups of"
    ):
        promise(plain, one.path, coverage=0.95)


def test_the_command_says_what_it_promises(member: Path, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    from ensemble.cli import app

    out = tmp_path / "out"
    done = CliRunner().invoke(
        app,
        [
            "predict",
            member.name,
            str(tiny_npz),
            "--out",
            str(out),
            "--runs",
            str(runs),
            "--max-error",
            "0.4",
            "--coverage",
            "0.9",
        ],
    )
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "at most 40 % of the kept pixels are wrong" in said
    assert "the set holds the true class at 90 % of the pixels" in said


@pytest.mark.parametrize(
    ("out", "options"),
    [
        ("out", {}),
        ("out", {"form": "tif"}),
        ("out", {"form": "npz"}),
        ("out.npz", {}),
        ("out.csv", {}),
        ("out.csv", {"form": "rle"}),
    ],
)
def test_the_share_left_open_is_that_of_the_masks(
    member: Path, tiny_npz: Path, tmp_path: Path, out: str, options: dict[str, Any]
) -> None:
    error, given = strict(member), dict[str, Any]()
    options = {"device": "cpu", "max_error": error, **options}
    predict(member, tiny_npz, tmp_path / "expected.npz", device="cpu", max_error=error)
    share = float((read(tmp_path / "expected.npz")["masks"] == 255).mean())
    assert 0 < share < 1
    for _ in range(1 if out == "out.csv" else 2):  # the second time some masks are there already
        notes = list[str]()
        predict(member, tiny_npz, tmp_path / out, on_note=notes.append, on_outcome=given.update, **options)
        assert f"of the pixels of these images, {100 * share:.1f} % were left open" in notes
        assert given["left_open"] == pytest.approx(share, abs=1e-12)
        assert given["threshold"] == promise(load(member), member, max_error=error)[0].least


def test_open_pixels_get_an_id_that_no_class_has(member: Path, tiny_npz: Path, tmp_path: Path) -> None:
    binary = replace(load(member), values=(0, 254, 255))
    predictor, (*_, note) = promise(binary, member, max_error=strict(member))
    assert f"become 253, because '{predictor.classes[2]}' has the id 255. Promised" in note
    opened = LeftOpen(predictor.open_id)
    predict_to(predictor, open_images(tiny_npz), tmp_path / "out.npz", opened=opened)
    masks = read(tmp_path / "out.npz")["masks"]
    assert set(np.unique(masks)) <= {0, 253, 254, 255}
    assert 0 < (masks == 253).mean() == opened.share
    assert thresholds(predictor, opened.share)["open_id"] == 253


def test_json_holds_the_thresholds(member: Path, runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    from ensemble.cli import app

    words = ["predict", member.name, str(tiny_npz), "--runs", str(runs), "--json", "--device", "cpu"]
    promised = ["--max-error", str(strict(member)), "--coverage", "0.9"]
    done = CliRunner().invoke(app, [*words, *promised, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    expected, _ = promise(load(member), member, max_error=strict(member), coverage=0.9)
    assert found["threshold"] == expected.least
    assert found["set_thresholds"] == dict(zip(expected.classes, expected.in_set_c or (), strict=True))
    masks = np.stack([np.asarray(Image.open(file)) for file in sorted((tmp_path / "out").glob("*.png"))])
    assert found["left_open"] == pytest.approx((masks == 255).mean(), abs=1e-12)
    done = CliRunner().invoke(app, [*words, "--max-error", "0.99", "--out", str(tmp_path / "all")])
    assert {"threshold": 0.0, "left_open": 0.0}.items() <= json.loads(done.stdout).items()
