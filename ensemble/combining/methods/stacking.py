"""Stacking: a multinomial logistic regression on the members' log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import FLOOR, softmax, tempered
from ensemble.combining.combiner import Combiner, calibration_from_json, damaged
from ensemble.combining.decision import Decision
from ensemble.combining.fit_data import FitData, near_mean
from ensemble.combining.registry import COMBINERS, check_least
from ensemble.core.errors import EnsError

MOST = 100_000  # largest number of pixels for fitting the regression

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Stacking(Combiner):
    r"""Combine by the softmax of a linear function of the members' log-probabilities, at the pixel and around it.

    .. math:: p_k \propto \exp\Big(b_k + \sum_{m,t,c} a_{mtck} \log p_{mtc}\Big)

    with :math:`p_{m0c}` the (tempered) probability of member m at the pixel. If there are coefficients for it,
    :math:`p_{m1c}` is its mean over the 3x3 neighbourhood.

    Args:
        coefficients_mtck: a, (members, 1 or 2, classes in, classes out).
        bias_k: b, (classes out,).
        temperatures_m: temperature of each member before stacking.
        temperature: temperature after stacking.
        offsets_c: added to the log-probabilities when a class is decided.
        chosen: the method that ``auto`` selected; empty for other methods.
        decision: a rule that decides for the metric; None for the argmax with the offsets.
        smallest_c: pixels of the smallest object of each class that stays in class maps; None if all stay.

    Raises:
        EnsError: shapes or values that do not fit.
    """

    coefficients_mtck: NDArray[np.float64]
    bias_k: NDArray[np.float64]
    temperatures_m: NDArray[np.float64]
    temperature: float = 1.0
    offsets_c: NDArray[np.float64] | None = None
    chosen: str = ""
    decision: Decision | None = None
    smallest_c: NDArray[np.int64] | None = None

    KIND: ClassVar[str] = "stacking"
    PER_MEMBER: ClassVar[Mapping[str, float]] = {"coefficients_mtck": 0.0, "temperatures_m": 1.0}

    def __post_init__(self) -> None:
        shape, classes = self.coefficients_mtck.shape, len(self.bias_k)
        if len(shape) != 4 or shape[1] not in (1, 2) or shape[2:] != (classes, classes):
            raise EnsError(
                "expected coefficients (members, 1 or 2, classes, classes) and a bias per class, got shapes"
                f" {shape} and {self.bias_k.shape}"
            )
        if not (np.isfinite(self.coefficients_mtck).all() and np.isfinite(self.bias_k).all()):
            raise EnsError("expected finite coefficients, got NaN or infinity")
        self._check(shape[0])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.bias_k)

    @property
    def weights_m(self) -> NDArray[np.float64]:
        """Share of the absolute coefficients of each member."""
        size_m = np.abs(self.coefficients_mtck).sum((1, 2, 3))
        return size_m / max(float(size_m.sum()), 1e-300)

    @property
    def neighbourhood(self) -> bool:
        """Whether it looks at the pixels around each pixel."""
        return self.coefficients_mtck.shape[1] == 2

    def __call__(self, probs_mnchw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities (n, c, h, w) for the members' probabilities (m, n, c, h, w)."""
        self._check_input(probs_mnchw)
        return self._stack([probs_mnchw, near_mean(probs_mnchw)] if self.neighbourhood else [probs_mnchw])

    def on_pixels(self, fit_data: FitData) -> NDArray[np.float32]:
        """Return the probabilities (classes, pixels) at the pixels of ``fit_data``."""
        tables = _tables(fit_data, self.coefficients_mtck.shape[1])
        return self._stack([table[:, None, :, None] for table in tables])[0, :, 0]

    def _stack(self, tables_mnchw: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        _, images, classes, height, width = tables_mnchw[0].shape
        scores = np.zeros((images, classes, height * width), np.float32)
        scores += self.bias_k.astype(np.float32)[:, None]
        for m in np.flatnonzero(self.coefficients_mtck.any((1, 2, 3))):
            for t, table in enumerate(tables_mnchw):
                logs = log_probabilities(tempered(table[m], float(self.temperatures_m[m])))
                scores += self.coefficients_mtck[m, t].T.astype(np.float32) @ logs.reshape(images, classes, -1)
        return tempered(softmax(scores).reshape(images, classes, height, width), self.temperature)

    def to_json(self) -> dict[str, Any]:
        """Return the parameters as plain numbers."""
        own = {"coefficients": self.coefficients_mtck.tolist(), "bias": self.bias_k.tolist()}
        return self._calibration_to_json() | own

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Stacking:
        """Return the regression with the parameters of ``to_json``."""
        try:
            coefficients, bias = (np.asarray(content[key], np.float64) for key in ("coefficients", "bias"))
            return cls(coefficients, bias, **calibration_from_json(content))
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(error) from None


@COMBINERS.register("stacking")
def stacking(fit_data: FitData, *, neighbourhood: Literal[1, 3] = 1, strength: float = 0.01) -> Stacking:
    """Fit a multinomial logistic regression on log-probabilities, shrunk to the geometric mean of the members.

    Args:
        fit_data: the members' probabilities, gathered with ``neighbourhood=True`` if the neighbourhood is 3.
        neighbourhood: 1 for the pixel only; 3 for the mean over the 3x3 pixels around it as well.
        strength: weight of the squared distance from the geometric mean (1/M on the same class), at least 0.

    Raises:
        EnsError: the neighbourhood was not gathered.

    Reference:
        Wolpert, Stacked generalization, 1992; Ting and Witten, Issues in stacked generalization, 1999.
    """
    check_least("stacking", 0, strength=strength)
    some = fit_data.thin(MOST)
    tables = _tables(some, 1 if neighbourhood == 1 else 2)
    members, classes, pixels = some.probs_mcp.shape
    logs = np.stack([log_probabilities(table) for table in tables], 1).reshape(-1, pixels)
    centre_mtck = np.zeros((members, len(tables), classes, classes))
    centre_mtck[:, 0] = np.eye(classes) / members
    fitted_fk, bias_k = fit_multinomial(logs, some.labels_p, centre_mtck.reshape(-1, classes), strength)
    return Stacking(fitted_fk.reshape(centre_mtck.shape), bias_k, np.ones(members))


def _tables(fit_data: FitData, count: int) -> list[NDArray[np.float32]]:
    if count == 1:
        return [fit_data.probs_mcp]
    if fit_data.near_mcp is None:
        raise EnsError(
            "expected probabilities of 3x3 neighbourhoods, but they were not gathered; use neighbourhood=True"
        )
    return [fit_data.probs_mcp, fit_data.near_mcp]


def log_probabilities(probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logarithms of probabilities, clipped as in the log-loss."""
    return np.log(np.maximum(probs, np.float32(FLOOR)))


def fit_multinomial(
    features_fp: Floats, labels_p: NDArray[np.uint8], centre_fk: NDArray[np.float64], strength: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return coefficients (features, classes) and bias (classes,) of a penalised multinomial logistic regression.

    .. math:: \min_{A, b}\ -\tfrac{1}{P} \sum_p \log \text{softmax}(A^T x_p + b)_{y_p}
        + \tfrac{s}{2} \lVert A - A_0 \rVert^2

    The problem is convex. It is solved by L-BFGS with the exact gradient, from the centre. The bias is not penalised.
    Because the log-probabilities of the members are strongly correlated, the search uses coordinates that are whitened
    by the curvature at the centre. This changes only its speed.
    """
    from scipy.optimize import minimize  # noqa: PLC0415  (a third of a second that training does not need)

    features, classes = centre_fk.shape
    pixels, place = len(labels_p), np.arange(len(labels_p))
    white_ff = _whitening(features_fp, centre_fk, strength)

    def loss_and_gradient(free: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = free.reshape(features + 1, classes).copy()
        table[:-1] = white_ff @ table[:-1] + centre_fk
        scores_kp = table[:-1].T.astype(features_fp.dtype) @ features_fp
        scores_kp += table[-1].astype(features_fp.dtype)[:, None]
        scores_kp -= scores_kp.max(0)
        true_p = scores_kp[labels_p, place]
        np.exp(scores_kp, out=scores_kp)
        total_p = scores_kp.sum(0)
        scores_kp /= total_p
        scores_kp[labels_p, place] -= 1
        away_fk = table[:-1] - centre_fk
        gradient = np.empty_like(table)
        gradient[:-1] = white_ff.T @ ((features_fp @ scores_kp.T) / pixels + strength * away_fk)
        gradient[-1] = scores_kp.mean(1, dtype=np.float64)
        loss = float((np.log(total_p) - true_p).mean(dtype=np.float64))
        return loss + strength / 2 * float(np.square(away_fk).sum()), gradient.ravel()

    start = np.zeros((features + 1) * classes)
    options = {"maxiter": 500, "maxfun": 1000, "ftol": 1e-8, "gtol": 1e-6}
    result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    table = result.x.reshape(features + 1, classes)
    return white_ff @ table[:-1] + centre_fk, table[-1]


def _whitening(features_fp: Floats, centre_fk: NDArray[np.float64], strength: float) -> NDArray[np.float64]:
    """Return the matrix (features, features) that makes the curvature at the centre about 1 in every direction."""
    scores_kp = centre_fk.T.astype(features_fp.dtype) @ features_fp
    scores_kp = np.exp(scores_kp - scores_kp.max(0))
    scores_kp /= scores_kp.sum(0)
    unsure_p = (1 - np.square(scores_kp).sum(0)) / len(scores_kp)
    curvature_ff = ((features_fp * unsure_p) @ features_fp.T).astype(np.float64) / len(unsure_p)
    values_f, vectors_ff = np.linalg.eigh(curvature_ff)
    return vectors_ff / np.sqrt(np.maximum(values_f, 0) + strength + 1e-6)
