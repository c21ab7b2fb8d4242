"""Numbers of the page about predictions within a budget and by a cascade."""

from __future__ import annotations

from typing import Any

NETWORKS = {1.0: "alike", 4.0: "up to {:.0f} times too sure"}


def test_cheaper_predictions(section: Any) -> None:
    with section("Cheaper predictions") as page:
        table = page.csv("cheaper")
        page.states("eight networks", "four classes of which one is rare", "three images in each group", "three runs")
        (budget,) = table[table.kind == "budget"].itertuples()
        page.says("{} groups are seen, costs and limit", budget.groups)
        page.states("all 255 subsets")
        page.says("finds in {:.0%} % of {} draws", budget.equal, budget.draws)
        criteria(page, table[table.kind == "criterion"])
        cascades(page, table[table.kind == "cascade"])


def criteria(page: Any, rows: Any) -> None:
    assert set(rows.groups) == {40}
    page.says("compares both criteria, in {} draws", *set(rows.draws))
    page.states("more than 0.3 points below", "a random number between 1 and 4")
    assert set(rows.sharpness) == NETWORKS.keys()
    for row in rows.itertuples():
        label = NETWORKS[row.sharpness].replace("{:.0f}", "4")
        page.says(
            f"| {label} | {{:.2f}} | {{:.2f}} | {{:.0f}} | {{:.0f}} |",
            *(100 * value for value in (row.lost_by_miou, row.lost_by_log_loss)),
            *(100 * value for value in (row.below_by_miou, row.below_by_log_loss)),
        )
        assert row.lost_by_miou < row.lost_by_log_loss
    page.states("up to 4 times too sure", "Up to 4 times too sure")


def cascades(page: Any, rows: Any) -> None:
    page.says("asked for), {} draws in each row", *set(rows.draws))
    page.states("where 5 is meant")
    assert (rows.proven == 1).all()
    for row in rows.itertuples():
        missed = row.kept_missed_low + row.kept_missed_high
        assert missed <= 0.075 < row.kept_fixed_missed
        assert row.kept_fixed_missed > 2 * missed
        page.says(
            "| {} | {} | {:.1f} | {:.1f} | {:.0f} | {:.1f} | {:.1f} | {:.0f} | {:.1f} |",
            row.groups,
            row.spread,
            *(100 * value for value in (row.kept, row.promised_kept, row.width_kept, missed, row.kept_fixed_missed)),
            *(100 * value for value in (row.evaluations, row.evaluations_missed_low + row.evaluations_missed_high)),
        )
    page.says("reached in {:.0%} to {:.0%} % of the draws", rows.reached.min(), rows.reached.max())
    page.states("no more than 50 %")
