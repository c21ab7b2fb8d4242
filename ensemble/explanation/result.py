"""The explanation of an ensemble: its numbers, its tables and one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ensemble.config import DataSettings
from ensemble.core.formatting import in_percent
from ensemble.evaluation.calibration import expected_calibration_error
from ensemble.evaluation.caveats import few_hold
from ensemble.evaluation.confusion import Floats, divide_or_nan, iou_per_class, mean_iou, pixel_accuracy
from ensemble.evaluation.contribution import Contributions, Estimates
from ensemble.evaluation.diversity import LossSplit, PairTally
from ensemble.evaluation.uncertainty import RiskTally

SHARES = (0.05, 0.1, 0.2, 0.3)
"""Shares of the most uncertain pixels; the table reports which share of the errors each of them holds."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Reliability of one system on the sample, without a temperature and with one that was fitted on other images.

    Attributes:
        before, after: reliability (3, bins) without and with the temperature; see ``reliability``.
        log_loss, log_loss_after: mean log-loss of the pixels in nats, without and with the temperature.
        temperature: geometric mean of the two temperatures, each fitted on half of the image groups and applied to the
            other half.
    """

    before: Floats
    after: Floats
    log_loss: float
    log_loss_after: float
    temperature: float


@dataclass(frozen=True, eq=False)
class UncertainImage:
    """Maps (h, w) of one image: labels, the ensemble's decisions, entropy and mutual information (NaN under void).

    Of an image with more than 2,048 pixels a side, they are thinned; see ``ensemble.evaluation.strips.step_of``.
    """

    id: str
    labels_hw: NDArray[np.uint8]
    decided_hw: NDArray[np.uint8]
    entropy_hw: NDArray[np.float32]
    information_hw: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why an ensemble works, or does not. The tables are DataFrames; ``ensemble.report.figures`` draws them.

    Attributes:
        name: name of the ensemble.
        method: method that chose the pool. It was fitted on these very images, so all numbers of the ensemble are
            in-sample, except ``scores``; the numbers of the members and of the average are not affected.
        scores: cross-fitted scores of the ensemble, as in its ``scores.json``.
        classes: scored classes.
        data, data_hash: where the images are, and the hash of their content when the members were trained.
        costs: ``parameters`` and ``training_seconds`` of each member by name, NaN where not recorded.
        pairs: joint counts of pairs of members.
        split: log-loss of the members, of their geometric mean and of their average.
        average_kk, ensemble_kk: confusion matrices over all labelled pixels.
        ensemble_loss_k: sum of the ensemble's log-loss per class.
        risks: errors of the ensemble against each measure of uncertainty.
        contribution: what each member adds to the average of all members, on the sample.
        calibrations: calibration of the members, of the average and of the ensemble, on the sample.
        sampled: number of pixels in the sample.
        images: images that the members dispute most.
    """

    name: str
    method: str
    scores: Mapping[str, Any]
    classes: tuple[str, ...]
    data: DataSettings
    data_hash: str
    costs: Mapping[str, Mapping[str, float]]
    pairs: PairTally
    split: LossSplit
    average_kk: NDArray[np.int64]
    ensemble_kk: NDArray[np.int64]
    ensemble_loss_k: Floats
    risks: Mapping[str, RiskTally]
    contribution: Contributions
    calibrations: Mapping[str, Calibration]
    sampled: int
    images: Sequence[UncertainImage]

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the members."""
        return tuple(self.costs)

    @cached_property
    def systems(self) -> pd.DataFrame:
        """mIoU, accuracy and IoU per class of members, average, ensemble (cross-fitted and in-sample) and oracle."""
        names = [*self.members, "average", "ensemble in-sample", "oracle"]
        tables = [*self.pairs.confusions_mkk, self.average_kk, self.ensemble_kk, self.pairs.oracle_confusion()]
        confusions_skk = np.stack(tables)
        columns = {"system": names, "miou": mean_iou(confusions_skk), "pixel_accuracy": pixel_accuracy(confusions_skk)}
        iou = {f"iou {name}": iou_s for name, iou_s in zip(self.classes, iou_per_class(confusions_skk).T, strict=True)}
        frame = pd.DataFrame(columns | iou)
        crossfitted = {name: self.scores[name] for name in ("miou", "pixel_accuracy")}
        crossfitted |= {f"iou {name}": self.scores["iou"][name] for name in self.classes}
        crossfitted = {name: np.nan if score is None else score for name, score in crossfitted.items()}
        frame.loc[len(frame) - 2.5] = {"system": "ensemble"} | crossfitted
        return frame.sort_index(ignore_index=True)

    @cached_property
    def pairwise(self) -> pd.DataFrame:
        """Disagreement, error correlation, double fault and Q of each pair of members, the most similar pair first."""
        tally, rows = self.pairs, list[dict[str, Any]]()
        for one, other in combinations(range(len(self.members)), 2):
            rows.append(
                {
                    "member": self.members[one],
                    "other": self.members[other],
                    "disagreement": tally.disagreement_mm[one, other],
                    "error_correlation": tally.error_correlation_mm[one, other],
                    "double_fault": tally.double_fault_mm[one, other],
                    "q_statistic": tally.q_statistic_mm[one, other],
                }
            )
        return pd.DataFrame(rows).sort_values("disagreement", kind="stable", ignore_index=True)

    @cached_property
    def log_loss(self) -> pd.DataFrame:
        """Mean log-loss in nats over all labelled pixels and per class: the terms of ``LossSplit``, the ensemble."""
        sums = {**self.split.sums, "ensemble": self.ensemble_loss_k}
        pixels = self.split.pixels_k.astype(np.float64)
        table = {
            name: [float(sum_k.sum() / pixels.sum()), *divide_or_nan(sum_k, pixels)] for name, sum_k in sums.items()
        }
        return pd.DataFrame({"class": ["all", *self.classes], "pixels": [pixels.sum(), *pixels], **table})

    @property
    def rare(self) -> list[bool]:
        """Whether few groups hold each class, so that differences in its IoU are not to be trusted."""
        holders = self.scores.get("groups_per_class", [self.scores["groups"]] * len(self.classes))
        return [few_hold(held, self.scores["groups"]) for held in holders]

    @cached_property
    def contributions(self) -> pd.DataFrame:
        """A row per member, measure (``shapley``, ``leave-one-out``) and target (``miou`` or a class).

        ``few_groups`` marks the classes that few groups hold; see `rare`.
        """
        parts = {"shapley": self.contribution.shapley, "leave-one-out": self.contribution.leave_one_out}
        frames: list[pd.DataFrame] = []
        for measure, part in parts.items():
            error = self.contribution.sampling_error if measure == "shapley" else np.zeros_like(part.value)
            frames.append(self._long(self.members, measure, part, error))
        return pd.concat(frames, ignore_index=True)

    @cached_property
    def dropping(self) -> pd.DataFrame:
        """Members in the order of dropping: the mIoU that is left, its change with interval, and the remaining cost.

        ``no_loss`` is None if there are too few groups of images to tell.
        """
        contribution, names = self.contribution, self.members
        spare = set(contribution.spare)
        costs = {key: np.array([self.costs[name][key] for name in names]) for key in ("parameters", "training_seconds")}
        dropped = [list(contribution.dropped[: step + 1]) for step in range(len(contribution.dropped))]
        return pd.DataFrame(
            {
                "step": np.arange(1, len(dropped) + 1),
                "dropped": [names[member] for member in contribution.dropped],
                "miou": contribution.left[:, 0],
                "change": contribution.change.value[:, 0],
                "low": contribution.change.low[:, 0],
                "high": contribution.change.high[:, 0],
                **{
                    f"{key}_left": [float(np.delete(cost, out).sum()) for out in dropped] for key, cost in costs.items()
                },
                "no_loss": [None if contribution.reason else member in spare for member in contribution.dropped],
            }
        )

    @cached_property
    def uncertainty(self) -> pd.DataFrame:
        """AURC per measure, next to the best and to a random ranking; share of the errors in the most uncertain x %."""
        return pd.DataFrame(
            [
                {"score": name, "aurc": risk.aurc, "best_aurc": risk.best_aurc, "chance_aurc": risk.error}
                | {f"errors_in_top_{share:.0%}": risk.errors_found(share) for share in SHARES}
                for name, risk in self.risks.items()
            ]
        )

    @cached_property
    def calibration(self) -> pd.DataFrame:
        """ECE and log-loss of each system before and after a temperature that was fitted on other images."""
        return pd.DataFrame(
            [
                {
                    "system": name,
                    "ece": expected_calibration_error(one.before),
                    "log_loss": one.log_loss,
                    "temperature": one.temperature,
                    "ece_after": expected_calibration_error(one.after),
                    "log_loss_after": one.log_loss_after,
                }
                for name, one in self.calibrations.items()
            ]
        )

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables by name."""
        names = ("systems", "pairwise", "log_loss", "contributions", "dropping", "uncertainty", "calibration")
        return {name: getattr(self, name) for name in names}

    @property
    def sentence(self) -> str:
        """The result in one sentence; with too few groups of images a second one says so."""
        oracle = 100 * float(mean_iou(self.pairs.oracle_confusion()))
        correlation = self.pairwise["error_correlation"].mean()
        top = self.contribution.shapley.value[:, 0].argmax()
        risk = self.risks["entropy"].errors_found(0.1)
        few = self.contribution.reason
        who = "" if few else f" {self.members[top]} contributes most; {self._spare_sentence()};"
        return (
            f"{self._gain_sentence()};"
            f" errors of two members correlate by {correlation:.2f} on average; picking the right member at every"
            f" pixel would reach {oracle:.1f} %;{who}"
            f" the most uncertain 10 % of the pixels hold {in_percent(risk, 0)} of the ensemble's errors."
            f"{few and f' {few}'}"
        )

    def _gain_sentence(self) -> str:
        """Return what the average, or the full ensemble, gains over the best member, with its interval."""
        verdict = self.scores["verdict"]
        found = verdict["differences"]["average - member"]
        gain, low, high = (
            math.nan if found[key] is None else 100 * found[key] for key in ("difference", "low", "high")
        )
        change = f"gains {gain:.1f} points of mIoU over" if gain >= 0 else f"loses {-gain:.1f} points of mIoU to"
        noise = ", which is within noise" if low <= 0 <= high else ""
        interval = "no interval from so few images" if math.isnan(low) else f"{low:+.1f} to {high:+.1f}"
        who, best = verdict.get("rival", "the average"), verdict["best_member"]
        return f"{who} {change} {best}, the best member on these images ({interval}){noise}"

    def _spare_sentence(self) -> str:
        spare, names = self.contribution.spare, self.members
        if not spare:
            return "no member can be dropped without loss on these images"
        change = self.dropping.iloc[len(spare) - 1]
        rest = [name for member, name in enumerate(names) if member not in spare]
        who = names[spare[0]] if len(spare) == 1 else f"all but {' and '.join(rest)}"
        return (
            f"{who} could be dropped: the average of the rest changes by"
            f" {100 * change['change']:+.2f} points ({100 * change['low']:+.2f} to {100 * change['high']:+.2f})"
        )

    def _long(self, names: Sequence[str], measure: str, part: Estimates, error: Floats) -> pd.DataFrame:
        targets = ["miou", *self.classes]
        return pd.DataFrame(
            {
                "member": np.repeat(np.array(names, object), len(targets)),
                "measure": measure,
                "target": targets * len(names),
                "value": part.value.ravel(),
                "low": part.low.ravel(),
                "high": part.high.ravel(),
                "sampling_error": error.ravel(),
                "few_groups": [False, *self.rare] * len(names),
            }
        )
