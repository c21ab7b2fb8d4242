"""Greedy selection of members with replacement, which maximises the mean IoU."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.arithmetic import first_class
from ensemble.combining.fit_data import FitData
from ensemble.combining.pool import Pool
from ensemble.combining.registry import COMBINERS, check_least
from ensemble.evaluation.confusion import mean_iou

ONE = 1 + 1e-3  # the largest probability, and more than the rounding of a sum
MOST = 400_000  # largest number of pixels for selecting members

Counts = tuple[int, ...]


@COMBINERS.register("greedy")
def greedy(fit_data: FitData, *, steps: int = 25, bags: int = 10, seed: int = 0) -> Pool:
    """Select members with replacement to maximise the mIoU (Caruana), and average over bags of image groups.

    In each bag the members are sorted by mIoU. The selection starts twice: from the best of the nested averages, and
    from the best member. Each step adds the member that helps most. The best ensemble of all steps is kept, not the
    last one. The weight of a member is its share of the selections, averaged over the bags.

    Args:
        fit_data: the members' probabilities.
        steps: number of members in the largest ensemble, with repetitions.
        bags: number of bags, each a random half of the image groups; 1 uses all groups without bagging.
        seed: seed of the bags.

    Reference:
        Caruana et al., Ensemble selection from libraries of models, 2004, sections 2.1 to 2.3 (with replacement,
        sorted initialisation, bagging; bags here are of images, not of members).
    """
    check_least("greedy", 1, steps=steps, bags=bags)
    check_least("greedy", 0, seed=seed)
    scores = _Scores.of(fit_data.thin(MOST), bags, seed)
    weights_bm = [np.asarray(select_members(scores, bag, fit_data.members, steps), np.float64) for bag in range(bags)]
    return Pool.weighted(np.mean([counts / counts.sum() for counts in weights_bm], axis=0), fit_data.classes)


def select_members(scores: _Scores, bag: int, members: int, steps: int) -> Counts:
    """Return how often each member occurs in the best ensemble for one bag."""

    def key(counts: Counts) -> tuple[float, float]:
        return scores(counts)[bag], scores.likelihood(counts)

    def climb(counts: Counts) -> Counts:
        best = counts
        for _ in range(sum(counts), steps):
            counts = max(scores.one_more(counts), key=key)
            best = max(best, counts, key=key)
        return best

    single = [tuple(int(m == other) for other in range(members)) for m in range(members)]
    order = sorted(range(members), key=lambda m: key(single[m]), reverse=True)
    nested = [tuple(int(m in order[: size + 1]) for m in range(members)) for size in range(members)]
    starts = dict.fromkeys((max(nested, key=key), nested[0]))
    return max((climb(start) for start in starts), key=key)


@dataclass(frozen=True, eq=False)
class _Scores:
    """mIoU of averages of members in every bag; each average is scored once.

    At a pixel at which all members agree, every average of them decides the same; such pixels are counted only once.

    Attributes:
        probs_mcp: probabilities at the pixels at which members disagree.
        cells_p: first cell of each of these pixels' rows in the flattened confusion matrices of the groups.
        agreed_gkk: confusion matrices of the other pixels.
        bags_bg: 1 for the groups that belong to each bag, else 0.
        true_m: mean log-probability of the true class by each member, which decides between equal scores.
    """

    probs_mcp: NDArray[np.float32]
    cells_p: NDArray[np.intp]
    agreed_gkk: NDArray[np.int64]
    bags_bg: NDArray[np.float64]
    true_m: NDArray[np.float64]
    known: dict[Counts, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, fit_data: FitData, bags: int, seed: int) -> _Scores:
        decided_mp = first_class(fit_data.probs_mcp)
        differ_p = (decided_mp != decided_mp[0]).any(0)
        place = np.flatnonzero(differ_p)
        group_p = fit_data.group_n[fit_data.image_p]
        cells_p = (group_p * fit_data.classes + fit_data.labels_p) * fit_data.classes
        shape = (int(fit_data.group_n.max()) + 1, fit_data.classes, fit_data.classes)
        agreed_gkk = _count((cells_p + decided_mp[0])[~differ_p], shape)
        held = np.flatnonzero(np.bincount(group_p))
        bags_bg = np.zeros((bags, len(agreed_gkk)))
        random = np.random.default_rng(seed)
        for row in bags_bg:
            row[held if bags == 1 else random.choice(held, -(-len(held) // 2), replace=False)] = 1
        true_m = np.log(np.maximum(fit_data.true_probs_pm, 1e-7)).mean(0, dtype=np.float64)
        return cls(np.take(fit_data.probs_mcp, place, axis=2), cells_p[place], agreed_gkk, bags_bg, true_m)

    def __call__(self, counts: Counts) -> list[float]:
        if counts not in self.known:
            self._learn([counts], [self._decide(counts)[2]])
        return self.known[counts]

    def one_more(self, counts: Counts) -> list[Counts]:
        """Return the ensembles with one member more, and score them; only pixels that change class are counted."""
        more = [(*counts[:m], counts[m] + 1, *counts[m + 1 :]) for m in range(len(counts))]
        if any(one not in self.known for one in more):
            sum_cp, before_p, before_gkk = self._decide(counts)
            near = np.flatnonzero(_lead(sum_cp) <= ONE)  # elsewhere no member can change the class
            sum_cp, before_p, cells_p = np.take(sum_cp, near, axis=1), before_p[near], self.cells_p[near]
            confusions_mgkk: list[NDArray[np.int64]] = []
            for probs_cp in self.probs_mcp:
                after_p = first_class((sum_cp + np.take(probs_cp, near, axis=1))[None])[0]
                place = np.flatnonzero(after_p != before_p)
                gone_gkk = _count(cells_p[place] + before_p[place], before_gkk.shape)
                confusions_mgkk.append(
                    before_gkk - gone_gkk + _count(cells_p[place] + after_p[place], before_gkk.shape)
                )
            self._learn(more, confusions_mgkk)
        return more

    def likelihood(self, counts: Counts) -> float:
        """Return the mean of the members' log-likelihoods, rounded so that the order of the sum does not matter."""
        return round(float(np.dot(counts, self.true_m) / sum(counts)), 9)

    def _decide(self, counts: Counts) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.int64]]:
        """Return the sum of the members, the decided classes, and the confusion matrices of all pixels."""
        sum_cp = np.tensordot(np.asarray(counts, np.float32), self.probs_mcp, 1)
        decided_p = first_class(sum_cp[None])[0]
        return sum_cp, decided_p, self.agreed_gkk + _count(self.cells_p + decided_p, self.agreed_gkk.shape)

    def _learn(self, ensembles: list[Counts], confusions_lgkk: list[NDArray[np.int64]]) -> None:
        scores_bl = mean_iou(np.tensordot(self.bags_bg, np.stack(confusions_lgkk, 1), 1))
        self.known.update(zip(ensembles, np.nan_to_num(scores_bl.T, nan=-1.0).tolist(), strict=True))


def _lead(sum_cp: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return by how much the largest value of each pixel exceeds the second largest."""
    first_p, second_p = sum_cp[0].copy(), np.full(sum_cp.shape[1], -np.inf, np.float32)
    for values_p in sum_cp[1:]:
        np.maximum(second_p, np.minimum(first_p, values_p), out=second_p)
        np.maximum(first_p, values_p, out=first_p)
    return np.subtract(first_p, second_p, out=first_p)


def _count(cells_p: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return confusion matrices (groups, classes, classes) of pixels, given by their cell in the flattened ones."""
    return np.bincount(cells_p, minlength=int(np.prod(shape))).astype(np.int64, copy=False).reshape(shape)
