"""Numbers of the page about images of any size: tiles, reading, estimates, native pixels."""

from __future__ import annotations

from typing import Any


def test_large_images_in_tiles(section: Any) -> None:
    with section("Large images in tiles") as page:
        table = page.csv("tiles")
        table["own_megabytes"] = table.peak_megabytes - table.loaded_megabytes
        for side, rows in table.groupby("side"):
            of = rows.set_index("tool")
            seconds, megabytes = of.cpu_seconds, of.own_megabytes
            assert seconds["ens"] <= seconds["monai"]
            assert megabytes["ens"] < megabytes["monai"]
            page.says(
                "| {:,} | {} | {:.1f} | {:.1f} | {:,.0f} | {:,.0f} | {:,.0f} |",
                side,
                of.tiles["ens"],
                *seconds[["ens", "monai"]],
                *megabytes[["ens", "monai", "ens-probabilities"]],
            )
        page.says("tiles of {}x{} pixels and steps of {}", *[*set(table.tile)] * 2, *set(table.step))
        page.says("Medians of {:word} rounds", *set(table.rounds))
        page.says("on {:word} thread", *set(table.threads))
        assert all("Xeon" in cpu for cpu in table.cpu)
        page.states("the second core")
