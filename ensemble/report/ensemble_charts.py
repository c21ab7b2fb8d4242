"""The figures of a report that explain its ensemble, with captions and text alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ensemble.evaluation.confusion import Floats
from ensemble.evaluation.contribution import Estimates
from ensemble.evaluation.diversity import PairTally
from ensemble.explanation.result import Explanation
from ensemble.report import figures
from ensemble.report.svg import Chart

MOST = 8  # members in a figure


def ensemble_charts(explanation: Explanation) -> list[Chart]:
    """Diversity, contributions, reliability and risk; of many members those that contribute most."""
    value_m = explanation.contribution.shapley.value[:, 0]
    best = np.argsort(-value_m, kind="stable")[:MOST].tolist()
    some = f" Of {len(value_m)} members the {MOST} that contribute most are shown." if len(value_m) > MOST else ""
    shown = of_members(explanation, sorted(best))
    told = [f"{explanation.members[m]} {100 * value_m[m]:+.1f}" for m in best]
    return [
        diversity(explanation, shown, some),
        Chart(
            "contributions",
            "Contributions",
            f"The members' shares of the uniform average of all, whatever the ensemble's own weights.{some}",
            f"Shapley value in points of mIoU: {', '.join(told)}",
            partial(figures.contributions_figure, shown),
        ),
        reliability(explanation, shown, some),
        risk(explanation),
    ]


def diversity(explanation: Explanation, shown: Explanation, some: str) -> Chart:
    """How alike pairs of members are."""
    means = explanation.pairwise[["disagreement", "error_correlation"]].mean()
    alt = (
        f"mean over pairs of members: {means['disagreement']:.1%} of the pixels decided differently, errors correlate"
        f" by {means['error_correlation']:.2f}"
    )
    caption = f"Members help each other where they err on different pixels.{some}"
    return Chart("diversity", "Diversity", caption, alt, partial(figures.pairs_figure, shown))


def reliability(explanation: Explanation, shown: Explanation, some: str) -> Chart:
    """Accuracy against confidence, before and after a temperature."""
    ece = explanation.calibration.set_index("system")["ece"]
    alt = f"expected calibration error: average {ece['average']:.1%}, ensemble {ece['ensemble']:.1%}"
    caption = (
        "Below the grey line a system is surer than it is right. The ensemble's parameters, where it has any, were"
        f" fitted on these images.{some}"
    )
    return Chart("reliability", "Reliability", caption, alt, partial(figures.reliability_figure, shown))


def risk(explanation: Explanation) -> Chart:
    """Errors against uncertainty."""
    found = explanation.risks["entropy"].errors_found(0.1)
    alt = f"the most uncertain 10 % of the pixels by entropy hold {found:.0%} of the errors"
    caption = (
        "Left: how many of the most certain pixels are wrong. Right: how many errors are found by looking at the most"
        " uncertain pixels first. Of all labelled pixels; the ensemble is in-sample."
    )
    return Chart("risk", "Risk and coverage", caption, alt, partial(figures.risk_figure, explanation))


class _SomePairs(PairTally):
    """The pairs of some members of a tally."""

    def __init__(self, whole: PairTally, places: Sequence[int]) -> None:
        super().__init__(len(places), whole.confusions_mkk.shape[-1])
        self._whole, self._chosen = whole, np.ix_(places, places)

    @property
    def disagreement_mm(self) -> Floats:
        return self._whole.disagreement_mm[self._chosen]

    @property
    def double_fault_mm(self) -> Floats:
        return self._whole.double_fault_mm[self._chosen]

    @property
    def error_correlation_mm(self) -> Floats:
        return self._whole.error_correlation_mm[self._chosen]


def of_members(explanation: Explanation, places: Sequence[int]) -> Explanation:
    """The same explanation for figures that show some members only; what is told of them stays as it is among all."""
    names = [explanation.members[m] for m in places]
    found = explanation.contribution
    shapley, left_out = (
        Estimates(each.value[places], each.low[places], each.high[places])
        for each in (found.shapley, found.leave_one_out)
    )
    return replace(
        explanation,
        costs={name: explanation.costs[name] for name in names},
        pairs=_SomePairs(explanation.pairs, places),
        contribution=replace(
            found, shapley=shapley, leave_one_out=left_out, sampling_error=found.sampling_error[places]
        ),
        calibrations={name: explanation.calibrations[name] for name in [*names, "average", "ensemble"]},
    )
