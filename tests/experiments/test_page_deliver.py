"""Numbers of the page about the forms in which an ensemble can be delivered."""

from __future__ import annotations

from typing import Any

import pandas as pd


def test_what_is_lost(section: Any) -> None:
    with section("What is lost when an ensemble becomes smaller") as page:
        table = page.csv("deliver")
        page.states("Four members", "`unet(filters=16)` with two losses", "5 epochs", "one image", "two threads")
        page.states("10 epochs", "for 5,", "ResNet-18", "| half of the operations |", "Half of the operations")
        page.states("two members next to nothing", "One data set, one seed")
        for row in table.itertuples():
            cost = row.ms, row.bytes / 1e6
            score = [100 * value for value in (row.miou, row.miou_low, row.miou_high)]
            lost = [100 * value for value in (row.difference, row.low, row.high)]
            kept = row.log_loss, 100 * row.gain_kept
            between = "| |" if pd.isna(row.difference) else "| {:+.1f} ({:+.1f} to {:+.1f}) |"
            page.says(
                f"| {row.form} | {{:.1f}} ({{:.1f}} to {{:.1f}}) {between} {{:.3f}} | {{:.0f}} | {{:.0f}} | {{:.1f}} |",
                *(*score, *([] if pd.isna(row.difference) else lost), *kept, *cost),
            )


def test_one_image(section: Any) -> None:
    with section("One image through `ensemble.load`") as page:
        table = page.csv("latency")
        names = {"member": "one network", "ensemble": "average of three"}
        page.says("Medians of {} turns", *set(table.repeats))
        page.states("with one and two threads", "one thread, PyTorch", "two threads, PyTorch")
        page.states("one image at a time", "| one network |", "| average of three |")
        for (model, size), rows in table.sort_values("threads").groupby(["model", "image_size"]):
            assert [*rows.threads] == [1, 2]
            values = [value for row in rows.itertuples() for value in (row.plain_ms, row.load_ms, 100 * row.overhead)]
            page.says(f"| {names[str(model)]} | {size} |" + 2 * " {:.1f} | {:.1f} | {:.0f} |", *values)
        page.states("less than 10 %")
        page.says("which {} of {} rows reach", (table.overhead < 0.1).sum(), len(table))
    low, high = 100 * table.overhead.min(), 100 * table.overhead.max()
    section("One file", "ensemble/export/README.md").says("takes {:.0f} to {:.0f} % more time", low, high)
