"""Members that see images of any size in their own way are trained, stored, combined, evaluated and predict as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.combining.combine import combine
from ensemble.inference import batching, pooled_networks
from ensemble.inference.evaluate import evaluate
from ensemble.inference.load import load
from ensemble.inference.tiles import Tiling
from ensemble.inference.write_masks import predict
from ensemble.runs.member import Member
from ensemble.runs.store import Store

NOISE = np.random.default_rng(5)
EQUAL, MIXED = [(48, 64)], [(40, 56), (72, 48), (33, 90), (20, 31)]
WAYS: dict[str, dict[str, Any]] = {
    "whole": {},
    "crop": {"crop": "32x32"},
    "input_size": {"input_size": "32x48"},
    "input_scale": {"crop": "32x32", "input_scale": 2},
}
CODE_ERROR = 0.02
EPOCHS = 10


def picture(size: tuple[int, int]) -> tuple[Any, Any]:
    """An image whose bright half is the second class."""
    mask = np.zeros(size, np.uint8)
    mask[:, size[1] // 3 :] = 1
    return (60 + 120 * mask + NOISE.integers(0, 40, size)).astype(np.uint8), mask


def draw(root: Path, sizes: list[tuple[int, int]], count: int = 12) -> Path:
    """Write labelled images of these sizes, and test images of other sizes."""
    for row in range(count):
        for name, pixels in zip(("images", "masks"), picture(sizes[row % len(sizes)]), strict=True):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{row:02d}.png")
    for row, size in enumerate([(50, 50), (50, 50), (12, 70)]):
        for name, pixels in zip(("test/images", "test/masks"), picture(size), strict=True):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"new {row}.png")
    return root


@pytest.fixture(scope="module")
def of_equal(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Member]:
    root = tmp_path_factory.mktemp("equal")
    data = draw(root / "data", EQUAL)
    return {name: train_tiny(root / "runs", data=data, epochs=EPOCHS, **more) for name, more in WAYS.items()}


@pytest.fixture(scope="module")
def of_mixed(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Member]:
    root = tmp_path_factory.mktemp("mixed")
    data = draw(root / "data", MIXED)
    return {
        name: train_tiny(root / "runs", data=data, epochs=EPOCHS, **more)
        for name, more in WAYS.items()
        if name != "whole"
    }


def stored(store: Store) -> dict[str, Any]:
    """Return the probabilities of each image."""
    found: dict[str, Any] = {}
    for rows, probs, _ in store.batches():
        found |= dict(zip([store.ids[row] for row in rows], probs, strict=True))
    return found


@pytest.mark.parametrize("kind", ["equal", "mixed"])
def test_every_member_stores_what_it_says_about_native_pixels(kind: str, request: pytest.FixtureRequest) -> None:
    members: dict[str, Member] = request.getfixturevalue(f"of_{kind}")
    for name, member in members.items():
        data, network = Path(member.settings.data.source), load(member.path)
        for part, where in (("validation", data / "images"), ("test", data / "test" / "images")):
            for key, probs in stored(member.store(part)).items():
                image = np.asarray(Image.open(where / f"{key}.png"))
                assert probs.shape == (2, *image.shape), name
                np.testing.assert_allclose(network(image), probs, atol=CODE_ERROR)
        assert member.scores["miou"] > 0.3, name


@pytest.mark.parametrize("kind", ["equal", "mixed"])
def test_members_of_all_kinds_are_one_ensemble(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    members: dict[str, Member] = request.getfixturevalue(f"of_{kind}")
    runs, data = members["crop"].path.parents[1], Path(members["crop"].settings.data.source)
    done = combine(method="average", folds=2, runs=runs)
    assert len(done.ensemble.settings.members) == len(members)
    found = load(done.ensemble.path)
    for size in [(50, 50), (7, 40), (90, 33)]:
        image, _ = picture(size)
        each = [load(member.path)(image) for member in members.values()]
        np.testing.assert_allclose(found(image), np.mean(each, 0), atol=1e-5)
    scored = evaluate(done.ensemble.path, data, part="test", device="cpu", runs=runs)
    assert scored.scores["images"] == 3
    assert predict(done.ensemble.path, data / "test" / "images", tmp_path / "out", device="cpu") == 3
    total = right = 0
    for row in range(3):
        mask = np.asarray(Image.open(data / "test" / "masks" / f"new {row}.png"))
        masks = np.asarray(Image.open(tmp_path / "out" / f"new {row}.png"))
        total, right = total + mask.size, right + int((masks == mask).sum())
    assert scored.scores["pixel_accuracy"] == pytest.approx(right / total)


@pytest.fixture
def tiny_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make tiles of images of more than 1,500 pixels."""
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1500)
    monkeypatch.setattr(pooled_networks, "tiling_for", lambda *_: Tiling(96, 16, 8))


@pytest.mark.parametrize("way", ["crop", "input_size", "input_scale"])
def test_training_stores_and_scores_large_images_strip_by_strip(
    of_mixed: dict[str, Member],
    train_tiny: Callable[..., Member],
    tiny_tiles: None,
    tmp_path: Path,
    way: str,
) -> None:
    member, tasks = of_mixed[way], list[str]()
    data = member.settings.data.source
    again = train_tiny(tmp_path, data=data, epochs=EPOCHS, progress=lambda task, *_: tasks.append(task), **WAYS[way])
    assert "predicting tiles" in tasks
    for part in ("validation", "test"):
        one, other = stored(member.store(part)), stored(again.store(part))
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_allclose(one[key], other[key], atol=CODE_ERROR)
    for name in ("miou", "log_loss", "boundary_f1", "pixel_accuracy"):
        assert again.scores[name] == pytest.approx(member.scores[name], abs=1e-3), name
    histories = [(path / "history.csv").read_text().splitlines() for path in (member.path, again.path)]
    columns = histories[0][0].split(",")
    for one, other in zip(*histories, strict=True):
        first, second = (line.split(",")[columns.index("val_miou")] for line in (one, other))
        assert first == second or float(first) == pytest.approx(float(second), abs=1e-3)


@pytest.mark.parametrize("way", ["crop", "input_size", "input_scale"])
def test_large_images_are_scored_strip_by_strip(
    of_mixed: dict[str, Member], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    member = of_mixed[way]
    whole = evaluate(member.path, member.settings.data.source, part="test", device="cpu", runs=tmp_path / "a")
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 500)
    monkeypatch.setattr(pooled_networks, "tiling_for", lambda *_: Tiling(96, 16, 8))
    tasks: list[str] = []
    strips = evaluate(
        member.path, member.settings.data.source, part="test", device="cpu", runs=tmp_path / "b",
        progress=lambda task, *_: tasks.append(task),
    )  # fmt: skip
    assert tasks.count("predicting tiles") >= 3
    for name in ("miou", "log_loss", "boundary_f1", "ece"):
        assert strips.scores[name] == pytest.approx(whole.scores[name], abs=1e-3), name
