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


def test_decisions_and_qualities_of_real_images(section: Any) -> None:
    with section("Decisions and qualities of real images") as page:
        table = page.csv("decisions").set_index(["data", "pool", "calibrate", "decide"]).sort_index()
        rules = ("offsets", "expected-iou", "expected-dice")
        for (data, pool, calibrate), rows in table.groupby(level=[0, 1, 2]):
            row = rows.droplevel([0, 1, 2])
            found = row.loc[list(rules), ["difference", "difference_low", "difference_high"]]
            page.says(
                f"| {data} | {pool} | {'no' if calibrate == 'none' else 'yes'} | {{:.1f}} |"
                + " {:+.1f} ({:+.1f} to {:+.1f}) |" * 3,
                *(100 * row.miou["argmax"], *(100 * found).to_numpy().ravel()),
            )
        mars, nuclei = table.loc["mars"], table.loc["nuclei"]
        page.says("of {} tiles in {} groups", *set(mars.images), *set(mars.groups))
        page.says("of {} photographs", *set(nuclei.images))
        assert set(nuclei.groups) == set(nuclei.images)
        page.says("over {:word} folds", *set(table.folds))
        rule = mars.xs("expected-iou", level="decide")
        assert (mars.xs("argmax", level="decide").rare_iou == 0).all()
        assert rule.rare_iou.idxmax() == ("learned", "none")
        page.says("IoU up to {:.1f} %", 100 * rule.rare_iou.max())
        assert (rule.difference_low < 0).all()
        page.says("none exceeds {:.1f} points", 100 * rule.difference_without_one_group.max())
        page.says("loses {:.1f} points after", -100 * nuclei.difference["average", "none", "expected-iou"])
        page.says("calibration error is {:.1f} %", 100 * nuclei.ece["average", "none", "argmax"])
        right = nuclei.xs(("both", "expected-iou"), level=["calibrate", "decide"])
        assert (right.difference_low > 0).all()
        page.says("it gains {:.1f} points, and {:.1f} after", *100 * right.difference[["average", "learned"]])
        offsets = nuclei.xs("offsets", level="decide").difference
        assert (offsets >= nuclei.xs("expected-iou", level="decide").difference - 5e-6).all()

        for row in page.csv("quality-real").fillna({"what": ""}).query("images > 0").itertuples():
            page.says(
                f"| {row.data} | {row.what or 'mean over the classes'} " + "| {} | {:.2f} | {:.0f} | {:.0f} |",
                *(row.images, row.spearman, 100 * row.coverage, 100 * row.worst_found),
            )
            if row.what[-1:].isdigit():
                page.states(f"| {row.data} | {row.what} |")
        page.states("Six members", "four on photographs", "5 epochs", "10 epochs", "90 % interval", "worst tenth")
        page.states("10 % by chance", "The four Mars tiles", "The four photographs")
