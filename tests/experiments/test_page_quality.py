"""Numbers of the page about the quality that is estimated without masks."""

from __future__ import annotations

from typing import Any


def test_quality_without_masks(section: Any) -> None:
    with section("Does an image score what is estimated without its mask?") as page:
        table = page.csv("quality")
        cells = table.set_index(["scenes", "each", "what"]).sort_index()
        for scenes in (10, 20, 60):
            for each in (1, 3):
                image, rare = cells.loc[scenes, each, "image"], cells.loc[scenes, each, "rare class"]
                values = 100 * image.coverage, 100 * image.width, image.spearman, image.spearman_alone
                page.says(
                    "| {} | {} | {:.1f} | {:.0f} | {:.2f} | {:.2f} | {:.0f} | {:.1f} |",
                    *(scenes, each, *values, 100 * image.worst_found, 100 * rare.coverage),
                )
        assert table.coverage.between(0.87, 0.93).all()
        page.says("hold for {:.1f} to {:.1f} % of the new", 100 * table.coverage.min(), 100 * table.coverage.max())
        page.says("standard error at most {:.1f}", 100 * table.coverage_error.max())
        page.says("up to {:.0f} points too low", -100 * table.too_high.min())
        page.says("In {:.0f} % of the worlds with 10 scenes of one image", 100 * table.without.max())
        assert table.set_index(["scenes", "each"]).without.idxmax() == (10, 1)
        page.says("Mean of {} worlds", *set(table.worlds))
        page.states("three members", "three classes", "90 % interval", "worst tenth", "(10 % by chance)")
        page.states("with 10 scenes of one", "fewer than 10 scenes")
