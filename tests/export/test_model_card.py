"""The model card says in words what the files hold, and no name from a file can change its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble.combining.combine import combine
from ensemble.core.formatting import percent
from ensemble.export.make_bundle import bundle
from ensemble.export.model_card import clean, weak_classes
from ensemble.inference.load import load
from ensemble.inference.predictor import Predictor
from ensemble.runs.bundle import open_bundle
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.member import Member

Train = Callable[..., Member]


@pytest.fixture(scope="module")
def whole(train_tiny: Train, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    """An ensemble of two members that hold out twelve groups."""
    folder = tmp_path_factory.mktemp("card") / "runs"
    train_tiny(folder, folds=3, epochs=4)
    train_tiny(folder, folds=3, epochs=4, loss="dice")
    return combine(method="average", folds=3, runs=folder).ensemble


@pytest.fixture(scope="module")
def made(whole: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """The card and the facts of a bundle."""
    out = tmp_path_factory.mktemp("card") / "street.ens"
    bundle(whole.path, out, licence="CC BY 4.0\n| all <b>rights</b>")
    opened = open_bundle(out)
    return opened.read("card.md").decode(), dict(opened.about)


def test_the_card_holds_what_the_scores_say(whole: Ensemble, made: tuple[str, dict[str, Any]]) -> None:
    card, scores = made[0], whole.scores
    assert card.startswith(f"# {whole.name}\n\nAn ensemble of 2 networks for semantic segmentation: it gives each")
    low, high = percent(scores["miou_low"]), percent(scores["miou_high"])
    assert f"| mean IoU % | {percent(scores['miou'])} | {low} to {high} |" in card
    for place, name in enumerate(whole.classes):
        images, groups = scores["images_per_class"][place], scores["groups_per_class"][place]
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {place + 1} | {name} | #")]
        assert f" | {images} | {groups} | {percent(scores['iou'][name])} | " in row
    assert scores["verdict"]["advice"] in card
    assert f"It is scored on {scores['images']} images of {scores['groups']} groups ({scores['protocol']})." in card
    assert "- `--max-error 0.05`: " in card
    assert "- `--coverage 0.9`: " in card
    assert "twin" not in card
    assert "cascade" not in card


def test_the_time_comes_with_its_conditions(made: tuple[str, dict[str, Any]]) -> None:
    card, latency = made[0], made[1]["latency"]
    assert f"One image of 32x32 takes {latency['ms']} ms (median of {latency['images']};" in card
    assert f"{latency['threads']} of {latency['cores']} threads, torch {latency['torch']}" in card
    assert latency["quartiles_ms"][0] <= latency["ms"] <= latency["quartiles_ms"][1]


def test_a_text_cannot_change_the_layout(made: tuple[str, dict[str, Any]]) -> None:
    assert made[1]["licence"] == "CC BY 4.0 | all <b>rights</b>"
    assert "**Licence:** CC BY 4.0 / all (b)rights(/b)\n" in made[0]
    assert clean("a\nb\x1b[31m`c`") == r"a b\x1b[31m'c'"


def test_a_member_has_a_card_without_a_verdict(whole: Ensemble, tmp_path: Path) -> None:
    opened = open_bundle(bundle(whole.members()[0].path, tmp_path / "one.ens", latency=False).path)
    card = opened.read("card.md").decode()
    assert "A network for semantic segmentation: it gives each pixel" in card
    assert "better than one network" not in card
    assert "**Licence:** none is given; ask whoever gave you this file" in card
    assert "The time per image was not measured." in card
    assert {"None", "nan", "Undefined"}.isdisjoint(card.split())


def test_weak_classes_are_named(whole: Ensemble) -> None:
    predictor: Predictor = load(whole.path)
    scores = {"miou": 0.6, "iou": {"soil": 0.9, "rock": 0.29, "ripples": None}, "groups_per_class": [30, 12, 0]}
    assert weak_classes(predictor, scores) == [
        "rock: its IoU of 29.0 % is less than half of the mean; only 12 groups of scored images hold it",
        "ripples: no scored image holds it, so nobody knows how well it is found",
    ]
