"""Numbers of the page about images of any size: tiles, reading, estimates, native pixels."""

from __future__ import annotations

from typing import Any

import pytest


def test_large_images_in_tiles(section: Any) -> None:
    with section("Large images in tiles") as page:
        table = page.csv("tiles")
        table["own_megabytes"] = table.peak_megabytes - table.loaded_megabytes
        shares: list[float] = []
        for side, rows in table.groupby("side"):
            of = rows.set_index("tool")
            seconds, megabytes = of.cpu_seconds, of.own_megabytes
            shares.append(seconds["ens"] / seconds["monai"])
            assert megabytes["ens"] < megabytes["monai"]
            page.says(
                "| {:,} | {} | {:.1f} | {:.1f} | {:,.0f} | {:,.0f} | {:,.0f} |",
                side,
                of.tiles["ens"],
                *seconds[["ens", "monai"]],
                *megabytes[["ens", "monai", "ens-probabilities"]],
            )
        page.says("tiles of {}x{} pixels and steps of {}", *[*set(table.tile)] * 2, *set(table.step))
        page.says("{:Word} round, each point", *set(table.rounds))
        page.says("on {:word} thread", *set(table.threads))
        assert set(table.cpu) == {"AMD EPYC"}
        page.says("takes {:.2f} to {:.2f} of MONAI's time", min(shares), max(shares))


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


def test_estimates(section: Any) -> None:
    with section("Does training take what is expected?") as page:
        table = page.csv("estimates")
        assert {*zip(table.crop, table.batch_size, strict=True)} == {(256, 4), (256, 32), (512, 4), (512, 32)}
        for row in table.itertuples():
            page.says(
                f"| {row.network} | {{}} | {{}} | {{}} " + "| {:,.0f} | {:,.0f} | {:.2f} | {:.1f} | {:.1f} | {:.2f} |",
                *(row.crop, row.batch_size, row.steps),
                *(row.expected_megabytes, row.peak_megabytes, row.megabytes_ratio),
                *(row.expected_seconds, row.seconds, row.seconds_ratio),
            )
            assert row.seconds_ratio == pytest.approx(row.expected_seconds / row.seconds, rel=0.01)
        memory, time = table.megabytes_ratio, table.seconds_ratio
        assert memory.between(0.8, 1.2).all()
        assert time.between(0.85, 1.15).all()
        furthest = [100 * max(1 - ratios.min(), ratios.max() - 1) for ratios in (memory, time)]
        page.says("Memory is within {:.0f} %, time within {:.0f} %", *furthest)
        page.says("{:word} threads of an AMD EPYC", *set(table.threads))
        assert set(table.cpu) == {"AMD EPYC"}
        page.states(
            "for ten seconds at most",
            "twice the side",
            "about 15 seconds",
            "The goal was 20 % for memory and 15 % for time",
            "bf16",
        )


def test_native_pixels(section: Any) -> None:
    with section("Native pixels, or images brought to one size?") as page:
        table = page.csv("native-pixels").set_index(["question", "way"])
        titles = {
            ("nuclei", "windows of 256x256"): "| nuclei | windows of 256x256 in native pixels |",
            ("nuclei", "whole images at 256x256"): "| nuclei | whole images, brought to 256x256 |",
            ("mars", "enlarged to twice the size"): "| mars | tiles, enlarged to twice their size |",
            ("mars", "as they are"): "| mars | tiles as they are |",
        }
        assert set(titles) == set(table.index)
        for place, (key, title) in enumerate(titles.items()):
            row = table.loc[key]
            scores = [100 * row[name] for name in ("miou", "miou_low", "miou_high")]
            page.says(f"{title} {{}} | {{:.0f}} | {{:.1f}} | {{:.1f}}-{{:.1f}} |", row.epochs, row.seconds, *scores)
            page.states(title)
            if place % 2 == 0:
                limits = [100 * row[f"miou_difference{end}"] for end in ("", "_low", "_high")]
                page.says(
                    f"{title} {{}}" + " | {:.0f} | {:.1f} | {:.1f}-{:.1f} | {:+.1f} ({:+.1f} to {:+.1f}) |",
                    row.epochs,
                    row.seconds,
                    *scores,
                    *limits,
                )
        first, second = (table.loc[key] for key in list(titles)[:2])
        assert first.seconds < second.seconds
        page.says("are {} photographs", first.images)
        page.says("better by {:.1f} points of mIoU", 100 * first.miou_difference)
        page.says(
            "by {:.1f} points ({:.1f} to {:.1f}) of the IoU",
            *(100 * first[f"iou_difference{end}"] for end in ("", "_low", "_high")),
        )
        page.says("({:.1f} against {:.1f})", 100 * first.iou, 100 * second.iou)
        page.says(
            "on {:word} thread each, with the same budget of {:.0f} minutes", *set(table.threads), *set(table.minutes)
        )
        page.states(
            "Two members of a question", "nine sizes from 256x256 to 1040x1388, three folds", "have 64x128 pixels"
        )
        page.states("Enlarging quarters the number", "Nuclei of three sizes")
