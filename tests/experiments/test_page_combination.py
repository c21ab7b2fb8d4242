"""Compare the section about ten members of ``experiments/README.md`` with its CSV files."""

from __future__ import annotations

import re
from typing import Any

LIKELIHOOD = ["learned", "per-class", "geometric exponents=learned", "stacking", "stacking neighbourhood=3"]
PLAIN = ("none", "argmax", "all")


def test_ten_members(section: Any) -> None:
    with section("Ten members, combined in every way") as page:
        table = page.csv("combination")
        rows = table.set_index(["calibrate", "decide", "members", "method"]).sort_index()
        check_methods(page, rows)
        check_gains(page, table, rows)
        check_temperatures(page, rows)
        check_offsets(page, rows)
        check_explanation(page)
        systems = page.csv("explain/systems").set_index("system")
        page.says("bad on purpose ({:.1%} % mIoU)", systems.miou["unet-baseline-ce-s0-016498"])
        page.says("the {} images of the catalogue", *set(page.csv("catalogue").validation_images))
        page.states("Eight rows of the catalogue (four losses with `unet`, four other architectures", "the worse half")


def check_methods(page: Any, rows: Any) -> None:
    difference = "{:+.2%} ({:+.2%} to {:+.2%}) |"
    for label, key in {
        "per-class weights": (*PLAIN, "per-class"),
        "geometric, learned exponents": (*PLAIN, "geometric exponents=learned"),
        "learned": (*PLAIN, "learned"),
        "greedy": (*PLAIN, "greedy"),
        "stacking": (*PLAIN, "stacking"),
        "auto (chooses in every fold)": (*PLAIN, "auto"),
        "geometric mean": (*PLAIN, "geometric"),
        "learned, soft-mIoU": (*PLAIN, "learned objective=soft-miou"),
        "learned + temperatures + offsets": ("both", "offsets", "all", "learned"),
    }.items():
        row = rows.loc[key]
        cells = (row.miou, row.log_loss, row.ece, row.difference, row.difference_low, row.difference_high)
        page.says(f"| {label} | {{:.1%}} | {{:.3f}} | {{:.1%}} | {difference}", *cells)
    row = rows.loc[(*PLAIN, "average")]
    page.says("| average | {:.1%} | {:.3f} | {:.1%} | |", row.miou, row.log_loss, row.ece)
    row = rows.loc[(*PLAIN, "best member")]
    cells = (row.miou, row.difference, row.difference_low, row.difference_high)
    page.says(f"| best member, picked on other folds | {{:.1%}} | | | {difference}", *cells)


def check_gains(page: Any, table: Any, rows: Any) -> None:
    methods = table[table.method != "best member"]
    variants = ["calibrate", "decide", "members"]
    page.says("in {} variants", methods[variants].drop_duplicates().shape[0])
    page.says("{} ways in all", len(methods))
    learned = methods[methods.method.isin(LIKELIHOOD)]
    averages = methods[methods.method == "average"].set_index(variants).log_loss
    saved = 1 - learned.set_index(variants).log_loss / averages
    page.says("The {:word} methods that weigh members by likelihood", len(LIKELIHOOD))
    page.says("gain {:.2%} to {:.2%} points", learned.difference.min(), learned.difference.max())
    page.says("and {:.1%} to {:.1%} % of the log-loss", saved.min(), saved.max())
    above = methods[methods.difference_low > 0]
    page.says("{} of the {} intervals lie above zero", len(above), len(methods))
    page.says("{} of them of per-class weights", (above.method == "per-class").sum())
    auto, best = rows.loc[(*PLAIN, "auto")], rows.loc[(*PLAIN, "best member")]
    cells = (auto.difference, auto.difference_low, auto.difference_high)
    page.says("gains {:.1%} ({:+.1%} to {:+.1%})", *cells)
    page.says("have {:.1%} points more than the best member", rows.miou[(*PLAIN, "learned")] - best.miou)
    highs = [rows.miou_high[(*PLAIN, method)] for method in ("greedy", "learned")]
    leap = rows.miou_high["none", "argmax", "without the bad one", "per-class"]
    page.says("{:.1%} % for `greedy` and {:.1%} % for per-class weights", highs[0], leap)
    page.says("learned weights have {:.1%} %", highs[1])
    page.states("**Two upper limits", "Version 0.3.0")
    average, without = (rows.miou["none", "argmax", members, "average"] for members in ("all", "without the bad one"))
    page.says("costs the average {:.2%} points ({:.1%} with it, {:.1%} without)", without - average, average, without)
    scores = ["miou", "log_loss", "ece"]
    same = [rows.loc[("none", "argmax", members, "learned"), scores] for members in ("all", "without the bad one")]
    assert same[0].equals(same[1])


def check_temperatures(page: Any, rows: Any) -> None:
    def score(calibrate: str, method: str, column: str) -> float:
        return rows.loc[(calibrate, "argmax", "all", method), column]

    table = page.csv("explain/calibration").set_index("system")
    members = table.drop(["average", "ensemble"])
    sure = members[members.index.str.contains("-dice-|-tversky-") & members.index.str.startswith("unet-")]
    others = members.drop(sure.index).temperature
    assert len(sure) == 2
    page.says("(T = {}, ECE {} %)", *({f"{t:.1f}" for t in sure.temperature}), *({f"{100 * e:.0f}" for e in sure.ece}))
    page.says("the others are not (T = {:.1f} to {:.1f})", others.min(), others.max())
    page.says(
        "soft-mIoU objective from {:.1%} to {:.1%} % mIoU and the geometric mean from {:.1%} to {:.1%} %",
        *(score(c, m, "miou") for m in ("learned objective=soft-miou", "geometric") for c in ("none", "members")),
    )
    page.says("log-loss goes from {:.3f} to {:.3f}", *(score(c, "average", "log_loss") for c in ("none", "members")))
    page.says("ECE from {:.1%} to {:.1%} %", *(score(c, "average", "ece") for c in ("none", "members")))
    page.says("(T = {:.2f})", table.temperature["average"])
    page.says("({:.3f}, ECE {:.1%} %)", score("pool", "average", "log_loss"), score("pool", "average", "ece"))
    page.says("both together reach {:.3f}", score("both", "average", "log_loss"))
    assert rows.loc["pool", "argmax", "all"].miou.equals(rows.loc["none", "argmax", "all"].miou)


def check_offsets(page: Any, rows: Any) -> None:
    def change(calibrate: str, column: str) -> Any:
        moved = rows.loc[calibrate, "offsets", "all"][column] - rows.loc[calibrate, "argmax", "all"][column]
        return moved.drop("best member")

    none, both = change("none", "miou"), change("both", "miou")
    page.says("by {:+.1%} to {:+.1%} points without temperatures", none.min(), none.max())
    page.says("by {:+.1%} to {:+.1%} with them", both.min(), both.max())
    selected = [change(calibrate, "miou_in_sample") for calibrate in ("none", "both")]
    page.says("{:+.1%} to {:+.1%} and {:+.1%} to {:+.1%}", *(end(each) for each in selected for end in (min, max)))
    row = rows.loc["both", "offsets", "all", "stacking neighbourhood=3"]
    page.says("has {:.1%} in-sample and {:.1%} cross-fitted", row.miou_in_sample, row.miou)


def check_explanation(page: Any) -> None:
    rock = page.csv("explain/systems").set_index("system")["iou big rock"]
    names = ["pan-weighted-ce-s0-b2c99d", "unet-dice-s0-5062ed", "unet-tversky-s0-ed6f34"]
    page.says(
        "`pan x weighted-ce` (IoU {:.1%} %), `unet x dice` ({:.1%} %) and `unet x tversky` ({:.1%} %)", *rock[names]
    )
    page.says("average keeps {:.1%} % and learned weights {:.1%} %", rock["average"], rock["ensemble"])
    shares = page.csv("explain/contributions").query("measure == 'leave-one-out'").set_index(["member", "target"])
    dice, tversky = (shares.loc[(name, "big rock")] for name in names[1:])
    page.says("Dice takes {:.2%} and Tversky {:.2%} points of rock", dice.value, tversky.value)
    common = shares.loc[names[1:]].drop(index=["miou", "big rock"], level="target").value
    page.says("up to {:.2%} points of a common class", -common.min())
    limits = [value for row in (dice, tversky) for value in (row.low, row.high)]
    page.says("reach 0 ({:.1%} to {:.1%} and {:.1%} to {:.1%} points)", *limits)
    page.says("intervals of rock reach {:.0f}", dice.low)
    check_diversity(page)
    steps = page.csv("explain/dropping")
    assert steps.no_loss.all()
    page.says("{:Word} of {:word} can go", len(steps), len(steps) + 1)
    two = steps.iloc[-2]
    left = set(names) | set(rock.index[:10])
    assert left - set(steps.dropped[:-1]) == {"unet-weighted-ce-s0-6063b0", "pspnet-0.5dice-0.5ce-s0-eb0edf"}
    page.says("has {:.1%} (chosen on these images", two.miou)
    page.states("the last two")
    sure = page.csv("explain/uncertainty").set_index("score").loc["1 - confidence"]
    page.says("{:.0%} % of the errors are in the 5 % least", sure["errors_in_top_5%"])
    page.says("{:.0%} % in the 20 % least", sure["errors_in_top_20%"])
    page.states("the 5 % least confident", "the 20 % least confident")


def check_diversity(page: Any) -> None:
    pairs = page.csv("explain/pairwise")
    first = pairs.loc[pairs.disagreement.idxmin()]
    assert {first.member, first.other} == {"pspnet-weighted-ce-s0-5d9013", "pan-weighted-ce-s0-b2c99d"}
    page.says("({:.1%} % of the pixels differ, error correlation {:.2f})", first.disagreement, first.error_correlation)
    good = pairs[~(pairs.member + pairs.other).str.contains("unet-baseline")]
    parts = [
        [re.match(r"(.+?)-(ce|weighted-ce|dice|tversky|0.5dice-0.5ce)-s0", name) for name in good[column]]
        for column in ("member", "other")
    ]
    nets, losses = ([[m[part] for m in column if m] for column in parts] for part in (1, 2))
    same_net = [a == b for a, b in zip(*nets, strict=True)]
    same_loss = [a == b for a, b in zip(*losses, strict=True)]
    of_net = good.error_correlation[same_net]
    of_both = good.error_correlation[[not a and not b for a, b in zip(same_net, same_loss, strict=True)]]
    page.says("of two losses with one network is {:.2f} to {:.2f}", of_net.min(), of_net.max())
    page.says("of different network and loss {:.2f} to {:.2f}", of_both.min(), of_both.max())
    page.states("of two losses")
    whole = page.csv("explain/log_loss").set_index("class").loc["all"]
    gains = (whole.diversity, whole.ambiguity, whole.members)
    page.says("gain {:.2f} and {:.2f} nats from diversity over a member's {:.2f}", *gains)
