"""Numbers of the page about the ensemble of an hour."""

from __future__ import annotations

from typing import Any

import pandas as pd

MEMBERS = ["U-Net", "FPN, rocks", "DeepLabV3+, rocks", "FPN, native size"]


def test_an_hour_on_two_cores(section: Any) -> None:
    with section("How far does an hour on two cores reach?") as page:
        table = page.csv("best-60min-imagenet").set_index("run")
        for name, row in table.iterrows():
            check_scores(page, str(name), row)
        check_rocks(page, table)
        check_limits(page)
        check_conclusions(page, table)
        page.states("Four members", "first two stages", "a void ring and three rare images per batch of 16")
        page.states("Three grouped folds of 4 or 5 epochs", "the 2,505 tiles", "at least a half", "a fifth of the area")
        page.states("an hour on two", "two cores", "Both intervals", "each test tile three networks", "Two choices")
        assert set(table.images) == {2505}
    check_readme(section("What you get", "README.md"), table)


def test_an_hour_from_random_weights(section: Any) -> None:
    with section("And from random weights?") as page:
        table = page.csv("best-60min-random").set_index("run")
        limits = page.csv("best-60min-random-rocks").set_index("run")
        for name, row in table.iterrows():
            check_scores(page, str(name), row)
            if name in (*limits.index, "average, argmax", "average, expected IoU", "best"):
                limit = limits.loc[name] if name in limits.index else None
                check_found(page, str(name), row, limit)
        best, pretrained = table.loc["best"], page.csv("best-60min-imagenet").set_index("run").loc["best"]
        page.says("`best` has {:.1%} %", best.miou)
        page.says("these are {:.1%} %, against {:.1%} % from ImageNet weights", best.common, pretrained.common)
        average = table.loc["average, expected IoU"]
        page.says(
            "decided for expected IoU, {:.1%} %, with {:,.0f} false rocks", average.rock_area, average.rocks_false
        )
        assert best.rock_area < 0.2 < average.rock_area
        page.says("`best` finds {:.1%} % of it", best.rock_area)
        page.says("{:.0f} of the {:.0f} rocks, with {:,.0f} false ones", best.rocks_found, best.rocks, best.rocks_false)
        page.says("largest limit is {:.1%} %, of the PSPNet", limits.limit["PSPNet"])
        assert limits.limit.idxmax() == "PSPNet"
        page.says("in place of {:.1%} %", page.csv("best-60min-rocks").limit.max())
        gain = [100 * best[f"d_{score}{end}"] for score in ("miou", "common") for end in ("", "_low", "_high")]
        page.says("{:.1f} points of mIoU over its best member with the same decision ({:+.1f} to {:+.1f})", *gain[:3])
        page.says("and {:.1f} in the common classes ({:+.1f} to {:+.1f})", *gain[3:])
        assert max(gain[1], gain[4]) < 0 < min(gain[2], gain[5])
        assert table.common[limits.index].idxmax() == "U-Net"
        by_class = table.loc["each class its own weights"]
        page.says("loses {:.1f} points of the common classes to it", -100 * average.d_common)
        page.says("have {:.1f} more, and that interval lies above zero", 100 * by_class.d_common)
        assert by_class.d_common_low > 0 > average.d_common_high
        assert set(table.images) == {2505}
        page.states("The goal was 66 % mIoU", "A fifth of the area", "any one threshold", "than one without")
        page.states("three rare images per batch of 32", "16 to 24 epochs in each of three folds", "three members")
        page.states("of 24 filters", "of 16 filters", "Four members")
        page.states("reached 57.5 %", "in 47 minutes", "75.1 % of the common classes")
        page.states("took 46 minutes on two cores of an idle machine (86 minutes of the processor)", "1,500 test tiles")


def check_scores(page: Any, name: str, row: Any) -> None:
    scores = [row.miou, row.miou_low, row.miou_high, row.common, row.soil, row.bedrock, row.sand, row.rock]
    start = f"| {name} | {{:.1%}} ({{:.1%}} to {{:.1%}})" + 5 * " | {:.1%}" + " | {:.3f} |"
    page.says(start, *scores, row.log_loss)
    if not pd.isna(row.d_miou):
        ends = [row.d_miou, row.d_miou_low, row.d_miou_high, row.d_common, row.d_common_low, row.d_common_high]
        page.says(2 * " {:+.1f} ({:+.1f} to {:+.1f}) |", *[100 * end for end in ends])


def check_found(page: Any, name: str, row: Any, limit: Any) -> None:
    right = [] if pd.isna(row.rock_right) else [row.rock_right]
    ends = f" | {'{:.1%}' if right else ''} | {{}} | {{:,}} |"
    counts = int(row.rocks_found), int(row.rocks_false)
    if limit is None:
        page.says(f"| {name} | {{:.1%}} | | {{:.1%}}{ends} |", row.rock, row.rock_area, *right, *counts)
        return
    auc = limit.images_auc, limit.images_auc_low, limit.images_auc_high
    start = f"| {name} | {{:.1%}} | {{:.1%}} | {{:.1%}}{ends} {{:.0%}} ({{:.0%}} to {{:.0%}}) |"
    page.says(start, row.rock, limit.limit, row.rock_area, *right, *counts, *auc)


def check_rocks(page: Any, table: pd.DataFrame) -> None:
    for name in [*MEMBERS, "average, argmax", "average, expected IoU", "learned weights", "best"]:
        row = table.loc[name]
        right = "" if pd.isna(row.rock_right) else "{:.1%}"
        values = [row.rock, row.rock_without_largest, row.rock_area, *([row.rock_right] if right else [])]
        ends = int(row.rocks_found), int(row.rocks_false)
        page.says(f"| {name} | {{:.1%}} | {{:.1%}} | {{:.1%}} | {right} | {{}} | {{:,}} |", *values, *ends)
    page.says("{:.0f} tiles hold {:.0f} rocks", *set(table.rock_images), *set(table.rocks))


def check_limits(page: Any) -> None:
    limits = page.csv("best-60min-rocks").set_index("run")
    assert limits.index.tolist() == MEMBERS
    for name, row in limits.iterrows():
        page.says(f"| {name} | {{:.1%}} | {{:.1%}} | {{:.1%}} |", row.iou, row.limit, row.limit_without_largest)
        page.says("| {:.0%} ({:.0%} to {:.0%}) |", row.images_auc, row.images_auc_low, row.images_auc_high)
    page.says("reaches {:.1%} % IoU; calling every pixel rock has {:.2%} %", limits.limit.max(), limits.share.iloc[0])
    page.states(
        "where chance is 50 %", "of the six tiles with most rock", "The six tiles", "two of the six rocks", "any one"
    )
    page.states("labels of three experts", "depend on six objects", "the 1,500 test tiles", "take 10 seconds more")


def check_conclusions(page: Any, table: pd.DataFrame) -> None:
    best = table.loc["best"]
    reached = best.miou >= 0.70, best.common >= 0.86, best.rock_area >= 0.2, best.d_miou >= 0.02
    assert reached == (False, True, False, False)
    page.states("70 % mIoU, 86 % of the common classes", "two points more than the best member")
    page.says("`best` has {:.1%} and {:.1%} %, finds {:.1%} % of the area", best.miou, best.common, best.rock_area)
    page.says("is {:.1f} points better than its best member in mIoU", 100 * best.d_miou)
    page.says("and {:.1f} in the common classes", 100 * best.d_common)
    assert min(best.d_miou_low, best.d_common_low) > 0
    page.says("70 % would take {:.1%} % of the common classes", (4 * 0.70 - best.rock) / 3)
    page.states("a quarter of the mIoU", "70 % would take")
    good = table.loc[MEMBERS].common
    page.says("has {:.1%} to {:.1%} % of the common classes after 4 or 5 epochs", good.min(), good.max())
    page.states("each of the four members", "after 4 or 5 epochs", "four good members")
    earlier = page.csv("first-ensemble").query("kind == 'member'")
    page.says(
        "the best of the {:word} members from random weights above has {:.1%} %", len(earlier), earlier.miou.max()
    )
    pooled = table.loc[
        ["average, argmax", "average, expected IoU", "learned weights", "each class its own weights", "best"]
    ]
    page.says("have {:.1%} to {:.1%} % of the common classes and", pooled.common.min(), pooled.common.max())
    for log_loss in pooled.log_loss:
        page.says("the same log-loss, {:.3f}", log_loss)
    plain = pooled.loc["average, argmax"]
    assert (plain.common, plain.rocks_found) == (table.common.max(), 0)
    page.says("is best there ({:+.1f}) and finds no rock", 100 * plain.d_common)
    assert (best.rock, best.rock_right) == (pooled.rock.max(), pooled.rock_right.drop("average, argmax").max())
    page.says("right more often, {:.1%} %, and has the best IoU of rock, {:.1%} %", best.rock_right, best.rock)
    page.states("the other two")
    page.states("took 121 minutes of processor time", "a quarter of it", "has two views", "Three ideas")


def check_readme(page: Any, table: pd.DataFrame) -> None:
    shown = {"best": "**stacking** of the four (`best`)", "average, argmax": "**average** of the four"}
    for name in [*MEMBERS, *shown]:
        row = table.loc[name]
        cells = "| {:.1%} | {:.1%}-{:.1%} | {:.1%} | {:.1%} | {:.3f} | {:.1%} |"
        scores = [row.miou, row.miou_low, row.miou_high, row.common, row.rock, row.log_loss, row.ece]
        page.says(f"| {shown.get(name, name)} {cells}", *scores)
    best = table.loc["best"]
    gain = [100 * best[f"d_common{end}"] for end in ("", "_low", "_high")]
    page.says("is {:.1f} points better there than its best member ({:.1f} to {:.1f})", *gain)
    page.says("Rocks are {:.2%} % of the pixels", page.csv("best-60min-rocks").share.iloc[0])
