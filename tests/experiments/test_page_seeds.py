"""The settings of pretrained encoders with three seeds each, and three of a kind against one of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

RESULTS = Path(__file__).parents[2] / "experiments" / "results"

BASELINES = {
    "architecture": "smp-unet",
    "augmentation": "geometric",
    "standardise": "half",
    "freeze": "2",
    "optimiser": "adamw",
}
PASTED = "geometric + copy-paste(count=8, margin=2)"
LEVELS = {
    "fpn": "FPN in place of U-Net",
    "deeplabv3plus": "DeepLabV3+ in place of U-Net",
    "flips": "`flips` in place of `geometric`",
    PASTED: "rocks are pasted",
    "data": "pixels standardised by the data",
    "imagenet": "pixels standardised as ImageNet",
    "none": "the whole encoder learns",
    "muon": "Muon at a rate of 0.002",
}
SCORES = ["mIoU", "soil", "bedrock", "sand"]
ALIKE = ["three U-Nets", "three FPNs", "three DeepLabV3+"]
MIXED = [f"one of each, seed {seed}" for seed in range(3)]


def test_three_seeds_each(section: Any) -> None:
    with section("Which setting matters if each network is trained three times?") as page:
        effects = dict(rows for factor in BASELINES for rows in effects_of(factor))
        assert set(effects) == set(LEVELS)
        for level, rows in effects.items():
            cells = [100 * rows.loc[score, name] for score in SCORES for name in ("difference", "low", "high")]
            form = f"| {LEVELS[level]} |" + 4 * " {:+.1f} ({:+.1f} to {:+.1f}) |" + " {:.2f} |"
            page.says(form, *cells, rows.p_holm["mIoU"])
        table = page.csv("ablation-seeds").set_index("run")
        assert len(table.query("group != 'ensemble'")) == 27
        for name in [*ALIKE, *MIXED]:
            check_average(page, name, table.loc[name])
        check_conclusions(page, effects, table)
        page.states(
            "with seeds 0, 1 and 2: 27 networks, eleven of them those of the last two sections",
            "what differs from it in one thing",
            "| Muon at a rate of 0.002",
        )
        page.states(
            "The last two sections", "one seed for most rows", "three seeds each", "each of three architectures"
        )
        page.states("one network of each", "three of one?", "of three to three", "| one of each, seed 0 |")
        page.states("nine of them twice, three of one architecture and one of each", "| one of each, seed 1 |")
        page.states("| three U-Nets |", "| three FPNs |", "| three DeepLabV3+ |", "to three U-Nets")
        page.states("| one of each, seed 2 |", "levels of one setting")


def effects_of(factor: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of each level of a factor, by score."""
    table = pd.read_csv(RESULTS / f"ablation-seeds-{factor}.csv", keep_default_na=False)
    assert set(table.baseline.astype(str)) == {BASELINES[factor]}
    assert set(table.runs) == {3}
    return [(str(level), rows.set_index("score")) for level, rows in table.groupby("level")]


def check_average(page: Any, name: str, row: Any) -> None:
    if name == ALIKE[0]:
        page.says(f"| {name} | {{:.1%}} | | {{:.3f}} | |", row.common, row.log_loss)
        return
    gain = [100 * row[f"d_common{end}"] for end in ("", "_low", "_high")]
    loss = [row.log_loss, *(row[f"d_log_loss{end}"] for end in ("", "_low", "_high"))]
    form = f"| {name} | {{:.1%}} | {{:+.1f}} ({{:+.1f}} to {{:+.1f}}) | {{:.3f}} | {{:+.3f}} ({{:+.3f}} to {{:+.3f}}) |"
    page.says(form, row.common, *gain, *loss)


def check_conclusions(page: Any, effects: dict[str, pd.DataFrame], table: pd.DataFrame) -> None:
    mixed, alike = table.loc[MIXED], table.loc[ALIKE]
    page.says("mixes have {:.1%} % of the common classes in mean, the three of one kind {:.1%} %",
              mixed.common.mean(), alike.common.mean())  # fmt: skip
    page.says("with log-losses of {:.3f} and {:.3f}", mixed.log_loss.mean(), alike.log_loss.mean())
    page.states("The three mixes", "the three of one kind", "gained over three U-Nets", "mix with seed 0")
    page.states(
        "the others gain nothing, and three DeepLabV3+ are as good", "Three U-Nets have", "the first two stages"
    )
    page.states("and five settings were looked at")
    assert mixed.d_common.iloc[0] > 0 > mixed.d_common.iloc[1:].max()
    assert mixed.d_log_loss_high.iloc[1:].min() > 0
    whole = effects["none"].loc["mIoU"]
    page.says("mIoU is {:.1f} points lower ({:.1f} to {:.1f})", *(-100 * whole[["difference", "high", "low"]]))
    proven = [level for level, rows in effects.items() if rows.p_holm["mIoU"] < 0.05]
    assert proven == ["none"]
    ahead = [-100 * effects[level].difference["mIoU"] for level in ("imagenet", "data")]
    page.says("by {:.1f} and {:.1f} points, after correction not proven", *ahead)
    pasted = effects[PASTED]
    page.says("cost sand {:.1f} points ({:.1f} to {:.1f})", *(-100 * pasted.loc["sand", ["difference", "high", "low"]]))
    page.says("bring rocks from none to {:.1%} % IoU", pasted.difference["big rock"])
    alone = table.loc[[f"U-Net, seed {seed}" for seed in range(3)]]
    assert alone.rare.max() == 0
    page.says("U-Nets have {:.1%} %, alone they have {:.1%} to {:.1%} %",
              table.common[ALIKE[0]], alone.common.min(), alone.common.max())  # fmt: skip
