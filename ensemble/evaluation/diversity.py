"""Measure how different the members are: pairwise measures, the oracle bound, and the split of the log-loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.evaluation.calibration import SMALLEST_PROBABILITY
from ensemble.evaluation.confusion import Floats, divide_or_nan, mean_iou


class PairTally:
    r"""Count the labelled pixels by the decisions of M members; ``add`` takes batches, the properties are over all.

    :math:`N^{11}, N^{10}, N^{01}, N^{00}` are the numbers of pixels that both members of a pair decide rightly, only
    one of them, or neither. One matrix product of error indicators per batch counts them for all pairs.

    Args:
        members: number of members.
        classes: number of classes.

    Reference:
        Kuncheva and Whitaker, Measures of Diversity in Classifier Ensembles and Their Relationship with the Ensemble
        Accuracy, 2003, equations 1 (Q), 2 (correlation) and 4 (double fault).

    >>> tally = PairTally(members=2, classes=2)
    >>> tally.add(np.array([[0, 0, 1, 1], [0, 1, 1, 0]]), np.array([0, 0, 1, 0]))
    >>> tally.disagreement_mm.tolist(), tally.double_fault_mm.tolist(), tally.oracle_accuracy
    ([[0.0, 0.5], [0.5, 0.0]], [[0.25, 0.0], [0.0, 0.25]], 1.0)
    """

    def __init__(self, members: int, classes: int) -> None:
        self.pixels = 0
        self.confusions_mkk = np.zeros((members, classes, classes), np.int64)
        self._same_mm = np.zeros((members, members))
        self._both_wrong_mm = np.zeros((members, members))
        self._some_right_k = np.zeros(classes, np.int64)
        self._none_right_mkk = np.zeros((members, classes, classes), np.int64)

    def add(self, decided_mp: NDArray[np.integer[Any]], labels_p: NDArray[np.integer[Any]]) -> None:
        """Count labelled pixels: decided classes (members, pixels) and true ones.

        Raises:
            EnsError: shapes do not fit the members.
        """
        if decided_mp.shape != (len(self._same_mm), *labels_p.shape) or labels_p.ndim != 1:
            raise EnsError(
                f"expected decisions of {len(self._same_mm)} members at labelled pixels (members, pixels), got shapes"
                f" {decided_mp.shape} and {labels_p.shape}"
            )
        classes = len(self._some_right_k)
        wrong_mp = decided_mp != labels_p
        none_p = wrong_mp.all(0)
        self.pixels += len(labels_p)
        for k in range(classes):
            chose_mp = (decided_mp == k).astype(np.float32)
            self._same_mm += chose_mp @ chose_mp.T  # exact: a batch holds fewer than 2^24 pixels
        self._both_wrong_mm += np.matmul(wrong_mp.astype(np.float32), wrong_mp.T.astype(np.float32))
        self._some_right_k += np.bincount(labels_p[~none_p], minlength=classes)
        self.confusions_mkk += _confusions(decided_mp, labels_p, classes)
        self._none_right_mkk += _confusions(decided_mp[:, none_p], labels_p[none_p], classes)

    @property
    def error_m(self) -> Floats:
        """Share of the pixels that each member decides wrongly."""
        return np.diag(self._both_wrong_mm) / max(1, self.pixels)

    @property
    def disagreement_mm(self) -> Floats:
        """Share of the pixels for which two members decide different classes, right or wrong."""
        return (self.pixels - self._same_mm) / max(1, self.pixels)

    @property
    def double_fault_mm(self) -> Floats:
        r"""Share of the pixels that both decide wrongly, :math:`N^{00} / N`; the diagonal holds the members' errors."""
        return self._both_wrong_mm / max(1, self.pixels)

    @property
    def error_correlation_mm(self) -> Floats:
        r"""Correlation (phi) of errors: 1 for the same pixels, 0 for independent ones; NaN for a member without error.

        :math:`(N^{11} N^{00} - N^{10} N^{01}) / \sqrt{(N^{11}+N^{10})(N^{01}+N^{00})(N^{11}+N^{01})(N^{10}+N^{00})}`
        """
        one, other, both, none = self._table()
        wrong_m = np.diag(both)
        spread_m = np.sqrt(wrong_m * (self.pixels - wrong_m))
        return divide_or_nan(none * both - one * other, np.outer(spread_m, spread_m))

    @property
    def q_statistic_mm(self) -> Floats:
        r"""Yule's Q, :math:`(N^{11} N^{00} - N^{01} N^{10}) / (N^{11} N^{00} + N^{01} N^{10})`; NaN for 0 / 0."""
        one, other, both, none = self._table()
        return divide_or_nan(none * both - one * other, none * both + one * other)

    def oracle_confusion(self) -> NDArray[np.int64]:
        """Return the confusion matrix (k, k) of an oracle that takes the right member if any is right.

        Where no member is right, it decides like the member with the highest mIoU. So no member has a higher mIoU.
        """
        best = int(np.nan_to_num(mean_iou(self.confusions_mkk), nan=-1.0).argmax())
        return np.diag(self._some_right_k) + self._none_right_mkk[best]

    @property
    def oracle_accuracy(self) -> float:
        """Share of the pixels that at least one member decides rightly."""
        return float(self._some_right_k.sum() / max(1, self.pixels))

    def _table(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Return how many pixels that only the first, only the second, both, or neither of two members got wrong."""
        both = self._both_wrong_mm
        wrong_m = np.diag(both)
        one, other = wrong_m[:, None] - both, wrong_m[None, :] - both
        return one, other, both, self.pixels - one - other - both


def _confusions(decided_mp: NDArray[Any], labels_p: NDArray[Any], classes: int) -> NDArray[np.int64]:
    rows_p = labels_p.astype(np.intp) * classes
    counts = [np.bincount(rows_p + decided_p, minlength=classes**2) for decided_p in decided_mp]
    return np.stack(counts).reshape(len(decided_mp), classes, classes)


class LossSplit:
    r"""Split the log-loss into the members' mean loss and the gain of averaging, as sums per true class.

    With the geometric mean :math:`g_c = \exp(\tfrac1M \sum_m \log p_{mc}) / Z`, this holds exactly at every pixel:

    .. math:: -\log g_y = \tfrac1M \sum_m (-\log p_{my}) - D, \quad D = -\log Z = \tfrac1M \sum_m KL(g \| p_m) \ge 0.

    D is the diversity. The members' mean loss is the sum of noise, bias and variance; to separate these, each member
    would have to be trained many times. The arithmetic mean q has no such identity. Its gain is called ambiguity: the
    members' mean loss minus :math:`-\log q_y`, which is at least 0, too. Probabilities are clipped at 1e-7.

    Args:
        classes: number of classes.

    Reference:
        Wood et al., A Unified Theory of Diversity in Ensemble Learning, 2023, proposition 3 and table 1;
        Heskes, Bias/Variance Decompositions for Likelihood-Based Estimators, 1998.

    >>> split = LossSplit(classes=2)
    >>> split.add(np.log(np.array([[[0.8], [0.2]], [[0.2], [0.8]]])), np.array([0]))
    >>> {name: round(float(values[0]), 4) for name, values in split.sums.items()}
    {'members': 0.9163, 'diversity': 0.2231, 'geometric': 0.6931, 'ambiguity': 0.2231, 'average': 0.6931}
    """

    NAMES = ("members", "diversity", "geometric", "ambiguity", "average")

    def __init__(self, classes: int) -> None:
        self.pixels_k = np.zeros(classes, np.int64)
        self._sums = {name: np.zeros(classes) for name in ("members", "diversity", "average")}

    def add(self, log_probs_mcp: NDArray[np.floating[Any]], labels_p: NDArray[np.integer[Any]]) -> None:
        """Add labelled pixels: log-probabilities (members, classes, pixels), see ``clipped_log``, and true classes."""
        classes, pixels = len(self.pixels_k), np.arange(len(labels_p))
        mean_cp = log_probs_mcp.mean(0)
        top_p = mean_cp.max(0)
        log_z_p = top_p + np.log(np.exp(mean_cp - top_p).sum(0))
        average_p = np.exp(log_probs_mcp[:, labels_p, pixels]).mean(0)
        losses = {"members": -mean_cp[labels_p, pixels], "diversity": -log_z_p, "average": -np.log(average_p)}
        for name, loss_p in losses.items():
            self._sums[name] += np.bincount(labels_p, loss_p, minlength=classes)
        self.pixels_k += np.bincount(labels_p, minlength=classes)

    @property
    def sums(self) -> dict[str, Floats]:
        """Sums per class in nats: ``members - diversity = geometric`` and ``members - ambiguity = average``."""
        members, diversity, average = self._sums.values()
        parts = (members, diversity, members - diversity, members - average, average)
        return dict(zip(self.NAMES, parts, strict=True))


def clipped_log(probs: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the logarithm of probabilities, clipped at 1e-7 as the log-loss is."""
    return np.log(np.maximum(probs, probs.dtype.type(SMALLEST_PROBABILITY)))
