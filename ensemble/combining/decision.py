"""Decide for the metric: the class map with the largest expected mean IoU or Dice, found without a label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.core.errors import EnsError

Score = Literal["iou", "dice"]
RULES: dict[str, Score] = {"expected-iou": "iou", "expected-dice": "dice"}
PASSES = 30  # at most; ten are usual
STEP = 0.3  # share of the way to the expected scores of a pass: whole steps jump over the optimum if a class is rare
SETTLED = 1e-4  # largest change of an expected score that ends the search
ENOUGH = 1e-6  # gain in the expected mean score for which the argmax is left


@dataclass(frozen=True, eq=False)
class Decision:
    r"""The rule that gives a pixel to the class that raises the expected mean score most.

    A pixel with probability :math:`p_c` that joins class c changes the expected score of c by

    .. math:: \frac{p_c (1 + J_c) - J_c}{U_c}\ \text{(IoU)},\qquad \frac{2 p_c - D_c}{V_c}\ \text{(Dice)}

    over the pixel count that both share, with :math:`J_c` or :math:`D_c` the expected score of the class, and
    :math:`U_c` its expected union, :math:`V_c` its expected true plus its decided pixels. The largest change decides.

    Args:
        score: ``iou`` or ``dice``.
        expected_c: expected score of each class, from 0 to below 1 or equal to 1.
        sizes_c: expected union (IoU) or true plus decided pixels (Dice), above 0; a common factor changes nothing.

    Raises:
        EnsError: shapes or values that do not fit.

    Reference:
        Nowozin, Optimal Decisions from Probabilistic Models: the Intersection-over-Union Case, 2014; Lipton et al.,
        Optimal Thresholding of Classifiers to Maximize F1 Measure, 2014; Dinkelbach, On Nonlinear Fractional
        Programming, 1967.

    >>> rare = Decision("iou", np.array([0.8, 0.2]), np.array([1000.0, 50.0]))
    >>> rare.decide(np.array([0.7, 0.3], np.float32).reshape(1, 2, 1, 1)).ravel().tolist()  # 0.00046 against 0.0032
    [1]
    """

    score: Score
    expected_c: NDArray[np.float64]
    sizes_c: NDArray[np.float64]

    def __post_init__(self) -> None:
        expected, sizes = self.expected_c, self.sizes_c
        fits = self.score in get_args(Score) and expected.ndim == 1 and expected.shape == sizes.shape
        if not (fits and ((expected >= 0) & (expected <= 1)).all() and (np.isfinite(sizes) & (sizes > 0)).all()):
            raise EnsError(
                "expected the score iou or dice, an expected score between 0 and 1 and a size above 0 for each class,"
                f" got {self.score}, {expected.tolist()} and {sizes.tolist()}"
            )

    @classmethod
    def argmax(cls, score: Score, classes: int) -> Decision:
        """Return the parameters with which the rule is the argmax."""
        return cls(score, np.zeros(classes), np.ones(classes))

    def decide(self, probs_nchw: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the class of each pixel (n, ...) of probabilities (n, classes, ...), the first of equals."""
        slopes, losses = (
            values_c.astype(np.float32).reshape(-1, *(1,) * (probs_nchw.ndim - 2)) for values_c in self.line
        )
        return first_class(probs_nchw * slopes - losses)

    @property
    def line(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The rule as ``argmax_c a_c p_c - b_c``: a and b (classes,), with 1 as the largest a."""
        slopes_c = ((1 + self.expected_c) if self.score == "iou" else np.full(len(self.expected_c), 2.0)) / self.sizes_c
        largest = slopes_c.max()  # so that no number is too small for float32
        return slopes_c / largest, self.expected_c / self.sizes_c / largest

    def towards(self, other: Decision, step: float) -> Decision:
        """Return a decision between this one and another: scores by their mean, sizes by their geometric mean."""
        expected_c = self.expected_c + step * (other.expected_c - self.expected_c)
        return Decision(self.score, expected_c, self.sizes_c * (other.sizes_c / self.sizes_c) ** step)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers."""
        return {"score": self.score, "expected": self.expected_c.tolist(), "sizes": self.sizes_c.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Decision:
        """Return the decision with the parameters of ``to_json``; a missing one is a KeyError."""
        expected, sizes = (np.asarray(content[name], np.float64) for name in ("expected", "sizes"))
        return cls(content["score"], expected, sizes)


def fit_decision(read: Callable[[], Iterable[NDArray[np.float32]]], score: Score) -> Decision:
    """Return the decision with the largest expected mean score of the classes, at least that of the argmax.

    The first pass decides by argmax. Each later one decides by expected scores and sizes that have moved a part of the
    way to those of the pass before, until they agree with what they lead to: a fixed point. The best pass is returned.
    A pass keeps three sums per class.

    Args:
        read: returns the probabilities (classes, pixels), batch after batch; it is called once per pass.
        score: ``iou`` or ``dice``.

    >>> probs = np.array([[0.6, 0.6, 0.9, 0.9, 1.0, 1.0], [0.4, 0.4, 0.1, 0.1, 0.0, 0.0]], np.float32)
    >>> fit_decision(lambda: [probs], "iou").decide(probs[None])[0].tolist()
    [1, 1, 0, 0, 0, 0]
    """
    at = expected_of(read(), None, score)
    best, reached = Decision.argmax(score, len(at.expected_c)), float(at.expected_c.mean())
    for _ in range(PASSES):
        found = expected_of(read(), at, score)
        value = float(found.expected_c.mean())
        if value > reached + ENOUGH:
            best, reached = at, value
        if np.abs(found.expected_c - at.expected_c).max() < SETTLED:
            break
        at = at.towards(found, STEP)
    return best


def expected_of(batches: Iterable[NDArray[np.float32]], decision: Decision | None, score: Score) -> Decision:
    """Return expected scores and sizes of the classes under a decision; None is the argmax.

    Expected counts replace counts: of hits, the sum of ``p_c`` over the pixels decided as c; of true pixels, the sum of
    ``p_c`` over all pixels. A class of which less than one pixel is expected counts as one pixel.
    """
    hits_c: Any = 0.0
    true_c: Any = 0.0
    decided_c: Any = 0.0
    for probs_cp in batches:
        classes = len(probs_cp)
        place_p = first_class(probs_cp[None])[0] if decision is None else decision.decide(probs_cp[None])[0]
        chosen_p = np.take_along_axis(probs_cp, place_p[None], axis=0)[0]
        hits_c += np.bincount(place_p, chosen_p, classes)
        true_c += probs_cp.sum(1, dtype=np.float64)
        decided_c += np.bincount(place_p, minlength=classes)
    sizes_c = np.maximum(true_c + decided_c - (hits_c if score == "iou" else 0), 1.0)
    expected_c = (1 if score == "iou" else 2) * hits_c / sizes_c
    return Decision(score, np.minimum(expected_c, 1.0), sizes_c)
