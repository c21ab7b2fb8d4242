"""Compare the sections about data and single members of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

from typing import Any

import pandas as pd

CLASSES = ["iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock"]


def test_nuclei(section: Any) -> None:
    with section("A second domain: nuclei") as page:
        (row,) = page.csv("nuclei").itertuples()
        page.says("{} epochs: mIoU {:.1%} % ({:.1%} to {:.1%})", row.epochs, row.miou, row.miou_low, row.miou_high)
        shares = (row.iou_class_0, row.iou_class_1, row.iou_class_2)
        page.says("background {:.1%}, nucleus {:.1%}, its one pixel wide outline {:.1%}", *shares)
        page.states("531 PNG pairs whose class 0")


def test_cleaning(section: Any) -> None:
    with section("Cleaning") as page:
        table = page.csv("suspects")
        counts = table.reason.value_counts()
        for reason in ("repeated-mask", "unlike-the-rest", "identical-image", "near-identical-image", "almost-void"):
            page.says(f"| {reason} | {{}} |", counts.get(reason, 0))
        masks = table[table.reason == "repeated-mask"]
        page.says("one mask, whose outline has {} corners", *{detail.split()[-2] for detail in masks.detail})
        assert set(masks.row) == set(table[table.reason == "unlike-the-rest"].row)
        assert table[table.reason == "almost-void"].score.min() > 0.95
        page.states("fewer than 5 % of the pixels")


def test_the_catalogue(section: Any) -> None:
    with section("The catalogue") as page:
        table = page.csv("catalogue")
        page.says("all {} architectures", (table.study == "architecture").sum())
        losses = table[table.study == "loss"].set_index("loss")
        page.says("all {} losses", len(losses))
        page.says("All {} losses train", len(losses))
        speed = losses.images_per_second
        page.says("differ by a factor of {:.1f}", speed.max() / speed.min())
        page.says("In {} steps", *set(table.steps))
        rocky = losses[losses.iou_big_rock > 0.001].sort_index()
        named = ", ".join(f"`{name}`" for name in rocky.index[:-1])
        page.says(f"only {named} and `{rocky.index[-1]}` find more than 0.1 %")
        page.says("ECE {:.1%} to {:.1%} %", rocky.ece.min(), rocky.ece.max())
        assert rocky[CLASSES[:3]].mean(axis=1).max() < losses.loc[["ce", "weighted-ce"], CLASSES[:3]].mean(axis=1).min()
        page.states("find more than 0.1 %", "from two cores")


def test_the_ladder(section: Any) -> None:
    with section("The published ladder, row by row") as page:
        table = page.csv("ladder-differences").set_index("run")
        for label, row in table.iterrows():
            cells = (row.keras, row.classes, row.miou, row.common, row.rare)
            gain = [100 * row[f"d_common{end}"] for end in ("", "_low", "_high")]
            form = f"| {label} | {{:.1%}} | {{}} | {{:.1%}} | {{:.1%}} | {{:.1%}} |"
            page.says(form, *cells)
            if not pd.isna(row.d_common):
                page.says(" {:+.1f} ({:+.1f} to {:+.1f}) |", *gain)
        first, second, third, last = table.index[:4]
        clean, limited = table.loc["cleaning: drawn outliers left out"], table.loc["weights of at most 30 to 1"]
        page.says("they are {} of {:,}", clean.background_pixels, clean.labelled_pixels)
        page.says("it has {:.1%} % by this metric, and {:.1%} % over the four classes", clean.keras, clean.miou)
        beside = table[(table.group == "beside") & (table.classes == 5)]
        lost = beside.miou - beside.keras
        page.says("{:Word} rows beside the ladder lose {:.1%} to {:.1%}", len(beside), lost.min(), lost.max())
        page.says("at most {} such pixels", beside.background_pixels.max())
        assert table.background_pixels[[first, second]].min() > 200_000
        assert 0.099 < clean.miou - clean.keras < 0.11
        page.says("of the {:.1%} points that step 3 brings", table.keras[third] - table.keras[second])
        page.says("{:.1%} are better maps", table.miou[third] - table.miou[second])
        ahead, behind = table[table.d_common_low > 0].index.tolist(), table[table.d_common_high < 0].index.tolist()
        assert (ahead, behind) == (["weights of at most 30 to 1", "void is no output at all"], [first])
        page.says("No output for void ({:+.1f})", 100 * table.d_common["void is no output at all"])
        page.says("weights of at most 30 ({:+.1f})", 100 * limited.d_common)
        page.says("264 to 1 has {:.1%} % IoU of rock, 30 to 1 has {:.1%} %", table.rare[last], limited.rare)
        page.says("it costs {:.1%} points in the common classes", limited.d_common)
        page.says("and {:.2f} of log-loss", table.log_loss[last] - limited.log_loss)
        page.says("is {:.1%} % in step 4 and at most", table.rare_without_largest[last])
        page.says("at most {:.1%} % in all rows", table.rare_without_largest.max())
        runs = page.csv("ladder").set_index("label")
        assert runs.name.to_dict() == table.name.to_dict()
        page.says("is {:.0%} to {:.0%} %", runs.iou_big_rock_low[last], runs.iou_big_rock_high[last])
        page.says("One member each of {} epochs", *set(table.epochs))
        page.says("{} validation images in {} groups", *set(table.images), *set(table.groups))
        page.states("39.65, 48.06, 70.46 and 72.46 %", "from 48.06 to 70.46 %")  # quoted from the study
        page.states(
            "as in the study (264 to 1)", "mIoU of the four", "Four pixels cost ten points", "hundreds of thousands"
        )
        page.states(
            "differences are to step 4", "The Keras metric then has a fifth class with an IoU of 0", "one class less"
        )
        page.states("1 shallow", "2 + weights", "3 + weight", "4 + augmentation", "at most 30 to 1", "one seed each")
        page.states(
            "over the four classes", "that step 3 brings", "weights of at most 30", "264 to 1 has", "30 to 1 has"
        )
        page.states("Steps 1 and 2", "Step 1 is behind step 4", "steps 2 and 3", "that of step 4", "in step 4")


def test_the_noise_of_a_seed(section: Any) -> None:
    with section("How large is the noise of a seed?") as page:
        table = page.csv("seeds")
        members, average = table[table.kind == "member"], table[table.kind == "ensemble"].iloc[0]
        columns = ["miou", *CLASSES]
        cells = [value for name in columns for value in (members[name].mean(), members[name].std())]
        form = " {:.1%} +- {:.1%} |" * 5 + " {} +- {} | {:.1%} +- {:.1%} |"
        loss = [f"{value:.3f}".lstrip("0") for value in (members.log_loss.mean(), members.log_loss.std())]
        ends = [value for name in columns for value in (members[name].min(), members[name].max())]
        page.says(
            "| {:word} members, mean +- sd |" + form, len(members), *cells, *loss, members.ece.mean(), members.ece.std()
        )
        loss = [f"{value:.3f}".lstrip("0") for value in (members.log_loss.min(), members.log_loss.max())]
        form = form.replace("+-", "to")
        page.says("| least to most |" + form, *ends, *loss, members.ece.min(), members.ece.max())
        loss = [f"{average.log_loss:.3f}".lstrip("0")]
        page.says("| their average |" + " {:.1%} |" * 5 + " {} | {:.1%} |", *average[columns], *loss, average.ece)
        page.says("up to {:.1%} points of mIoU apart", members.miou.max() - members.miou.min())
        found = members.iou_big_rock > 0
        page.says("found by {:word} of the {:word}", found.sum(), len(members))
        page.says("The {:word} that find no big rock", (~found).sum())
        assert members.log_loss[~found].max() < members.log_loss[found].min()
        page.says("better than {:word} members on soil", (members.iou_soil < average.iou_soil).sum())
        assert (members[["iou_bedrock", "iou_sand"]] < average[["iou_bedrock", "iou_sand"]].astype(float)).all(
            axis=None
        )
        assert (members.log_loss > average.log_loss).all()
        page.says("better than all {:word} on bedrock", len(members))
        page.says("{:.1%} points of mIoU less than the member", members.miou.max() - average.miou)
        page.says("{:.0f} epochs, trained with {:word} seeds", *set(members.epochs), members.seed.nunique())
        page.says("{} validation images in {} groups", *set(table["images"]), *set(table.groups))
        page.states("Two members that differ only in their seed", "half the steps")
