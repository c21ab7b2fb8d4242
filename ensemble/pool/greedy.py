"""Greedy selection of members with replacement, on the mean IoU itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ensemble.evaluation.confusion import mean_iou
from ensemble.pool.combiner import first_class
from ensemble.pool.evidence import Evidence
from ensemble.pool.pool import Pool
from ensemble.pool.registry import COMBINERS

MOST = 400_000  # pixels that members are selected on

Counts = tuple[int, ...]


@COMBINERS.register("greedy")
def greedy(evidence: Evidence, *, steps: int = 25, bags: int = 10, seed: int = 0) -> Pool:
    """Caruana's selection with replacement on mIoU, averaged over bags of image groups.

    In each bag the members are sorted by mIoU and the best of their nested averages is the start; then the member that
    helps most is added, again and again, and the best ensemble on the way is kept (not the last). Weights are the
    shares of the selections, averaged over the bags.

    Args:
        evidence: the members' probabilities.
        steps: members in the longest ensemble, repetitions counted.
        bags: bags, each a random half of the image groups; 1 is all groups and no bagging.
        seed: seed of the bags.

    Reference:
        Caruana et al., Ensemble selection from libraries of models, 2004, sections 2.1 to 2.3 (with replacement,
        sorted initialisation, bagging; bags here are of images, not of members).
    """
    scores = _Scores.of(evidence.thin(MOST), bags, seed)
    weights_bm = [np.asarray(select_members(scores, bag, evidence.members, steps), np.float64) for bag in range(bags)]
    return Pool.weighted(np.mean([counts / counts.sum() for counts in weights_bm], axis=0), evidence.classes)


def select_members(scores: _Scores, bag: int, members: int, steps: int) -> Counts:
    """How often each member is in the best ensemble found for one bag."""

    def key(counts: Counts) -> tuple[float, float]:
        return scores(counts)[bag], scores.likelihood(counts)

    single = [tuple(int(m == other) for other in range(members)) for m in range(members)]
    order = sorted(range(members), key=lambda m: key(single[m]), reverse=True)
    nested = [tuple(int(m in order[: size + 1]) for m in range(members)) for size in range(members)]
    best = current = max(nested, key=key)
    for _ in range(sum(current), steps):
        current = max((tuple(np.add(current, one).tolist()) for one in single), key=key)
        if key(current) > key(best):
            best = current
    return best


@dataclass(frozen=True, eq=False)
class _Scores:
    """mIoU in every bag of averages of members, each computed once.

    Where all members put the same class first so does every average of them: such pixels are counted once for all.

    Attributes:
        disputed: the pixels on which members differ.
        agreed_gkk: confusions of the others.
        bags_bg: which groups belong to each bag.
        true_m: each member's mean log-probability of the truth, to decide between equals.
    """

    disputed: Evidence
    agreed_gkk: NDArray[np.int64]
    bags_bg: NDArray[np.float64]
    true_m: NDArray[np.float64]
    known: dict[Counts, list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, evidence: Evidence, bags: int, seed: int) -> _Scores:
        decided_mp = first_class(evidence.probs_mcp)
        differ_p = (decided_mp != decided_mp[0]).any(0)
        agreed = evidence.of_pixels(np.flatnonzero(~differ_p))
        held = np.unique(evidence.group_n[evidence.image_p])
        bags_bg = np.zeros((bags, int(evidence.group_n.max()) + 1))
        random = np.random.default_rng(seed)
        for row in bags_bg:
            row[held if bags == 1 else random.choice(held, -(-len(held) // 2), replace=False)] = 1
        true_m = np.log(np.maximum(evidence.true_probs_pm, 1e-7)).mean(0, dtype=np.float64)
        disputed = evidence.of_pixels(np.flatnonzero(differ_p))
        return cls(disputed, agreed.confusions_gkk(decided_mp[0][~differ_p]), bags_bg, true_m)

    def __call__(self, counts: Counts) -> list[float]:
        if counts not in self.known:
            sum_cp = np.tensordot(np.asarray(counts, np.float32), self.disputed.probs_mcp, 1)
            confusions_gkk = self.agreed_gkk + self.disputed.confusions_gkk(first_class(sum_cp[None])[0])
            scores_b = mean_iou(np.tensordot(self.bags_bg, confusions_gkk, 1))
            self.known[counts] = np.nan_to_num(scores_b, nan=-1.0).tolist()
        return self.known[counts]

    def likelihood(self, counts: Counts) -> float:
        """Mean of the members' log-likelihoods, rounded so that the order of a sum does not matter."""
        return round(float(np.dot(counts, self.true_m) / sum(counts)), 9)
