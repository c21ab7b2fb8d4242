"""Measure whether an ensemble is unsure where it errs: entropy, mutual information, risk-coverage curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.diversity import clipped_log

Probabilities = NDArray[np.floating[Any]]


def entropy(probs_c: Probabilities, log_probs_c: Probabilities) -> Probabilities:
    """Return the entropy ``-sum_c p_c log p_c`` over the first axis, in nats: 0 if certain, log(classes) at most.

    >>> half = np.array([0.5, 0.5])
    >>> round(float(entropy(half, np.log(half))), 4)
    0.6931
    """
    return -np.einsum("c...,c...->...", probs_c, log_probs_c)


def mutual_information(probs_mc: Probabilities, log_probs_mc: Probabilities) -> Probabilities:
    r"""Return the disagreement of the members (BALD): entropy of their average minus their average entropy, in nats.

    It is :math:`H(\bar p) - \tfrac1M \sum_m H(p_m) = \tfrac1M \sum_m KL(p_m \| \bar p) \ge 0`. Members that are equal
    give 0, even if they are unsure.

    Args:
        probs_mc: probabilities (members, classes, ...).
        log_probs_mc: their logarithms, see ``clipped_log``.

    Returns:
        (...) in [0, log(min(members, classes))].

    Reference:
        Houlsby et al., Bayesian Active Learning for Classification and Preference Learning, 2011, equation 2.

    >>> certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(mutual_information(certain, clipped_log(certain))), 4)
    0.6931
    """
    mean_c = probs_mc.mean(0)
    own = -np.einsum("mc...,mc...->...", probs_mc, log_probs_mc) / len(probs_mc)
    return np.maximum(entropy(mean_c, clipped_log(mean_c)) - own, 0)


class RiskTally:
    """Count pixels and errors by uncertainty in fine bins, which rank any number of pixels in bounded memory.

    Bins are equally wide in the square root of the score: most scores are small, and there the bins are fine. The
    pixels of a bin count as ties, so a curve is straight within a bin.

    Args:
        largest: largest possible score, such as log(classes).
        bins: number of bins.

    Reference:
        El-Yaniv and Wiener, On the Foundations of Noise-free Selective Classification, 2010 (risk and coverage);
        Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, 2019 (AURC).

    >>> tally = RiskTally(largest=1.0)
    >>> tally.add(np.array([0.9, 0.5, 0.2, 0.1]), np.array([True, False, False, False]))
    >>> tally.errors_found(0.25), tally.errors_found(1.0)
    (1.0, 1.0)
    """

    def __init__(self, largest: float, bins: int = 4000) -> None:
        if not largest > 0:
            raise EnsError(f"expected a largest score above 0, got {largest}; for entropy it is log(classes)")
        self.largest = largest
        self.pixels_b = np.zeros(bins)
        self.errors_b = np.zeros(bins)

    def add(self, score_p: Probabilities, wrong_p: NDArray[np.bool_]) -> None:
        """Add pixels: their uncertainty, and whether the decision is wrong."""
        bins = len(self.pixels_b)
        share_p = np.sqrt(np.clip(score_p / self.largest, 0, 1))
        bin_p = np.minimum((share_p * bins).astype(np.intp), bins - 1)
        self.pixels_b += np.bincount(bin_p, minlength=bins)
        self.errors_b += np.bincount(bin_p[wrong_p], minlength=bins)

    @property
    def error(self) -> float:
        """Share of wrong pixels among all; NaN without pixels."""
        return float(self.errors_b.sum() / self.pixels_b.sum()) if self.pixels_b.any() else float("nan")

    def errors_found(self, share: float) -> float:
        """Return the share of all errors that the most uncertain ``share`` of the pixels holds; NaN without errors."""
        if not self.errors_b.any():
            return float("nan")
        pixels, errors = (np.append(0, sums[::-1].cumsum()) for sums in (self.pixels_b, self.errors_b))
        return float(np.interp(share * pixels[-1], pixels, errors) / errors[-1])

    def curve(self) -> tuple[Floats, Floats]:
        """Return the coverage, ascending up to 1, and the error among that most certain share of the pixels."""
        used = self.pixels_b > 0
        pixels, errors = self.pixels_b[used].cumsum(), self.errors_b[used].cumsum()
        return pixels / pixels[-1:], errors / pixels

    @property
    def aurc(self) -> float:
        r"""Area under the risk-coverage curve: the mean error over all coverages. 0 is best, ``error`` is chance.

        A bin of n pixels with the error rate r, after n0 pixels with e0 errors, adds
        :math:`\int_{n_0}^{n_0+n} (e_0 + r (x - n_0)) / x \, dx = r n + (e_0 - r n_0) \log((n_0 + n) / n_0)`.
        """
        used = self.pixels_b > 0
        size, wrong = self.pixels_b[used], self.errors_b[used]
        if not size.size:
            return float("nan")
        before, errors = size.cumsum() - size, wrong.cumsum() - wrong
        rate = wrong / size
        logs = np.log((before[1:] + size[1:]) / before[1:])
        area = wrong.sum() + ((errors[1:] - rate[1:] * before[1:]) * logs).sum()
        return float(area / size.sum())

    @property
    def best_aurc(self) -> float:
        """AURC of a score that ranks every error above every right pixel, ``e + (1 - e) log(1 - e)``."""
        error = self.error
        return 1.0 if error == 1 else error + (1 - error) * float(np.log1p(-error))
