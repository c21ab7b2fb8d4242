"""Boundary F1 against an image worked out by hand, SciPy's distance maps and MONAI's surface Dice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.evaluation import Bootstrap, boundary_counts, boundary_f1

CLASSES = 4


def patches(seed: int, images: int = 3, size: tuple[int, int] = (14, 19), void: float = 0.15) -> tuple[Any, Any]:
    """Labels of large patches with some void, and predictions that shift them and err here and there."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, CLASSES, (images, -(-size[0] // 5), -(-size[1] // 5)))
    labels = coarse.repeat(5, 1).repeat(5, 2)[:, : size[0], : size[1]].astype(np.uint8)
    predictions = np.roll(labels, int(random.integers(0, 4)), axis=2).astype(np.int64)
    noise = random.random(labels.shape) < 0.05
    predictions[noise] = random.integers(0, CLASSES, int(noise.sum()))
    labels[random.random(labels.shape) < void] = 255
    return labels, predictions


# ---------------------------------------------------------------- by hand

V = 255
TRUTH = [
    [0, 0, 0, 0, 0, 0],
    [0, 1, 1, 1, 0, V],
    [0, 1, 1, 1, 0, V],
    [0, 1, 1, 1, 0, V],
    [0, 0, 0, 0, 0, 1],
]
GUESS = [
    [0, 0, 0, 0, 0, 0],
    [0, 1, 1, 0, 0, 1],
    [0, 1, 1, 0, 1, 0],
    [0, 1, 1, 0, 0, 1],
    [0, 0, 0, 0, 0, 0],
]


def test_a_small_image_by_hand() -> None:
    """Truth: a square of 9 and a single pixel of class 1. Guess: a column of the square missing, one stray pixel.

    Class 1: the true boundary is the ring of the square (8) and the corner pixel, whose left neighbour is class 0. The
    predicted one is all of its 6 + 1 pixels; the other two stray ones are under void. Within 1 pixel: the 6 lie on the
    ring or beside it, the stray one is beside it; of the ring all 8 are on or beside a predicted pixel; the corner one
    is not.
    """
    truth, guess = np.array([TRUTH], np.uint8), np.array([GUESS])
    counts = boundary_counts(truth, guess, classes=2, distance=1.0)
    assert counts[0, 1].tolist() == [7, 7, 8, 9]
    # Class 0, pixel by pixel: around the square, and (4, 4) beside the corner pixel.
    above, left, right = [(0, 1), (0, 2), (0, 3)], [(1, 0), (2, 0), (3, 0)], [(1, 4), (2, 4), (3, 4)]
    true_ring = {*above, *left, *right, (4, 1), (4, 2), (4, 3), (4, 4)}
    # beside the stray pixel at (2, 4): (1, 4), (3, 4) and (2, 3); on its right is void
    guessed = {*above[:2], *left, (4, 1), (4, 2), (1, 3), (2, 3), (3, 3), (1, 4), (3, 4)}
    assert counts[0, 0, 1] == len(guessed)
    assert counts[0, 0, 3] == len(true_ring)

    def near(one: tuple[int, int], others: set[tuple[int, int]]) -> bool:
        return any(abs(one[0] - y) + abs(one[1] - x) <= 1 for y, x in others)

    assert counts[0, 0, 0] == sum(near(pixel, true_ring) for pixel in guessed)
    assert counts[0, 0, 2] == sum(near(pixel, guessed) for pixel in true_ring)
    precision, recall = 1.0, 8 / 9
    assert boundary_f1(counts[0])[1] == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(("shift", "matched"), [(0, 1), (7, 1), (8, 0)])
def test_the_distance_is_a_share_of_the_diagonal(shift: int, matched: int) -> None:
    column = np.arange(1000)[None, None]
    labels, predictions = (column >= 500).astype(int), (column >= 500 + shift).astype(int)
    assert boundary_counts(labels, predictions, classes=2)[0].tolist() == [[matched, 1, matched, 1]] * 2  # 7.5 pixels


def test_the_distance_is_at_least_a_pixel_and_can_be_none() -> None:
    labels, predictions = np.array([[[0, 0, 1, 1]]]), np.array([[[0, 1, 1, 1]]])
    assert boundary_counts(labels, predictions, classes=2)[0].tolist() == [[1, 1, 1, 1]] * 2
    assert boundary_counts(labels, predictions, classes=2, distance=0)[0].tolist() == [[0, 1, 0, 1]] * 2
    assert boundary_counts(labels, labels, classes=2, distance=0)[0].tolist() == [[1, 1, 1, 1]] * 2


def test_between_a_class_and_void_or_the_margin_there_is_no_boundary() -> None:
    labels = np.array([[[V, V, V, V, V], [V, 0, 0, 1, V], [V, V, V, V, V]]])
    every_other = np.arange(15).reshape(1, 3, 5) % 2
    counts = boundary_counts(labels, every_other, classes=2)
    assert counts[0, :, 3].tolist() == [1, 1]  # between the second and the third of the three labelled pixels
    assert counts[0, :, 1].sum() == 3  # of the checkerboard only these three
    assert not boundary_counts(np.zeros((1, 5, 5), int), np.zeros((1, 5, 5), int), classes=2).any()


# ---------------------------------------------------------------- references


def by_distance_maps(labels: Any, predictions: Any, distance: float) -> Any:
    """The definition read word by word: pixel by pixel, and a distance map for each class."""
    from scipy.ndimage import distance_transform_edt

    def boundary(classes_hw: Any, known_hw: Any) -> Any:
        found = np.zeros(classes_hw.shape, bool)
        for y, x in np.argwhere(known_hw):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < len(classes_hw) and 0 <= u < classes_hw.shape[1]
                found[y, x] |= inside and known_hw[v, u] and classes_hw[v, u] != classes_hw[y, x]
        return found

    def near(boundary_hw: Any) -> Any:
        if not boundary_hw.any():
            return boundary_hw
        map_hw: Any = distance_transform_edt(~boundary_hw)
        return map_hw <= distance

    counts = np.zeros((len(labels), CLASSES, 4), int)
    for image, (truth, guess) in enumerate(zip(labels, predictions, strict=True)):
        edges = [boundary(classes_hw, truth != V) for classes_hw in (truth, guess)]
        for k in range(CLASSES):
            true, guessed = edges[0] & (truth == k), edges[1] & (guess == k)
            hits = guessed & near(true), true & near(guessed)
            counts[image, k] = [hits[0].sum(), guessed.sum(), hits[1].sum(), true.sum()]
    return counts


@pytest.mark.parametrize("distance", [0.0, 1.0, 1.5, 2.9, 5.0, 100.0])
def test_equals_distance_maps(distance: float) -> None:
    labels, predictions = patches(int(distance))
    expected = by_distance_maps(labels, predictions, distance)
    assert (expected[:, :, 1] > expected[:, :, 0]).any() or distance > 2
    assert boundary_counts(labels, predictions, CLASSES, distance).tolist() == expected.tolist()


@pytest.mark.filterwarnings("ignore")  # MONAI, a reference only, warns about its own dependencies (November 2026)
@pytest.mark.parametrize("distance", [1.0, 2.0, 3.7])
def test_equals_the_surface_dice_of_monai(distance: float) -> None:
    """Its surface is ours where an object lies inside the image and nothing is void; it joins precision and recall."""
    metrics = pytest.importorskip("monai.metrics")
    import torch

    labels, predictions = patches(5, images=4, size=(30, 40), void=0)
    for maps in (labels, predictions):
        maps[:, [0, 1, -2, -1]] = maps[:, :, [0, 1, -2, -1]] = 0
    hot = [torch.from_numpy(maps[:, None] == np.arange(CLASSES)[None, :, None, None]) for maps in (predictions, labels)]
    expected = metrics.compute_surface_dice(*hot, class_thresholds=[distance] * (CLASSES - 1)).numpy()
    counts = boundary_counts(labels, predictions, CLASSES, distance)[:, 1:]
    ours = (counts[..., 0] + counts[..., 2]) / (counts[..., 1] + counts[..., 3])
    assert 0.3 < ours.min() < ours.max() < 1 or distance > 3
    np.testing.assert_allclose(ours, expected)


# ---------------------------------------------------------------- properties


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 3), st.sampled_from([0.0, 1.0, 2.5]))
def test_batches_add_up_and_void_changes_nothing(seed: int, cut: int, distance: float) -> None:
    labels, predictions = patches(seed)
    counts = boundary_counts(labels, predictions, CLASSES, distance)
    parts = [boundary_counts(labels[p], predictions[p], CLASSES, distance) for p in (slice(cut), slice(cut, None))]
    assert (np.concatenate(parts) == counts).all()
    other = np.where(labels == V, 1000 - predictions, predictions)
    assert (boundary_counts(labels, other, CLASSES, distance) == counts).all()
    assert (boundary_counts(labels.astype(np.int64), predictions.astype(np.uint8), CLASSES, distance) == counts).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.floats(0, 6))
def test_truth_and_prediction_change_places_with_precision_and_recall(seed: int, distance: float) -> None:
    labels, predictions = patches(seed, void=0)
    counts = boundary_counts(labels, predictions, CLASSES, distance)
    assert (boundary_counts(predictions, labels, CLASSES, distance) == counts[..., [2, 3, 0, 1]]).all()
    assert (counts[..., [0, 2]] <= counts[..., [1, 3]]).all()
    further = boundary_counts(labels, predictions, CLASSES, distance + 1)
    assert (further[..., [0, 2]] >= counts[..., [0, 2]]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.permutations(range(CLASSES)))
def test_relabelling_commutes_and_the_truth_is_perfect(seed: int, order: list[int]) -> None:
    labels, predictions = patches(seed)
    counts, new = boundary_counts(labels, predictions, CLASSES), np.array([*order, *range(CLASSES, 255), 255])
    assert (boundary_counts(new[labels], new[predictions], CLASSES)[:, order] == counts).all()
    perfect = boundary_f1(boundary_counts(labels, np.where(labels == V, 3, labels), CLASSES).sum(0))
    assert set(perfect[~np.isnan(perfect)].tolist()) <= {1.0}


# ---------------------------------------------------------------- the score


def test_f1_by_hand() -> None:
    counts = np.array([[3, 4, 6, 12], [2, 2, 5, 5], [0, 5, 0, 7], [0, 5, 0, 0], [0, 0, 0, 5], [0, 0, 0, 0]])
    assert boundary_f1(counts)[[0, 1, 2, 4]].tolist() == pytest.approx([0.6, 1, 0, 0])
    assert np.isnan(boundary_f1(counts)[[3, 5]]).all()  # no true boundary: no score, whatever is predicted


def test_resamples_are_scores_of_resampled_images() -> None:
    labels, predictions = patches(1, images=8)
    counts, groups = boundary_counts(labels, predictions, CLASSES), [f"scene-{row // 2}" for row in range(8)]
    drawn = Bootstrap.draw(groups, resamples=20)
    scores_bk = boundary_f1(drawn.totals(counts))
    for scores_k, counts_g in zip(scores_bk, drawn.counts_bg, strict=True):
        rows = np.repeat(np.arange(8), np.repeat(counts_g, 2))
        again = boundary_counts(labels[rows], predictions[rows], CLASSES).sum(0)
        np.testing.assert_allclose(scores_k, boundary_f1(again))


# ---------------------------------------------------------------- mistakes

SMALL = np.zeros((1, 2, 2), dtype=int)


@pytest.mark.parametrize(
    ("labels", "predictions", "distance", "message"),
    [
        (SMALL + 4, SMALL, 1.0, r"labels 0\.\.3 or 255 for void, got 4"),
        (SMALL, SMALL + 4, 1.0, r"predictions 0\.\.3 on labelled pixels, got 4\.\.4 in image 0"),
        (SMALL, SMALL + 256, 1.0, r"got 256\.\.256 in image 0"),
        (SMALL, SMALL[0], 1.0, r"shape \(1, 2, 2\), got int64 of shape \(2, 2\); take the argmax"),
        (SMALL, SMALL, -1.0, r"distance in pixels of at least 0, got -1\.0"),
        (SMALL, SMALL, float("nan"), "got nan"),
        (SMALL, SMALL, float("inf"), "got inf"),
    ],
)
def test_mistakes_are_explained(labels: Any, predictions: Any, distance: float, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        boundary_counts(labels, predictions, CLASSES, distance)


def test_wrong_tables_are_explained() -> None:
    with pytest.raises(EnsError, match=r"\(\.\.\., classes, 4\) from boundary_counts\(\), got shape \(4,\)"):
        boundary_f1(np.zeros(4))


def test_no_image_has_no_counts() -> None:
    assert boundary_counts(SMALL[:0], SMALL[:0], CLASSES).shape == (0, CLASSES, 4)
