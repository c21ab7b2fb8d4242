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


def test_reading(section: Any) -> None:
    with section("Is reading what training waits for?") as page:
        table = page.csv("loader").set_index("pixels_from")
        one = table.iloc[0]
        page.says("{:,} drawn photographs", one.images)
        page.says("({:.1f} GB of JPEG; {:.0f} GB when", one.jpeg_gigabytes, one.decoded_gigabytes)
        page.says("crops of {}x{} pixels, {} in a step", *[one.crop] * 2, one.batch_size)
        page.says("{:Word} threads of an Intel Xeon", one.threads)
        page.says("medians of {} steps", one.steps)
        assert "Xeon" in one.cpu
        assert table.share["disk"] >= 0.9
        titles = {
            "memory": "arrays in memory",
            "disk": "the cache on disk",
            "disk, dropped": "the cache, after the system dropped its files",
            "cold": "files, decoded and written to the cache: the first pass",
            "on demand": "files, decoded for every crop",
        }
        for way, title in titles.items():
            row = table.loc[way]
            page.says(f"| {title} |" + " {:.3f} | {:.3f} | {:.2f} |", row.step_seconds, row.read_seconds, row.share)
        page.states("of 1 to 12 megapixels", "one of every photograph", "at least 0.9 from the cache")
