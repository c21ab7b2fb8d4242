"""Numbers of the page about removing small objects."""

from __future__ import annotations

from typing import Any


def test_removing_small_objects(section: Any) -> None:
    with section("Removing small objects") as page:
        table = page.csv("small-objects").set_index(["world", "smallest_object"])
        for world in dict.fromkeys(table.index.get_level_values(0)):
            none, auto, fixed = (table.loc[(world, name)] for name in ("none", "auto", "8"))
            page.says(
                f"| {world} | {{:.1f}} | {{:+.2f}} | {{:+.2f}} | {{:.0f}} |",
                *(none.miou, auto.gain, fixed.gain, auto.smallest_rock),
            )
        page.says("largest standard error of a gain is {:.2f}", table.gain_error.max())
        auto = table.xs("auto", level="smallest_object")
        page.says("scores less than before in {:.0%} % of the worlds", auto.share_below["tiny rocks"])
        assert (auto.share_below.drop("tiny rocks") == 0).all()
        page.says("mean of {} worlds", *set(table.worlds))
        page.says("fitted to {} images, scored on {} others", *[*set(table.images)] * 2)
        page.states("48x64 pixels with three classes, two smooth", "in every third image", "Three members", "1 or 5 %")
        page.states("1 to 5 pixels", "object of 8 pixels", "| 8 pixels |", "| salt 1 % |", "| salt 5 % |")
