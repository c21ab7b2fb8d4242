"""The grid of architectures and losses on Mars tiles, and the effects of both."""

from __future__ import annotations

from typing import Any

ARCHITECTURES = ["unet", "attention-unet", "linknet", "pspnet"]
LOSSES = ["ce", "weighted-ce", "0.5*dice + 0.5*ce", "tversky"]
SCORES = ["mIoU", "mIoU without big rock", "big rock"]


def test_what_architecture_and_loss_bring(section: Any) -> None:
    with section("Architecture or loss: what does either bring?") as page:
        table = page.csv("grid").set_index("run")
        for architecture in ARCHITECTURES:
            rows = [table.loc[f"{architecture} x {loss}"] for loss in LOSSES]
            cells = [cell for row in rows for cell in (row.common, row.rare, row.log_loss)]
            page.says(f"| {architecture} |" + 4 * " {:.1%} ({:.1%}, {:.2f}) |", *cells)
        assert len(table) == len(ARCHITECTURES) * len(LOSSES) + 3
        assert set(table.epochs.dropna()) == {5}
        page.states("each of four losses", "| 0.5 dice + 0.5 ce |", "| 0.5*dice + 0.5*ce |")
        page.says("hold-out of {} images", *set(table["images"]))
        page.states("Each of four architectures", "for 5 epochs", "over the four architectures", "over the four losses")
        effects = {name: page.csv(f"grid-{name}").set_index(["level", "score"]) for name in ("losses", "architectures")}
        for effect in effects.values():
            assert effect.p_holm.min() > 0.05
            for level, baseline in dict(zip(effect.index.get_level_values(0), effect.baseline, strict=True)).items():
                rows = [effect.loc[level, score] for score in SCORES]
                cells = [100 * value for row in rows for value in (row.difference, row.low, row.high)]
                page.says(f"| {level} | {baseline} |" + 3 * " {:+.1f} ({:+.1f} to {:+.1f}) |", *cells)
        check_conclusions(page, table, effects)


def check_conclusions(page: Any, table: Any, effects: Any) -> None:
    linknet = effects["architectures"].loc["linknet", "mIoU without big rock"]
    page.says("Linknet lies {:.1%} points behind", -linknet.difference)
    assert linknet.high < 0
    weighted = effects["losses"].loc["weighted-ce"]
    page.says("looks {:.1%} points better than", weighted.difference["mIoU"])
    page.says("in the common classes {:.1%} points remain", weighted.difference["mIoU without big rock"])
    page.says("up to {:.1%} % IoU of rock, but at most {:.1%} %", table.rare.max(), table.rare_without_largest.max())
    assert table.rare.idxmax().endswith("weighted-ce")
    learned, average = table.loc["learned weights"], table.loc["average"]
    page.says("{:.1%} % of the common classes, as `pspnet x weighted-ce`", learned.common)
    members = table[table.group != "ensemble"]
    assert members.common.idxmax() == "pspnet x weighted-ce"
    assert abs(members.common.max() - learned.common) < 0.001
    losses = average.d_log_loss, average.d_log_loss_low, average.d_log_loss_high
    page.says("has {:.1%} %, and its log-loss is {:.3f} worse ({:.3f} to {:.3f})", average.common, *losses)
    pooled = table.loc["learned weights, temperature after pooling"]
    assert pooled.d_log_loss_low < 0 < pooled.d_log_loss_high
    assert table[table.group == "ensemble"].rare.max() < 0.001
    sure = members.index.str.endswith("tversky")
    for form, of in (("its log-losses are {:.2f} to {:.2f}", sure), ("the other losses {:.2f} to {:.2f}", ~sure)):
        page.says(form, members.log_loss[of].min(), members.log_loss[of].max())
    page.states("is one tile")
