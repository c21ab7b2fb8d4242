"""The picture of examples: which images, which titles, a real PNG, and nothing where the data are gone."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ensemble.combining.combine import Combination, combine
from ensemble.combining.crossfit import CrossFit
from ensemble.combining.pool import Pool
from ensemble.config import DataSettings
from ensemble.data import open_dataset
from ensemble.evaluation.tally import Tally
from ensemble.report.figures.examples import choose_examples, draw_examples, examples_figure
from ensemble.report.figures.picture_grid import displayable
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


@pytest.fixture
def world(tmp_path: Path, make_world: MakeWorld) -> Any:
    """Simulated images that can be opened again: an npz in the homework layout."""
    drawn = make_world(images=12, size=(32, 32), group_size=2)
    images = np.random.default_rng(0).integers(0, 255, drawn.masks_nhw.shape).astype(np.uint8)
    path = tmp_path / "tiny.npz"
    groups = np.arange(12) // 2
    np.savez(path, training_set=np.stack([images, drawn.masks_nhw], 1), training_groups=groups)
    dataset = open_dataset(DataSettings(source=str(path)))
    return replace(drawn, source=str(path), ids=dataset.ids, data_hash=dataset.data_hash)


@pytest.fixture
def done(tmp_path: Path, world: Any, make_member: MakeMember) -> Combination:
    """The learned ensemble of four members."""
    members = [make_member(tmp_path, f"net{i}", quality=1.0 + i, world=world) for i in range(4)]
    return combine(members, method="learned", runs=tmp_path, folds=3)


def draw(done: Combination) -> Path | None:
    return draw_examples(done.ensemble, done.aligned, done.fitted)


def titles(figure: Any) -> list[str]:
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are drawn."""
    from ensemble.report.figures import examples

    drawn: list[Any] = []

    def remember(*arguments: Any) -> Any:
        drawn.append((examples_figure(*arguments), arguments))
        return drawn[-1][0]

    monkeypatch.setattr(examples, "examples_figure", remember)
    return drawn


def test_the_picture_is_a_png_beside_the_ensemble(done: Combination) -> None:
    path = draw(done)
    assert path is not None
    assert path == done.ensemble.path / "examples.png"
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
    assert [each.name for each in path.parent.glob("*.png*")] == ["examples.png"]


def test_columns_are_image_truth_best_members_and_ensemble(done: Combination, world: Any, figures: list[Any]) -> None:
    draw(done)
    figure, (images, columns, classes, names) = figures[0]
    heaviest = np.argsort(-done.fitted.pool.weights_m, kind="stable")[:3]
    assert titles(figure) == ["image", "truth", *(f"net{m}-ce" for m in heaviest), "learned of 4"]
    assert len(figure.axes) == 4 * 6
    assert classes == world.classes
    rows = [list(world.ids).index(name.removeprefix("image ")) for name in names]
    assert rows == sorted(choose_examples(done.fitted))
    assert (np.stack(columns["truth"]) == world.masks_nhw[rows] - np.uint8(1)).all()
    with np.load(world.source) as archive:
        assert (np.stack(images) == archive["training_set"][rows, 0]).all()
    (_, probs, *_), *_ = list(done.aligned.batches(12))
    assert (np.stack(columns[f"net{heaviest[0]}-ce"]) == probs[heaviest[0]][rows].argmax(1)).all()
    pooled = [done.fitted.fold_pools[done.fitted.fold_n[row]](probs[:, [row]])[0].argmax(0) for row in rows]
    assert (np.stack(columns["learned of 4"]) == np.stack(pooled)).all()


def test_every_image_is_shown_by_the_pool_that_did_not_see_it(done: Combination, figures: list[Any]) -> None:
    fold_pools = tuple(Pool.weighted(np.eye(4)[fold], 4) for fold in range(3))
    draw_examples(done.ensemble, done.aligned, replace(done.fitted, fold_pools=fold_pools))
    (_, probs, *_), *_ = list(done.aligned.batches(12))
    for row, shown in zip(sorted(choose_examples(done.fitted)), figures[0][1][1]["learned of 4"], strict=True):
        assert (shown == probs[done.fitted.fold_n[row], row].argmax(0)).all()


def test_members_that_differ_in_the_seed_only_keep_a_column_each(
    tmp_path: Path, world: Any, make_member: MakeMember, figures: list[Any]
) -> None:
    members = [make_member(tmp_path, "unet", seed=seed, world=world) for seed in (0, 1)]
    draw(combine(members, method="average", runs=tmp_path, folds=3))
    assert titles(figures[0][0]) == [
        "image",
        "truth",
        *(member.name.rsplit("-", 1)[0] for member in members),
        "average of 2",
    ]


def test_two_images_are_enough(tmp_path: Path, world: Any, make_member: MakeMember, figures: list[Any]) -> None:
    two = replace(world, masks_nhw=world.masks_nhw[[0, 5]], ids=[world.ids[0], world.ids[5]], groups=["a", "b"])
    members = [make_member(tmp_path, name, world=two) for name in ("unet", "pspnet")]
    assert draw(combine(members, method="average", runs=tmp_path, folds=2)) is not None
    assert figures[0][1][3] == [f"image {world.ids[0]}", f"image {world.ids[5]}"]


def test_no_picture_where_the_data_are_gone(done: Combination, world: Any) -> None:
    Path(world.source).unlink()
    assert draw(done) is None
    assert not (done.ensemble.path / "examples.png").exists()


def test_no_picture_where_the_data_changed(done: Combination, world: Any) -> None:
    with np.load(world.source) as archive:
        changed = {name: archive[name].copy() for name in archive}
    changed["training_set"][0, 0, 0, 0] ^= 1
    np.savez(world.source, **changed)
    assert draw(done) is None


# ---------------------------------------------------------------- choosing


def fitted(confusions_nkk: Any, members_mnkk: Any) -> CrossFit:
    tally = Tally(2)
    tally._parts["confusions"] = [np.asarray(confusions_nkk)]  # pyright: ignore[reportPrivateUsage]
    nothing = np.zeros(len(confusions_nkk), np.int64)
    pool = Pool.uniform(2, 2)
    return CrossFit(pool, (pool,), nothing, tally, tally, tally, np.asarray(members_mnkk))


def image(right: int, wrong: int, rare: int = 0) -> list[list[int]]:
    return [[right, wrong], [0, rare]]


def test_rare_disputed_typical_and_worst_are_chosen() -> None:
    ensemble = [image(90, 10), image(80, 15, rare=5), image(88, 12), image(20, 80), image(95, 5), image(2, 3)]
    agreed = np.array(ensemble)
    other = agreed.copy()
    other[4] = image(10, 90)
    chosen = choose_examples(fitted(ensemble, [agreed, other]))
    assert chosen == [1, 4, 2, 3]  # rare, disputed, typical, worst; image 5 has too few labels to be shown
    assert choose_examples(fitted(ensemble, [agreed, other]), 2) == [1, 4]


def test_images_of_several_classes_are_preferred() -> None:
    uniform = [[[50, 50], [0, 0]]] * 4
    mixed = [[[40, 10 + row], [row, 50]] for row in range(4)]
    chosen = choose_examples(fitted(uniform + mixed, [uniform + mixed] * 2))
    assert sorted(chosen) == [4, 5, 6, 7]


def test_no_image_is_chosen_twice() -> None:
    ensemble = [image(0, 95, rare=5), image(90, 10), image(91, 9), image(92, 8)]
    other = np.array(ensemble)
    other[0] = image(95, 0, rare=5)
    chosen = choose_examples(fitted(ensemble, [ensemble, other]))
    assert sorted(chosen) == [0, 1, 2, 3]
    assert chosen[0] == 0


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_any_bands_are_drawn(bands: int, dtype: Any) -> None:
    images = (np.random.default_rng(0).random((2, 32, 40, bands)) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    maps = np.zeros((2, 32, 40), np.int64)
    figure = examples_figure(
        [displayable(image) for image in images],
        {"truth": list(maps), "unet": list(maps)},
        ("soil", "rock"),
        ["one", "two"],
    )
    assert len(figure.axes) == 6
    assert titles(figure) == ["image", "truth", "unet"]
    assert [figure.axes[0].get_ylabel(), figure.axes[3].get_ylabel()] == ["one", "two"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["soil", "rock", "void (predictions there are dimmed)"]
    with io.BytesIO() as stream:
        figure.savefig(stream, format="png", dpi=20)
        assert stream.getvalue().startswith(b"\x89PNG")


def test_void_is_black_in_the_truth_and_dims_predictions() -> None:
    truth = np.array([[[0, 255], [1, 255]]])
    guess = np.array([[[0, 0], [1, 1]]])
    figure = examples_figure(
        [np.zeros((2, 2), np.uint8)], {"truth": list(truth), "unet": list(guess)}, ("a", "b"), ["x"]
    )
    drawn_truth, drawn_guess = (np.asarray(figure.axes[at].images[0].get_array()) for at in (1, 2))
    assert (drawn_truth[0, 1] == 0).all()
    assert (drawn_truth[1, 1] == 0).all()
    assert (drawn_guess[:, 0] == drawn_truth[:, 0]).all()
    assert (drawn_guess[:, 1] == drawn_guess[:, 0] // 3).all()
    assert (drawn_guess[0, 0] != drawn_guess[1, 0]).any()
