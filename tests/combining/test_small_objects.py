"""Small objects: against scipy's labelling object by object, in strips as whole, and fitted against all choices."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from ensemble.combining import alignment
from ensemble.combining.arithmetic import first_class
from ensemble.combining.combine import combine
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import read_pool
from ensemble.combining.small_objects import BETTER, SIZES, SizeTable, small_objects, without_small_objects
from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import confusion_per_image, mean_iou
from ensemble.runs.ensemble_dir import Ensemble


def slowly(classes_hw: Any, smallest_c: Any) -> Any:
    """Object by object: label it, dilate it by a side, take the most frequent class of the pixels' sides."""
    cleaned = classes_hw.copy()
    for c, smallest in enumerate(smallest_c):
        found: Any = ndimage.label(classes_hw == c, np.ones((3, 3)))
        labels, count = found
        for number in range(1, count + 1):
            inside = labels == number
            if inside.sum() >= smallest:
                continue
            counts = np.zeros(len(smallest_c), int)
            for y, x in zip(*np.nonzero(inside), strict=True):
                for there in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if all(0 <= place < size for place, size in zip(there, inside.shape, strict=True)):
                        counts[classes_hw[there]] += not inside[there]
            if counts.any():
                cleaned[inside] = counts.argmax()
    return cleaned


def noisy(seed: int, shape: tuple[int, int, int], classes: int = 3, noise: float = 0.2) -> Any:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=(classes, *shape)), (0, 0, 3, 3)).argmax(0)
    salt = random.random(shape) < noise
    return np.where(salt, random.integers(0, classes, shape), smooth).astype(np.uint8)


def test_a_map_worked_by_hand() -> None:
    before = np.array([[[0, 0, 0, 0, 2], [0, 1, 0, 2, 2], [0, 0, 1, 2, 2], [1, 0, 0, 0, 0]]])
    after = np.array([[[0, 0, 0, 0, 2], [0, 0, 0, 2, 2], [0, 0, 0, 2, 2], [0, 0, 0, 0, 0]]])
    # The two pixels of class 1 that touch at a corner are one object: seven of its sides are next to 0, one to 2.
    np.testing.assert_array_equal(without_small_objects(before, np.array([1, 3, 1])), after)
    only_single = without_small_objects(before, np.array([1, 2, 1]))
    assert only_single[0, 1, 1] == 1
    assert only_single[0, 3, 0] == 0


def test_a_hole_is_an_object_of_another_class() -> None:
    ring = np.zeros((1, 5, 5), np.uint8)
    ring[:, 1:4, 1:4] = 1
    ring[:, 2, 2] = 0
    filled = ring.copy()
    filled[:, 2, 2] = 1
    np.testing.assert_array_equal(without_small_objects(ring, np.array([2, 1])), filled)


def test_an_image_of_one_class_stays() -> None:
    np.testing.assert_array_equal(without_small_objects(np.ones((2, 2, 2), int), np.array([1, 9])), 1)


def test_images_do_not_touch_each_other() -> None:
    maps = noisy(1, (4, 9, 7))
    each = np.concatenate([without_small_objects(one[None], np.array([5, 9, 3])) for one in maps])
    np.testing.assert_array_equal(without_small_objects(maps, np.array([5, 9, 3])), each)


@settings(deadline=None)
@given(arrays(np.uint8, (7, 6), elements=st.integers(0, 2)), st.tuples(*[st.integers(1, 9)] * 3))
def test_objects_are_removed_as_one_by_one(classes_hw: Any, smallest: tuple[int, int, int]) -> None:
    found = without_small_objects(classes_hw[None], np.array(smallest))[0]
    np.testing.assert_array_equal(found, slowly(classes_hw, smallest))


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 29), st.integers(1, 30), st.integers(2, 12))
def test_rows_are_those_of_the_whole_image(seed: int, top: int, height: int, smallest: int) -> None:
    maps, sizes = noisy(seed, (2, 30, 11), noise=0.5), np.array([1, smallest, 4])
    rows = slice(top, min(30, top + height))
    np.testing.assert_array_equal(without_small_objects(maps, sizes, rows), without_small_objects(maps, sizes)[:, rows])


def test_a_line_that_leaves_the_strip_is_as_long_as_it_is() -> None:
    """A column of 12 pixels crosses the rows; it must not be taken for the part that is seen."""
    lines = np.zeros((1, 40, 5), np.uint8)
    lines[:, 14:26, 2] = 1
    for smallest, kept in ((12, 1), (13, 0)):
        assert (without_small_objects(lines, np.array([1, smallest]), slice(20, 21))[0, :, 2] == kept).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_table_holds_every_choice(seed: int) -> None:
    truth, decided = noisy(seed, (6, 24, 20), noise=0), noisy(seed, (6, 24, 20), noise=0.3)
    truth[:, :2] = 255
    table = SizeTable(3)
    for images in (slice(0, 2), slice(2, 6)):
        table.add(truth[images], decided[images])

    def score(sizes: Any) -> float:
        return float(mean_iou(confusion_per_image(truth, without_small_objects(decided, np.array(sizes)), 3).sum(0)))

    best = table.best()
    every = max(score(sizes) for sizes in product(SIZES[::2], repeat=3))
    assert score(best) > every - 3 * BETTER
    assert score(best) > score((1, 1, 1)) + 0.02
    for c in range(3):  # no other size of one class is better
        for size in SIZES:
            assert score([size if c == other else best[other] for other in range(3)]) < score(best) + BETTER + 1e-12


def test_the_table_of_strips_is_that_of_the_whole_image() -> None:
    truth, decided = noisy(5, (1, 400, 9), noise=0), noisy(5, (1, 400, 9), noise=0.3)
    whole, strips, reach = SizeTable(3), SizeTable(3), SIZES[-1]
    whole.add(truth, decided)
    for top in range(0, 400, 100):
        first = max(0, top - reach)
        strips.add(
            truth[:, top : top + 100], decided[:, first : top + 100 + reach], slice(top - first, top - first + 100)
        )
    assert (whole.confusion_kk == strips.confusion_kk).all()
    assert (whole._moved_cstk == strips._moved_cstk).all()  # pyright: ignore[reportPrivateUsage]


def test_nothing_is_removed_where_that_gains_nothing() -> None:
    truth = noisy(2, (3, 20, 20), noise=0.3)  # small objects are true
    table = SizeTable(3)
    table.add(truth, truth)
    assert table.best().tolist() == [1, 1, 1]
    void = SizeTable(2)
    void.add(np.full((1, 4, 4), 255, np.uint8), np.zeros((1, 4, 4), np.uint8))
    assert void.best().tolist() == [1, 1]


def test_areas_and_neighbours_are_those_of_the_objects() -> None:
    found = small_objects(np.array([[[0, 1, 1, 1], [0, 0, 2, 1]]]), 3, 3)
    assert [each.tolist() for each in found] == [[6], [1], [1]]


# ---------------------------------------------------------------- cross-fitted, stored and applied


def salty(random: Any, truth: Any, classes: int, salt: float) -> Any:
    """Probabilities that are sure of the truth, or of a random class at some of the pixels."""
    labels = np.where(random.random(truth.shape) < salt, random.integers(0, classes, truth.shape), truth)
    probs = np.full((len(truth), classes, *truth.shape[1:]), 0.1 / (classes - 1), np.float32)
    np.put_along_axis(probs, labels[:, None].astype(np.intp), np.float32(0.9), 1)
    return probs


@pytest.fixture
def salty_runs(tmp_path: Path, make_member: Callable[..., Any], make_world: Callable[..., Any]) -> Path:
    """Two members of 24 images of smooth classes, both with salt noise."""
    masks = noisy(0, (24, 24, 20), classes=4, noise=0) + np.uint8(1)
    world = make_world(images=24, size=(24, 20))
    world = type(world)(masks, world.ids, world.groups)
    for seed, name in enumerate(("unet", "pspnet")):
        probs = salty(np.random.default_rng(seed), masks - 1, 4, 0.15)
        make_member(tmp_path, name, world=world, probs=probs)
    return tmp_path


def test_sizes_are_fitted_without_each_fold_and_judged(salty_runs: Path) -> None:
    plain = combine(method="average", runs=salty_runs)
    done = combine(method="average", smallest_object="auto", runs=salty_runs)
    assert done.ensemble.scores["miou"] > plain.ensemble.scores["miou"] + 0.03
    assert done.verdict.method == "average, smallest object auto"
    assert done.fitted.was_fitted
    for fold, pool in enumerate(done.fitted.fold_pools):  # once more by hand: fitted elsewhere, scored here
        table, here = SizeTable(4), done.fitted.fold_n == fold
        for batch in done.aligned.batches():
            table.add(batch.labels_nhw[~here], first_class(pool(batch.probs_mnchw))[~here])
        assert pool.smallest_c is not None
        assert pool.smallest_c.tolist() == table.best().tolist()
        assert pool.smallest_c.max() > 1
    batch = next(done.aligned.batches())
    decided = np.stack(
        [
            done.fitted.fold_pools[fold].decide(done.fitted.fold_pools[fold](batch.probs_mnchw[:, [n]]))[0]
            for n, fold in enumerate(done.fitted.fold_n)
        ]
    )
    expected = confusion_per_image(batch.labels_nhw, decided, 4)
    assert (done.fitted.crossfit.confusions_nkk == expected).all()


def test_the_ensemble_keeps_its_sizes(salty_runs: Path) -> None:
    done = combine(method="average", smallest_object="auto", runs=salty_runs)
    again = Ensemble.open(done.ensemble.path)
    assert again.settings.smallest_object == "auto"
    assert again.settings.decision == "argmax, smallest object auto"
    pool = read_pool(again)
    assert pool.smallest_c is not None
    assert pool.smallest_c.tolist() == done.fitted.pool.to_json()["smallest_objects"]
    plain = combine(method="average", runs=salty_runs).ensemble
    assert plain.name != again.name
    assert "smallest_objects" not in plain.pool


@pytest.mark.parametrize("method", ["stacking", "vote", "geometric"])
def test_every_kind_of_combiner_removes_them(salty_runs: Path, method: str) -> None:
    done = combine(method=method, smallest_object=5, folds=2, runs=salty_runs)
    pool = read_pool(done.ensemble)
    assert pool.smallest_c is not None
    assert pool.smallest_c.tolist() == [5] * 4
    batch = next(done.aligned.batches())
    probs = pool(batch.probs_mnchw)
    np.testing.assert_array_equal(pool.decide(probs), without_small_objects(pool.decide_pixels(probs), np.full(4, 5)))
    assert (pool.decide(probs) != pool.decide_pixels(probs)).any()


def test_images_in_strips_have_the_scores_of_whole_ones(salty_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = combine(method="average", smallest_object="auto", runs=salty_runs)
    monkeypatch.setattr(alignment, "BATCH_BYTES", 4 * 2 * 4 * 20 * 7)  # seven rows
    strips = combine(method="average", smallest_object="auto", runs=salty_runs)
    assert whole.fitted.pool.to_json() == strips.fitted.pool.to_json()
    assert (whole.fitted.crossfit.confusions_nkk == strips.fitted.crossfit.confusions_nkk).all()
    assert len(list(strips.aligned.batches(halo=8))) > 24


@pytest.mark.parametrize("wrong", [0, 1, 1025, True, "all", 3.5])
def test_a_wrong_size_is_refused(wrong: Any) -> None:
    with pytest.raises(EnsError, match=f"expected auto or a number of pixels from 2 to 1024 .*, got {wrong}; leave it"):
        Pipeline("average", smallest_object=wrong)


def test_damaged_sizes_are_refused() -> None:
    content = Pool.uniform(2, 3).to_json()
    for sizes in ([1, 2], [0, 1, 1], [1, 1, 5000]):
        with pytest.raises(EnsError, match="expected 3 smallest objects of 1 to 1024 pixels, got"):
            Pool.from_json(content | {"smallest_objects": sizes})
