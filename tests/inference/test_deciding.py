"""Decisions of loaded models: fitted to validation images or to those predicted, with the right class maps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.combining.decision import fit_decision
from ensemble.core.errors import EnsError
from ensemble.inference import stored_images, write_predictions
from ensemble.inference.deciding import few_images_note
from ensemble.inference.evaluate import evaluate
from ensemble.inference.load import load
from ensemble.inference.write_masks import predict
from ensemble.runs.member import Member


@pytest.fixture
def member(tiny_runs: Path) -> Member:
    return Member.open(sorted((tiny_runs / "members").iterdir())[0])


def masks_of(*arguments: Any, **options: Any) -> tuple[Any, Any]:
    *_, out = arguments
    predict(*arguments, device="cpu", probabilities=True, **options)
    with np.load(out) as written:
        return written["masks"], written["probabilities"]


def test_a_member_decides_by_its_validation_images(member: Member, tiny_npz: Path, tmp_path: Path) -> None:
    """The decision is that of its stored probabilities at labelled pixels."""
    found, plain = load(member.path, decide="expected-iou"), load(member.path)
    stored = list(align([member]).batches())
    probs = np.concatenate([each.probs_mnchw[0].swapaxes(0, 1)[:, each.labels_nhw != 255] for each in stored], axis=1)
    expected = fit_decision(lambda: [probs], "iou")
    assert found.pool.decision is not None
    assert found.pool.decision.expected_c == pytest.approx(expected.expected_c, rel=1e-5)
    assert found.digest != plain.digest
    masks, probabilities = masks_of(member.path, tiny_npz, tmp_path / "a.npz", decide="expected-iou")
    assert (masks == np.asarray(found.values)[found.pool.decision.decide(probabilities)]).all()


def test_a_member_without_a_weight_has_a_say_in_the_classes(
    make_member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ensemble has no background, because one of its members has none, but the members that predict have it."""
    modes = ("void", "class", "class")
    members = [make_member(tmp_path, f"net{i}", background=each) for i, each in enumerate(modes)]
    made = combine(members, method="weighted(weights=[0, 1, 1])", runs=tmp_path)
    monkeypatch.setattr(stored_images, "SPLIT", "validation")  # simulated members have no test images
    for decide in ("argmax", "expected-iou", "offsets"):
        masks, probabilities = masks_of(made.ensemble.path, "stored", tmp_path / f"{decide}.npz", decide=decide)
        assert probabilities.shape[1] == len(made.ensemble.classes) == len(members[1].facts.classes) - 1
        assert set(np.unique(masks).tolist()) <= {1, 2, 3, 4}


def test_predicted_images_decide_together(member: Member, tiny_npz: Path, tmp_path: Path) -> None:
    notes = list[str]()
    masks, probabilities = masks_of(
        member.path, tiny_npz, tmp_path / "a.npz", decide="expected-dice", decide_from="images", on_note=notes.append
    )
    rule = fit_decision(lambda: [probabilities.swapaxes(0, 1).reshape(probabilities.shape[1], -1)], "dice")
    assert (masks == np.asarray(load(member.path).values)[rule.decide(probabilities)]).all()
    assert few_images_note(len(masks)) in notes


def test_large_images_decide_strip_after_strip_as_whole_ones(
    member: Member, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"decide": "expected-iou", "decide_from": "images", "device": "cpu"}
    predict(member.path, tiny_npz, tmp_path / "whole", **options)
    monkeypatch.setattr(write_predictions, "is_large", lambda _: True)
    predict(member.path, tiny_npz, tmp_path / "strips", **options)
    for file in (tmp_path / "whole").glob("*.png"):
        assert (tmp_path / "strips" / file.name).read_bytes() == file.read_bytes()


def test_an_ensemble_keeps_its_decision_and_takes_another(tiny_runs: Path, member: Member, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    made = combine(method="average", decide="expected-iou", decide_from="images", folds=2, runs=runs).ensemble
    own = load(made.path)
    assert (own.decide, own.decide_from, own.asked) == ("expected-iou", "images", "")
    assert own.pool.decision is not None
    assert load(made.path, decide_from="validation").decide_from == "validation"
    plain = load(made.path, decide="argmax")
    assert plain.pool.decision is None
    assert len({own.digest, plain.digest}) == 2
    moved = load(made.path, decide="offsets")
    assert moved.pool.offsets_c is not None
    assert moved.decide_from == "validation"


@pytest.mark.parametrize("source", ["validation", "images"])
def test_evaluating_with_a_decision_is_an_evaluation_of_its_kind(
    tiny_runs: Path, tiny_npz: Path, tmp_path: Path, source: Any
) -> None:
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    name = sorted((runs / "members").iterdir())[1]
    plain = evaluate(name, tiny_npz, part="val", device="cpu", runs=runs)
    ruled = evaluate(name, tiny_npz, part="val", device="cpu", runs=runs, decide="expected-iou", decide_from=source)
    assert ruled.name != plain.name
    assert ruled.scores["log_loss"] == pytest.approx(plain.scores["log_loss"])
    assert ruled.scores["miou"] != plain.scores["miou"]


def test_wrong_decisions_are_refused(member: Member) -> None:
    with pytest.raises(EnsError, match="unknown decision 'expected'; did you mean"):
        load(member.path, decide="expected")  # pyright: ignore[reportArgumentType]
    with pytest.raises(EnsError, match="expected decide expected-iou or expected-dice with decide_from images"):
        load(member.path, decide_from="images")


def test_the_commands_take_the_decision(tiny_runs: Path, tiny_npz: Path, member: Member, tmp_path: Path) -> None:
    from ensemble.cli import app

    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    rule = ["--decide", "expected-iou", "--decide-from", "images", "--device", "cpu", "--runs", str(runs)]
    out = tmp_path / "masks"
    predicted = CliRunner().invoke(app, ["predict", member.name, str(tiny_npz), "--out", str(out), *rule])
    assert predicted.exit_code == 0, predicted.output
    assert "the expected scores are those of 5 images alone" in " ".join(predicted.output.split())
    predict(member.path, tiny_npz, tmp_path / "direct", device="cpu", decide="expected-iou", decide_from="images")
    assert {file.name: file.read_bytes() for file in out.glob("*.png")} == {
        file.name: file.read_bytes() for file in (tmp_path / "direct").glob("*.png")
    }
    scored = CliRunner().invoke(app, ["evaluate", member.name, str(tiny_npz), "--part", "val", *rule])
    assert scored.exit_code == 0, scored.output
    assert len(list((runs / "evaluations").iterdir())) == 1
