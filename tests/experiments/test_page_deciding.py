"""Numbers of the page about deciding for the metric."""

from __future__ import annotations

from typing import Any


def test_deciding_for_the_metric(section: Any) -> None:
    with section("Deciding for the metric") as page:
        table = page.csv("deciding")
        temperatures = sorted(set(table.temperature))
        page.says(
            "| classes | separation | T = {:g} | T = {:g} | T = {:g}: right | T = {:g} | T = {:g} |", *temperatures
        )
        cells = table.set_index(["decision", "shares", "separation", "temperature"]).sort_index()
        for label, shares in (("one is rare", "rare"), ("equally frequent", "balanced")):
            for separation in (1.0, 2.0):
                gains = cells.loc["expected-iou validation", shares, separation].gain
                page.says(f"| {label} | {separation:g} |" + " {:+.2f} |" * 5, *gains)
                page.states(f"| {label} | {separation:g} |")
        rare = cells.xs("rare", level="shares")
        right = rare.xs(1.0, level="temperature")
        assert (right.loc["expected-iou validation"].share_below == 0).all()
        assert (rare.loc["expected-iou validation"].xs(4.0, level="temperature").gain < 0).all()
        ours, theirs = (cells.loc[f"expected-iou {source}"].gain for source in ("validation", "images"))
        page.says("at most {:.2f} points apart", (ours - theirs).abs().max())
        page.says("gains {:.2f} and {:.2f} points of mean Dice", *right.loc["expected-dice validation"].dice_gain)
        page.says("to {:,} pixels (`validation`) or to the {:,} scored ones", *[*set(table.pixels)] * 2)
        page.says("mean of {} worlds", *set(table.worlds))
        page.states("four classes", "known probabilities", "power 1/T", "T below 1", "has 60 % of", "rare one 0.15 %")
