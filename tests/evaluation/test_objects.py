"""Objects against a hand-worked picture, OpenCV's regions, and the panoptic quality of torchmetrics."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torchmetrics.functional.detection import panoptic_quality

from ensemble.core.errors import EnsError
from ensemble.evaluation.objects import SIZES, object_counts, object_f1, object_precision, object_recall

PICTURE = """
rrr..*..rr
rrr..*..rr
.....*....
r....*...r
.r...*..r.
"""
GUESS = """
rr...rr.rr
rr...rr.rr
..........
r....r....
.....r..rr
"""


def picture(text: str) -> Any:
    number = {".": 0, "r": 1, "*": 255}
    return np.array([[[number[sign] for sign in line] for line in text.split()]])


def test_a_picture_worked_by_hand() -> None:
    # True rocks: 6 pixels, 4, and two of 2 pixels over a corner. Void cuts the two columns of "rr" in the middle: one
    # column is left, which is an object of two pixels. The four of six pixels have an IoU of 4/6, the four at the right
    # of 1, the single pixel at the left of 1/2, and the two at the bottom share one of three pixels: 1/3.
    labels, guess = picture(PICTURE), picture(GUESS)
    counts_k4 = object_counts(labels, guess, classes=2)[0].sum(1)
    assert counts_k4[1].tolist() == [3, 5, 3, 4]
    assert object_recall(counts_k4)[1] == 3 / 4
    assert object_precision(counts_k4)[1] == 3 / 5
    assert object_f1(counts_k4)[1] == pytest.approx(6 / 9)
    assert object_counts(labels, guess, 2, least_iou=0.6)[0, 1].sum(0).tolist() == [2, 5, 2, 4]


def test_predictions_under_void_change_nothing() -> None:
    labels, guess = picture(PICTURE), picture(GUESS)
    for value in (0, 1, 7):
        assert (
            object_counts(labels, np.where(labels == 255, value, guess), 2) == object_counts(labels, guess, 2)
        ).all()


def test_void_divides_true_and_predicted_objects() -> None:
    labels = np.array([[[1, 1, 255, 1, 1]]])
    assert object_counts(labels, np.ones((1, 1, 5), int), 2)[0, 1].sum(0).tolist() == [2, 2, 2, 2]
    assert object_counts(labels, np.array([[[1, 1, 1, 0, 0]]]), 2)[0].sum(1).tolist() == [[0, 1, 0, 0], [1, 1, 1, 2]]


@pytest.mark.parametrize("seed", range(4))
def test_equals_panoptic_quality_of_opencv_regions(seed: int) -> None:
    # torchmetrics wants an IoU above 1/2, not of at least 1/2: of random objects many have exactly 1/2.
    labels, guess = blobs(seed), blobs(seed, noise=0.5)
    counts_k4 = object_counts(labels, guess, 3, least_iou=0.5 + 1e-9).sum((0, 2))
    for k in range(3):
        of_class = [numbered(labels, k), numbered(guess, k)]
        for number, at in zip(of_class, (3, 1), strict=True):
            assert counts_k4[k, at] == number.max()
        # Pixels of other classes become the stuff 1, which is not compared.
        given = [torch.tensor(np.stack([np.where(n > 0, 0, 1), n], -1))[None] for n in of_class]
        quality = panoptic_quality(
            *reversed(given), things={0}, stuffs={1}, return_per_class=True, return_sq_and_rq=True
        )
        assert object_f1(counts_k4)[k] == pytest.approx(float(quality[0, 2]), abs=1e-6)


def blobs(seed: int, noise: float = 0.0) -> Any:
    """Return images (4, 40, 30) of three classes in patches; with noise, other patches are blended in."""
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    field, other = (gaussian_filter(random.normal(size=(3, 4, 40, 30)), (0, 0, 1.5, 1.5)) for _ in range(2))
    return (field + noise * other).argmax(0)


def numbered(labels_nhw: Any, k: int) -> Any:
    """Return the regions of a class, numbered over all images, which are put one below the other."""
    gap = np.zeros((1, labels_nhw.shape[2]), bool)
    rows = np.concatenate([each for image in labels_nhw == k for each in (image, gap)])
    return cv2.connectedComponents(rows.astype(np.uint8), connectivity=8)[1]


def test_images_of_a_batch_are_counted_apart() -> None:
    labels, guess = blobs(0), blobs(0, noise=0.5)
    whole = object_counts(labels, guess, 3)
    assert (whole == np.concatenate([object_counts(labels[[n]], guess[[n]], 3) for n in range(4)])).all()


def test_each_object_counts_under_its_own_size() -> None:
    labels, guess = np.zeros((1, 120, 120), int), np.zeros((1, 120, 120), int)
    labels[0, :10, :10] = guess[0, :9, :11] = 1  # 100 pixels are small, 99 are tiny
    labels[0, 20:116, 20:116] = guess[0, 20:116, 20:116] = 1
    labels[0, 0, 60:70] = 1
    counts = dict(zip(SIZES, object_counts(labels, guess, 2)[0, 1].tolist(), strict=True))
    assert counts == {"tiny": [1, 1, 0, 1], "small": [0, 0, 1, 1], "medium": [0, 0, 0, 0], "large": [1, 1, 1, 1]}


def test_a_class_that_is_absent_from_the_truth_has_no_score() -> None:
    counts = object_counts(np.zeros((1, 2, 2), int), np.ones((1, 2, 2), int), 2)[0].sum(1)
    assert np.isnan(object_recall(counts)[1])
    assert np.isnan(object_precision(counts)).all()  # of the other class no object is predicted
    assert object_f1(counts)[0] == 0
    assert np.isnan(object_f1(counts)[1])


def test_partners_must_be_unique() -> None:
    with pytest.raises(EnsError, match=r"expected an IoU between 0.5 and 1, got 0.3; below"):
        object_counts(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), 1, least_iou=0.3)
    with pytest.raises(EnsError, match=r"expected counts \(\.\.\., 4\)"):
        object_f1(np.zeros((2, 3)))
