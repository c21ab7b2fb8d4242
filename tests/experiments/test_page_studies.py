"""The studies of members on Mars tiles: what differs between them, what makes them strong, what finds rocks."""

from __future__ import annotations

from typing import Any

import pandas as pd

DIFFERENCES = ["seed", "loss", "augmentation", "architecture", "initialisation", "input scale"]


def gains(row: Any, column: str, factor: float = 100) -> list[float]:
    """Return a difference with its limits."""
    return [factor * row[f"d_{column}{end}"] for end in ("", "_low", "_high")]


def test_which_difference_is_worth_having(section: Any) -> None:
    with section("Which difference between members is worth having?") as page:
        table = page.csv("diversity-differences").set_index("run")
        seeds = page.csv("diversity-to-seeds").set_index("run")
        for what in DIFFERENCES:
            others, average = table[table.group == what], table.loc[f"average: {what}"]
            three = pd.concat([table.loc[["base"]], others])
            form = (
                f"| {what} | {{:.1%}}, {{:.1%}} | {{:.1%}} | {{:+.1f}} ({{:+.1f}} to {{:+.1f}}) | {{:.3f}} | {{:.3f}} |"
            )
            cells = [*others.common, average.common, *gains(average, "common"), three.log_loss.mean(), average.log_loss]
            page.says(form, *cells)
            if what != "seed":
                page.says(" {:+.3f} ({:+.3f} to {:+.3f}) |", *gains(seeds.loc[average.name], "log_loss", 1))
        page.says("the base has {:.1%}.", table.common["base"])
        page.says("all {:,} tiles", *set(table.images))
        page.says("trains for {} epochs", *set(table.epochs.dropna().astype(int)))
        averages = table.loc[[f"average: {what}" for what in DIFFERENCES]]
        assert averages.log_loss.idxmin() == averages.common.idxmax() == "average: architecture"
        page.says("is {:.1%} points better than the base", averages.d_common["average: architecture"])
        assert seeds.d_log_loss_high["average: architecture"] < 0
        page.says("Augmentation is worth {:.1%} points", averages.d_common["average: augmentation"])
        for what in ("architecture", "augmentation"):
            assert averages.d_common_low[f"average: {what}"] > 0 > seeds.d_common_low[f"average: {what}"]
        assert averages.d_common_low["average: seed"] < 0
        page.says("bring {:.1%} points, which is not proven", averages.d_common["average: seed"])
        page.says("lie {:.1%} and {:.1%} points below", -table.d_common["seed 2"], -table.d_common["seed 1"])
        assert averages.d_common.max() < -table.d_common["seed 2"]
        page.says("take {:.1%} points from the average", -averages.d_common["average: initialisation"])
        everyone, learned = table.loc["average of all"], table.loc["learned weights of all"]
        count = int((table.group != "ensemble").sum())
        page.says("all {} members has {:.1%} % and a log-loss of {:.3f}", count, everyone.common, everyone.log_loss)
        assert everyone.log_loss > table.log_loss["base"]
        page.says(
            "have {:.1%} % and {:.3f}: {:+.1f} points to the base",
            learned.common,
            learned.log_loss,
            100 * learned.d_common,
        )
        page.says("({:+.1f} to {:+.1f}), more than any group", *gains(learned, "common")[1:])
        assert learned.d_common > averages.d_common.max()
        page.says("reaches {:.1%} % IoU, all others next to nothing", table.rare["pasted rocks"])
        assert table.rare.drop("pasted rocks").max() < 0.001
        page.states("Three members cost three times", "first two stages", "adds two members", "one half of the tiles")
        page.states("common of the two", "of the average of three", "of the three", "of the six", "of three seeds")
        page.states("any average of three gains", "Two members from random weights", "than three seeds")
        page.states("[three seeds](#which-setting")


def test_which_setting_earns_its_place(section: Any) -> None:
    with section("Which setting for pretrained encoders earns its place?") as page:
        table = page.csv("ablations").set_index("run")
        base, others = table.loc["base"], table.drop("base")
        page.says("| base | {:.1%} | | {:.3f} |", base.common, base.log_loss)
        for label, row in others.iterrows():
            page.says(f"| {label} | {{:.1%}} | {{:+.1f}} ({{:+.1f}} to {{:+.1f}}) |", row.common, *gains(row, "common"))
            page.says("| {:.3f} | {:+.3f} ({:+.3f} to {:+.3f}) |", row.log_loss, *gains(row, "log_loss", 1))
        lost = -others.d_common
        page.says("are worth {:.1%} points", lost["random weights"])
        page.says("A seed is worth {:.1%} points", lost["base, another seed"])
        near = [name for name in others.index if "standardised" in name] + [
            "the whole encoder learns",
            "the input doubled",
        ]
        assert lost[near].max() < lost["base, another seed"] + 0.002
        page.says("In {} epochs, it costs {:.1%} points", *set(table.epochs), lost["the encoder learns nothing"])
        page.says("{:.1%} if it learns at a tenth of the rate", lost["the encoder learns at a tenth of the rate"])
        page.says("and {:.1%} if it waits for a tenth", lost["the encoder waits for a tenth of the steps"])
        page.says("Strong changes of light and size cost {:.1%} points", lost["augmentation for unseen sites"])
        muon = {rate: others.loc[f"Muon at a rate of {rate}"] for rate in (0.002, 0.015)}
        gain = others.common["random weights, Muon at a rate of 0.015"] - others.common["random weights"]
        page.says("gives them {:.1%} points more", gain)
        page.says("takes {:.1%} points from pretrained ones", -muon[0.015].d_common)
        assert muon[0.002].d_common_low < 0 < muon[0.002].d_common_high
        page.says("a log-loss that is {:.3f} better", -muon[0.002].d_log_loss)
        assert -muon[0.002].d_log_loss < others.d_log_loss["base, another seed"]
        page.states("At a rate of 0.002", *(f"| {label} |" for label in others.index if "at a rate" in label))
        page.states("keeps two stages", "one seed each", "keeping two stages")
        page.states("at a tenth of the rate", "a tenth of the steps")
        sites = page.csv("sites").set_index("run")
        domain, twin = sites.loc["domain"], sites.loc["geometric, another seed"]
        page.says("has {:.1%} % of the common classes on unseen sites", sites.common["geometric"])
        form = "{:.1f} points less ({:.1f} to {:.1f})"
        page.says(form, *(-100 * domain[f"d_common{end}"] for end in ("", "_high", "_low")))
        page.says("{:.1f} less ({:.1f} to {:.1f})", *(-100 * twin[f"d_common{end}"] for end in ("", "_high", "_low")))
        page.states("two folds that divide no site")


def test_what_helps_to_find_the_rarest_class(section: Any) -> None:
    with section("What helps to find the rarest class?") as page:
        table, limits = page.csv("big-rock").set_index("run"), page.csv("big-rock-limits").set_index("run")
        for label, row in table.iterrows():
            page.says(f"| {label} | {{:.1%}} |", row.common)
            if label != "plain":
                page.says(
                    f"| {label} | {{:.1%}} | {{:+.1f}} ({{:+.1f}} to {{:+.1f}}) |", row.common, *gains(row, "common")
                )
            check_rock(page, row, limits.loc[label] if label in limits.index else None)
        page.says("{} rocks in {} tiles", *set(table.rare_objects), *set(table.rare_images))
        expert, pasted, ring = (table.loc[name] for name in ("specialist", "rare, pasted", "rare, pasted, ring"))
        page.says("{} of the {} and {:.1%} % of", expert.rare_objects_found, expert.rare_objects, expert.rare_area)
        page.says("calls {:,} other things a rock and loses {:.1%} points", expert.rare_objects_false, -expert.d_common)
        page.says("so its IoU of rock is {:.1%} %", expert.rare)
        assert table.rare_objects_found["plain"] == 0
        assert expert.rare_area > 0.2
        assert table.rare_right.drop(["weights to 30", "average, argmax"]).max() < 0.05
        page.says(
            "and call {} things one; with pasted rocks {} are found",
            table.rare_objects_false["rare"],
            pasted.rare_objects_found,
        )
        page.says("({:.1%} and {:.1%} % IoU)", pasted.rare, ring.rare)
        page.says("there are {:,} false rocks in place of {:,}", ring.rare_objects_false, pasted.rare_objects_false)
        page.says("Both cost {:.1%} to {:.1%} points", -ring.d_common, -pasted.d_common)
        weights = limits.loc["weights to 30"]
        assert weights.limit == limits.limit.max()
        page.says("the largest limit, {:.1%} %,", weights.limit)
        page.says("it is one image: {:.1%} % without it", weights.limit_without_largest)
        page.says("shows nothing of this ({:.1%} % IoU)", table.rare["weights to 30"])
        average, classes = table.loc["average, expected IoU"], table.loc["each class its own weights"]
        page.says("calls {:,} things a rock. It has {:.1%} % IoU", average.rare_objects_false, average.rare)
        assert average.rare == table.rare.max()
        page.says("and loses {:.1%} points elsewhere", -average.d_common)
        stacked = table.loc["stacking, expected IoU"]
        page.says("it calls {:,} things a rock, a tenth as many", stacked.rare_objects_false)
        assert 0.08 < stacked.rare_objects_false / average.rare_objects_false < 0.12
        page.says("for {:.1%} % IoU, and loses nothing elsewhere: {:.1%} % mIoU", stacked.rare, stacked.miou)
        assert stacked.d_common > 0
        assert stacked.miou == table.miou.max()
        page.says("{:.1f} points more than the plain network ({:.1f} to {:.1f})", *gains(stacked, "miou"))
        page.says("are worth {:.1f} points of the common classes** ({:+.1f} to {:+.1f})", *gains(classes, "common"))
        assert classes.rare_objects_found == 0
        page.states("6 epochs, two folds", "three images with rock per batch of 16", "last two sections", "six tiles")
        page.states(
            "for 10 epochs", "half of each batch is rare", "Both cost", "weights up to 30 to 1", "any one threshold"
        )
        page.states("A fifth of the area", "| weights to 30 |", "a tenth as many")


def check_rock(page: Any, row: pd.Series, limit: pd.Series | None) -> None:
    """Check what a run finds of the rarest class, and what it could find."""
    right = "" if pd.isna(row.rare_right) else "{:.1%}"
    cells = [row.rare, *([] if limit is None else [limit.limit]), row.rare_area, *([row.rare_right] if right else [])]
    form = f"| {{:.1%}} | {'' if limit is None else '{:.1%}'} | {{:.1%}} | {right} | {{:.0f}} | {{:,.0f}} |"
    page.says(form, *cells, row.rare_objects_found, row.rare_objects_false)
    if limit is not None:
        page.says(" {:.0%} ({:.0%} to {:.0%}) |", limit.images_auc, limit.images_auc_low, limit.images_auc_high)
