"""Find images unlike the rest: measure the edges of every image, and how far they are from those of all others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
CORE = 0.75  # share of the images taken as alike: up to a quarter may be outliers, even all of one kind
FEWEST = 50  # fewer images are too few to describe "the rest"
FALSE_ALARMS = 0.1  # number expected in a whole data set of images that are alike


def edge_strengths(image_hwc: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return quantiles of the gradient magnitude of an image.

    Drawn or pasted content has edges, or flat areas, that no lens makes. The edges of natural images follow one law,
    whatever they show (Huang & Mumford 1999). Brightness is left out on purpose, because it varies with the time of
    day.

    Args:
        image_hwc: uint8, or floats in 0..1.

    Returns:
        Seven quantiles (0.05 to 0.999) of ``sqrt(dx^2 + dy^2)`` between neighbouring pixels, in units of the full
        range of values.

    >>> ramp = np.arange(100, dtype=np.uint8)[None, :, None].repeat(100, 0)
    >>> bool(np.allclose(edge_strengths(ramp * 2), 2 / 255))
    True
    >>> bool(np.allclose(edge_strengths(ramp[:1]), 1 / 255))
    True
    """
    scale = 1 / 255 if image_hwc.dtype == np.uint8 else 1.0
    grey = image_hwc.mean(-1, dtype=np.float32) * np.float32(scale)
    grey = np.pad(grey, [(0, side == 1) for side in grey.shape], mode="edge")  # no step along a side of one pixel
    steps = np.hypot(np.diff(grey, axis=0)[:, :-1], np.diff(grey, axis=1)[:-1])
    return np.quantile(steps, QUANTILES).astype(np.float32)


def strangeness(edges_nq: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how far every image is from the rest, as a multiple of the distance at which it becomes suspect.

    The distance is that of Mahalanobis with a robust mean and covariance (minimum covariance determinant of
    three quarters of the images), which many outliers do not distort. Its logarithm is modelled as normal above its
    median. The bound is the distance beyond which 0.1 images of the whole data set would lie by chance:
    ``log bound = median + Phi^-1(1 - 0.1 / n) * (upper quartile - median) / Phi^-1(0.75)``. Skewed features have a
    longer tail: up to 3 % of good images have been seen beyond the bound.

    Args:
        edges_nq: from :func:`edge_strengths`.

    Returns:
        Distance / bound (n,): above 1 is suspect. Infinity for images without any edge, unless more than a
        quarter of the images have no edge. Zeros if fewer than 50 images have edges.

    Reference:
        Rousseeuw & Van Driessen 1999, A fast algorithm for the minimum covariance determinant estimator.
    """
    from scipy.stats import norm  # noqa: PLC0415  (a second that only this check needs)
    from sklearn.covariance import MinCovDet  # noqa: PLC0415

    blank = edges_nq[:, -1] == 0
    result = np.where(blank & (blank.mean() <= 1 - CORE), np.inf, 0.0)
    total = int((~blank).sum())
    if total < FEWEST:
        return result
    # Pixels are rounded to 1/255. Noise of that width gives a covariance of full rank even if features hardly vary.
    dither = np.random.default_rng(0).uniform(-0.5, 0.5, (total, edges_nq.shape[1])) / 255
    core = MinCovDet(support_fraction=CORE, random_state=0).fit(edges_nq[~blank] + dither)
    logs = 0.5 * np.log(core.dist_)
    middle, upper = np.quantile(logs, [0.5, 0.75])
    bound = middle + norm.isf(FALSE_ALARMS / total) * (upper - middle) / norm.ppf(0.75)
    result[~blank] = np.exp(logs - bound)
    return result
