"""Estimate the IoU of an image without its mask, with an interval, from probabilities and the members' disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.confusion import Counts, Floats, class_counts, divide_or_nan, mean_present
from ensemble.evaluation.more_scores import image_miou

LEVEL = 0.9
"""Probability with which an interval holds for an image of a new group."""

WHOLE = ""
"""Name of the image as a whole among the names of classes, of which none is empty."""

FOLDS = 5
RIDGE = 1e-3  # share of the total weight that pulls the slopes to 0: with constant features they have no other value
LEAST_VARIANCE = 0.01  # added to p (1 - p), so that an interval around an IoU of 0 or 1 has a width


def expected_counts(probs_nchw: NDArray[np.floating[Any]], decided_nhw: NDArray[np.integer[Any]]) -> Floats:
    """Return the expected hits, the expected true pixels and the decided pixels of each class (n, c, 3).

    A pixel decided as c is a hit with the probability ``p_c``; ``p_c`` adds up to the true pixels over all pixels.

    >>> expected_counts(np.array([0.7, 0.4, 0.3, 0.6]).reshape(1, 2, 1, 2), np.array([[[0, 1]]])).round(2).tolist()
    [[[0.7, 1.1, 1.0], [0.6, 0.9, 1.0]]]
    """
    images, classes = probs_nchw.shape[:2]
    chosen_nhw = np.take_along_axis(probs_nchw, decided_nhw[:, None], axis=1)[:, 0]
    true_nc = probs_nchw.reshape(images, classes, -1).sum(2, dtype=np.float64)
    return np.stack([by_class(chosen_nhw, decided_nhw, classes), true_nc, by_class(None, decided_nhw, classes)], axis=2)


def by_class(
    values_nhw: NDArray[np.floating[Any]] | None, decided_nhw: NDArray[np.integer[Any]], classes: int
) -> Floats:
    """Return the sum of values over the pixels of each image that are decided as each class; their number for None."""
    images = len(decided_nhw)
    key_nhw = decided_nhw + classes * np.arange(images).reshape(-1, *(1,) * (decided_nhw.ndim - 1))
    weights = None if values_nhw is None else values_nhw.ravel()
    return np.bincount(key_nhw.ravel(), weights, images * classes).reshape(images, classes).astype(np.float64)


def features_of(counts_nk4: Floats) -> Floats:
    """Return what an estimate rests on, of each image as a whole (first) and of each class: (n, 1 + k, 2).

    - the expected IoU, expected hits over expected union; of the image its mean over the classes in the map.
    - the mean mutual information of the members at the pixels of the class in the map; of the image at all its pixels.

    Args:
        counts_nk4: `expected_counts` and the sum of the mutual information over the decided pixels.

    Returns:
        NaN for a class that is not in the map.
    """
    hits, true, decided, information = np.moveaxis(counts_nk4, 2, 0)
    iou_nk = np.where(decided > 0, np.minimum(hits / np.maximum(true + decided - hits, 1), 1), np.nan)
    means_nk = divide_or_nan(information, decided)
    whole_n = divide_or_nan(information.sum(1), decided.sum(1))
    expected = np.concatenate([mean_present(iou_nk)[:, None], iou_nk], axis=1)
    return np.stack([expected, np.concatenate([whole_n[:, None], means_nk], axis=1)], axis=2)


def true_quality(confusions_nkk: Counts) -> Floats:
    """Return what is estimated (n, 1 + k): the mean IoU of each image, see `image_miou`, and the IoU of each class.

    A class in the map that the mask lacks has the IoU 0; without a labelled pixel in either of them it is NaN.
    """
    hits, union, _ = np.moveaxis(class_counts(confusions_nkk), -2, 0)
    return np.concatenate([image_miou(confusions_nkk)[:, None], divide_or_nan(hits, union)], axis=1)


@dataclass(frozen=True)
class QualityModel:
    r"""Estimate an IoU and its interval: :math:`\hat y = J + a + b J + c D`, and :math:`\hat y \pm q\, s(\hat y)`.

    J is the expected IoU, D the mutual information, and :math:`s(y) = \sqrt{y (1 - y) + 0.01}` the shape of the errors.

    Attributes:
        coefficients: a, b and c.
        width: q.
        groups: number of groups of images that it is fitted on.
    """

    coefficients: tuple[float, float, float]
    width: float
    groups: int

    def __call__(self, features_n2: Floats) -> Floats:
        """Return the estimate and the limits of its interval (n, 3), all between 0 and 1; NaN where features are."""
        estimate_n = _estimate(np.asarray(self.coefficients), features_n2)
        margin_n = self.width * _spread(estimate_n)
        return np.clip(np.stack([estimate_n, estimate_n - margin_n, estimate_n + margin_n], axis=1), 0, 1)


def fit_quality(features_n2: Floats, truth_n: Floats, groups: Sequence[str]) -> QualityModel | None:
    r"""Fit an estimate to images with masks, or return None if fewer than 10 groups have one.

    a, b and c minimise the squared error, in which every group weighs the same. Errors are those on groups that the fit
    was made without (five folds of groups). Of :math:`r_i = |y_i - \hat y_i| / s(\hat y_i)`, q is the smallest number
    with

    .. math:: \frac{1}{G} \sum_i \frac{[r_i \le q]}{n_{g(i)}} \ge 0.9\, \frac{N + 1}{N}

    for G groups with n images each. N is the number of images that would be as informative if they were independent:
    :math:`0.09\, G / v`, with v the variance over groups of the share of errors below their 90 % quantile; at least G,
    at most all. With one image per group this is split-conformal prediction: the interval holds with 90 % for an image
    of a new group. With several it is an approximation (measured: ``experiments/benchmarks/quality.py``).

    Args:
        features_n2: expected IoU and mutual information of each image, see `features_of`.
        truth_n: true IoU; NaN if it is not known.
        groups: group of each image.

    Reference:
        Lei et al., Distribution-free predictive inference for regression, 2018 (split-conformal, errors scaled by their
        spread); Barber et al., Predictive inference with the jackknife+, 2021 (errors of folds); Lee, Barber and
        Willett, Distribution-free inference with hierarchical data, 2023 (weights of groups; N = G); Kish, Survey
        Sampling, 1965 (N).
    """
    known_n = np.isfinite(truth_n) & np.isfinite(features_n2).all(1)
    _, code_n, size_g = np.unique(np.asarray(groups)[known_n], return_inverse=True, return_counts=True)
    if len(size_g) < ENOUGH_GROUPS:
        return None
    features, truth, weight_n = features_n2[known_n], truth_n[known_n], 1 / size_g[code_n]
    error_n = np.empty(len(truth))
    for fold in range(FOLDS):
        here_n = code_n % FOLDS == fold
        estimate_n = _estimate(_solve(features[~here_n], truth[~here_n], weight_n[~here_n]), features[here_n])
        error_n[here_n] = np.abs(truth[here_n] - estimate_n) / _spread(estimate_n)
    a, b, c = _solve(features, truth, weight_n).tolist()
    return QualityModel((a, b, c), _width(error_n, code_n, size_g), len(size_g))


def out_of_fold(features_n2: Floats, truth_n: Floats, groups: Sequence[str]) -> Floats:
    """Return estimate and interval (n, 3) of each image from a fit without its fold of groups; NaN where it fails."""
    code_n = np.unique(np.asarray(groups), return_inverse=True)[1]
    found_n3 = np.full((len(truth_n), 3), np.nan)
    for fold in range(FOLDS):
        here_n = code_n % FOLDS == fold
        elsewhere = [groups[n] for n in np.flatnonzero(~here_n).tolist()]
        model = fit_quality(features_n2[~here_n], truth_n[~here_n], elsewhere)
        if model is not None:
            found_n3[here_n] = model(features_n2[here_n])
    return found_n3


def validate_quality(found_n3: Floats, truth_n: Floats, groups: Sequence[str]) -> dict[str, Any]:
    """Return how good estimates are that were made out of fold.

    - ``images`` and ``groups`` with estimate and truth; with fewer than 10 groups the rest is None.
    - ``spearman``: rank correlation of estimate and truth over the images; None if one of them is constant.
    - ``coverage``: share of the intervals that hold the truth; every group weighs the same.
    - ``worst_found``: share of the tenth of the images with the lowest IoU that are among the tenth with the lowest
      estimate; guessing finds a tenth of them.
    """
    known_n = np.isfinite(truth_n) & np.isfinite(found_n3).all(1)
    _, code_n, size_g = np.unique(np.asarray(groups)[known_n], return_inverse=True, return_counts=True)
    scores: dict[str, Any] = {"images": int(known_n.sum()), "groups": len(size_g)}
    if len(size_g) < ENOUGH_GROUPS:
        return scores | {"spearman": None, "coverage": None, "worst_found": None}
    truth, (estimate, low, high) = truth_n[known_n], found_n3[known_n].T
    holds_g = np.bincount(code_n, (low <= truth) & (truth <= high)) / size_g
    tenth = max(1, round(len(truth) / 10))
    picked = np.argsort(estimate, kind="stable")[:tenth]
    worst = np.sort(truth)[tenth - 1]
    return scores | {
        "spearman": _spearman(estimate, truth),
        "coverage": float(holds_g.mean()),
        "worst_found": float((truth[picked] <= worst).mean()),
    }


def quality_sentence(scores: Mapping[str, Any] | None) -> str:
    """Return what the validation of the estimates of whole images says, in one sentence."""
    if scores is None or scores["coverage"] is None:
        return f"quality without a mask: cannot say, because fewer than {ENOUGH_GROUPS} groups are left to fit on"
    rank = "-" if scores["spearman"] is None else f"{scores['spearman']:.2f}"
    return (
        f"quality without a mask (ens predict --quality), out of fold: rank correlation of estimated and true mean IoU"
        f" of an image {rank}; {LEVEL:.0%} intervals hold for {scores['coverage']:.0%}; of the worst tenth,"
        f" {scores['worst_found']:.0%} are found (by chance 10%)"
    )


def _solve(features_n2: Floats, truth_n: Floats, weight_n: Floats) -> Floats:
    """Return a, b and c of the weighted ridge regression of truth minus expected IoU."""
    design = np.column_stack([np.ones(len(truth_n)), features_n2])
    gram = design.T @ (weight_n[:, None] * design) + RIDGE * weight_n.sum() * np.diag([0, 1, 1])
    return np.linalg.solve(gram, design.T @ (weight_n * (truth_n - features_n2[:, 0])))


def _width(error_n: Floats, code_n: NDArray[np.intp], size_g: NDArray[np.intp]) -> float:
    """Return the error q that images of new groups stay below with the probability `LEVEL`; see `fit_quality`."""
    order = np.argsort(error_n, kind="stable")
    reached = np.cumsum(1 / size_g[code_n][order]) / len(size_g) + 1e-12  # sums of thirds are no whole numbers
    quantile = error_n[order][np.searchsorted(reached, LEVEL)]
    share_g = np.bincount(code_n, error_n <= quantile) / size_g
    least = LEVEL * (1 - LEVEL) * len(size_g) / max(float(share_g.var(ddof=1)), 1e-9)
    count = min(max(least, len(size_g)), len(error_n))
    return float(error_n[order][np.searchsorted(reached, LEVEL * (count + 1) / count)])


def _estimate(coefficients: Floats, features_n2: Floats) -> Floats:
    a, b, c = coefficients
    return np.clip(features_n2[:, 0] * (1 + b) + a + c * features_n2[:, 1], 0, 1)


def _spread(estimate_n: Floats) -> Floats:
    return np.sqrt(estimate_n * (1 - estimate_n) + LEAST_VARIANCE)


def _spearman(one_n: Floats, other_n: Floats) -> float | None:
    ranks = _mean_ranks(one_n), _mean_ranks(other_n)
    if min(np.ptp(ranks[0]), np.ptp(ranks[1])) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _mean_ranks(values_n: Floats) -> Floats:
    """Return the rank of each value, from 1; equal values share their mean rank.

    It is `scipy.stats.rankdata`, whose import takes more than half a second.
    """
    _, place_n, count = np.unique(values_n, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place_n]
