"""What a student keeps of the gain of its ensemble: shares against plain sums, and when nothing is claimed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.combining.cheaper import Share
from ensemble.evaluation.confusion import mean_iou
from ensemble.export.distil_verdict import KeptGain, log_loss_gains, miou_gains

GROUPS = [f"scene {row // 2:02d}" for row in range(60)]
PIXELS = 100


def losses(seed: int, gain: float, kept: float) -> tuple[Any, dict[str, Any]]:
    """Log-losses of three members, and of an ensemble and a student that gain on the mean of these."""
    noise = np.random.default_rng(seed)
    members_mn = 50 + noise.normal(0, 3, (3, 60))
    base_n = members_mn.mean(0)
    ensemble_n = base_n - gain + noise.normal(0, 1, 60)
    return members_mn, {"ensemble": ensemble_n, "student": base_n - kept * gain + noise.normal(0, 1, 60)}


def confusions(right: float, noise: np.random.Generator) -> Any:
    hits_n = noise.binomial(PIXELS, right, 60)
    return np.stack([[[hits, PIXELS - hits], [PIXELS - hits, hits]] for hits in hits_n]).astype(np.int64)


def test_the_share_of_the_log_loss_is_that_of_sums_and_its_interval_holds_it() -> None:
    members_mn, lost = losses(0, gain=5, kept=0.8)
    confusions_nkk = confusions(0.8, np.random.default_rng(0))
    average, best = log_loss_gains(members_mn, lost, confusions_nkk, np.arange(60) % 2, GROUPS)
    base = members_mn.mean(0)
    share = (base - lost["student"]).sum() / (base - lost["ensemble"]).sum()
    assert average.kept.share == pytest.approx(share)
    assert average.kept.low < share < average.kept.high
    assert average.kept.low < 0.8 < average.kept.high
    assert average.ensemble == pytest.approx(lost["ensemble"].sum() / confusions_nkk.sum())
    assert average.claim == str(average.kept)
    assert (average.over, best.over) == ("average member", "best member")
    fold_n, chosen = np.arange(60) % 2, np.zeros(60)
    for fold in (0, 1):
        place = members_mn[:, fold_n != fold].sum(1).argmin()
        chosen[fold_n == fold] = members_mn[place, fold_n == fold]
    assert best.base == pytest.approx(chosen.sum() / confusions_nkk.sum())


def test_without_a_proven_gain_nothing_is_claimed() -> None:
    members_mn, lost = losses(1, gain=0, kept=1)
    for found in log_loss_gains(members_mn, lost, confusions(0.8, np.random.default_rng(0)), np.arange(60) % 2, GROUPS):
        assert not found.proven
        assert found.claim == "no claim: the gain is not proven"


def test_an_interval_that_holds_nearly_everything_is_no_claim() -> None:
    narrow, wide = (
        KeptGain("log-loss", "best member", 1.3, 1.1, 1.4, Share(-0.5, low, 1.1), proven=True) for low in (-1.0, -21.0)
    )
    assert narrow.claim == "-50 % (-100 to 110 %)"
    assert wide.claim == "no claim: the interval holds nearly everything"


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = 0
    for seed in range(200):
        members_mn, lost = losses(seed, gain=5, kept=0.8)
        gain, _ = log_loss_gains(members_mn, lost, confusions(0.8, np.random.default_rng(0)), np.arange(60) % 2, GROUPS)
        held += gain.kept.low <= 0.8 <= gain.kept.high
    assert held >= 180  # 95 % of 200 are 190; fewer than 180 would come in one of a thousand runs


def test_the_share_of_the_miou_follows_from_the_scores() -> None:
    noise = np.random.default_rng(2)
    members_mnkk = np.stack([confusions(0.7, noise) for _ in range(3)])
    systems = {"average": confusions(0.85, noise), "method": confusions(0.8, noise), "best member": members_mnkk[1]}
    average, best = miou_gains(members_mnkk, systems, GROUPS)
    score = {name: float(mean_iou(each.sum(0))) for name, each in systems.items()}
    base = float(np.mean(mean_iou(members_mnkk.sum(1))))
    assert (average.base, average.ensemble, average.student) == pytest.approx((base, score["average"], score["method"]))
    assert average.kept.share == pytest.approx((score["method"] - base) / (score["average"] - base))
    assert best.kept.share == pytest.approx(
        (score["method"] - score["best member"]) / (score["average"] - score["best member"])
    )
    for found in (average, best):
        assert found.kept.low < found.kept.share < found.kept.high


def test_too_few_groups_claim_nothing() -> None:
    noise = np.random.default_rng(2)
    members_mnkk = np.stack([confusions(0.7, noise) for _ in range(3)])
    systems = {"average": confusions(0.85, noise), "method": confusions(0.8, noise), "best member": members_mnkk[1]}
    for found in miou_gains(members_mnkk, systems, [f"scene {row // 20}" for row in range(60)]):
        assert found.claim.startswith("no claim")
