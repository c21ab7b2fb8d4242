"""Compare the section about objects of ``experiments/README.md`` with its CSV file."""

from __future__ import annotations

from typing import Any

GROUPS = [10, 20, 50, 200]


def test_objects(section: Any) -> None:
    with section("Are objects counted in time and judged fairly?") as page:
        table = page.csv("object-scores")
        planted = table[table.groups.notna()].astype({"groups": int, "worlds": int})
        page.says("| found | | {} groups | {} | {} | {} |", *GROUPS)
        for found, rows in planted.groupby("found"):
            each = rows.set_index("groups").loc[GROUPS]
            page.says("| {:.0%} % | misses | {:.1%} | {:.1%} | {:.1%} | {:.1%} |", found, *each.misses)
            page.says("| | false differences | {:.1%} | {:.1%} | {:.1%} | {:.1%} |", *each.false_differences)
        page.says("in % of {:,} data sets", *planted.worlds.unique())
        seconds = table.set_index("what").seconds
        page.says("takes {:.1f} s of a processor", seconds["1,500 tiles of 64x128"])
        page.says("and {:.1f} s for", seconds["an image of 10,000x10,000 in strips"])
        page.states("hold three objects on average, and a system finds 5, 50 or 90 % of them")
        page.states("between two equal systems", "in 11.4 and 8.6 % of the cases, in 10 and 20 groups")
        page.states("that find 5 % seemed to differ")
        assert planted.false_differences.max() < 0.065
        page.states("for 1,500 tiles of 64x128", "an image of 10,000x10,000 in strips")
