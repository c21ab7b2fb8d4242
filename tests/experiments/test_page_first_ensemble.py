"""Compare the section about the first ensemble of ``experiments/README.md`` with its CSV files."""

from __future__ import annotations

from typing import Any

import pytest

CLASSES = ["iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock"]


def test_the_start_of_the_page(section: Any) -> None:
    with section("") as page:
        page.states("two cores of an AMD EPYC")


def test_the_first_ensemble(section: Any) -> None:
    with section("The first ensemble on Mars tiles") as page:
        table = page.csv("first-ensemble")
        check_runs(page, table)
        check_differences(page)
        members, ensembles = table[table.kind == "member"], table[table.kind == "ensemble"]
        best, likely = members.loc[members.miou.idxmax()], members.loc[members.log_loss.idxmin()]
        average, learned = (ensembles[ensembles.name.str.startswith(name)].iloc[0] for name in ("average", "learned"))
        none = table[table.iou_big_rock == 0].iloc[0]
        limits = (none.iou_big_rock_low, none.iou_big_rock_high, best.iou_big_rock_low, best.iou_big_rock_high)
        page.says("{:.0%} to {:.0%} % for a network that finds none and {:.0%} to {:.0%} % for the best one", *limits)
        page.says("reaches {:.1%} to {:.1%} % mIoU", members.miou.min(), members.miou.max())
        page.says("in {:.0f} to {:.0f} minutes", members.seconds.min() / 60, members.seconds.max() / 60)
        page.says("The plain average ({:.1%}) equals the member", average.miou)
        page.says("looks best on these images ({:.1%})", best.miou)
        page.says("best log-loss, {:.3f}, and calibration error, {:.1%} %", table.log_loss.min(), table.ece.min())
        assert (learned.log_loss, learned.ece) == (table.log_loss.min(), table.ece.min())
        assert (likely.architecture, likely.loss, likely.iou_big_rock) == ("unet", "ce", 0)
        page.says("win of {:.1%} points for the average", average.miou - learned.miou)
        page.says("{} images of rover stops", *set(table.images))
        page.says("{:Word} members that differ", len(members))
        page.states("2,615 grey 64x128 tiles", "20 % hold-out", "A quarter of the mIoU is big rock")


def check_runs(page: Any, table: Any) -> None:
    labels = {
        "residual-unet": "residual-unet x 0.5 dice + 0.5 ce *",
        "average of 5": "**average** of the five",
        "attention-unet": "attention-unet x unified *",
        "pspnet": "pspnet x weighted-ce",
        "learned of 5": "**learned weights** of the five",
        "unet": "unet x ce",
        "linknet": "linknet x tversky *",
    }
    assert list(table.architecture) == list(labels)
    assert (table.sampler.str.startswith("rare") == [label.endswith("*") for label in labels.values()]).all()
    for _, row in table.iterrows():
        minutes = f"{row.seconds / 60:.1f} " if row.kind == "member" else ""
        page.says(
            "| {} | {:.2f} | {}| {} | {:.1%}-{:.1%} |" + " {:.1%} |" * 4 + " {} | {} |",
            *(labels[row.architecture], row.parameters / 1e6, minutes),
            bold(f"{100 * row.miou:.1f}", row.miou == table.miou.max()),
            *(row.miou_low, row.miou_high, *row[CLASSES]),
            bold(f"{row.log_loss:.3f}", row.log_loss == table.log_loss.min()),
            bold(f"{100 * row.ece:.1f}", row.ece == table.ece.min()),
        )


def bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def check_differences(page: Any) -> None:
    table = page.csv("first-ensemble-differences").set_index("difference")
    form = "{:+.2f} ({:+.2f} to {:+.2f})"
    first = ["method - average", "method - best member", "method - member"]
    page.says(f"mIoU {form} {form} {form}", *table.loc[first].to_numpy().ravel())
    page.says("It is {:.1f} points above the best member", table.points["average - best member"])
    page.says("the interval, {:+.1f} to {:+.1f}, covers zero", *table.loc["average - best member", ["low", "high"]])
    page.states("residual-unet-0.5dice-0.5ce-s0-bdd5e8")
    scores = page.csv("first-ensemble").set_index("name").miou
    method, average = (next(name for name in scores.index if name.startswith(kind)) for kind in ("learned", "average"))
    member = "residual-unet-0.5dice-0.5ce-s0-bdd5e8"
    for pair, (one, other) in {
        "method - average": (method, average),
        "method - member": (method, member),
        "average - member": (average, member),
    }.items():
        assert table.points[pair] == pytest.approx(100 * (scores[one] - scores[other]), abs=0.005)
