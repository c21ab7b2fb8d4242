"""Compare the sections about members and ensembles of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

import re
from typing import Any

import pytest

CLASSES = ["iou_soil", "iou_bedrock", "iou_sand", "iou_big_rock"]
LIKELIHOOD = ["learned", "per-class", "geometric exponents=learned", "stacking", "stacking neighbourhood=3"]
PLAIN = ("none", "argmax", "all")


def test_the_start_of_the_page(section: Any) -> None:
    with section("") as page:
        page.states("two cores of an AMD EPYC")


# ---------------------------------------------------------------- the first ensemble


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
    page.says(f"the interval of their difference, {form} points", *table.loc["method - average"])
    page.says(f"{form} points against the member picked on other images", *table.loc["average - best member"])
    page.says(f"{form} against residual-unet", *table.loc["average - member"])
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


# ---------------------------------------------------------------- ten members


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


# ---------------------------------------------------------------- single members


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
        table = page.csv("ladder")
        five = table.background == "class"
        four = table.miou_keras * (1.25 * five + 1.0 * ~five)
        assert (four[~five] - table.loc[~five, CLASSES].mean(axis=1)).abs().max() < 1e-9
        labels = (
            "shallow U-Net, plain cross-entropy",
            "+ class weights inverse to pixel counts (at most 30)",
            "+ weight of the background zero",
            "+ augmentation and channel attention",
        )
        for label, (at, row) in zip(labels, table.iterrows(), strict=True):
            cells = (row.miou_keras, row.miou_keras_low, row.miou_keras_high, 5 if five[at] else 4, four[at])
            page.says(f"| {label} | {{:.1%}} ({{:.1%}} to {{:.1%}}) | {{}} | {{:.1%}} |", *cells)
        page.says("So of the {:.1%} points", table.miou_keras[2] - table.miou_keras[1])
        page.says("{:.1%} are better maps", four[2] - four[1])
        page.says("bring {:.1%} points over the four classes", four[1] - four[0])
        page.says("augmentation and attention {:.1%}", four[3] - four[2])
        assert table.miou_keras_low[3] < table.miou_keras_high[2]
        page.says("one member of {} epochs", *set(table.epochs))
        page.says("{} validation images in {} groups", *set(table["images"]), *set(table.groups))
        rock = page.csv("seeds").query("kind == 'member'").iou_big_rock
        page.says("by up to {:.0%} points (next section)", rock.max() - rock.min())
        plan = page.csv("dry-runs").set_index("recipe").loc["ladder"]
        page.says("The {} other members", plan.members - len(table))
        page.says("estimates {:.0f} minutes", plan.estimated_seconds / 60)
        page.states("The four steps of the reference study (39.65, 48.06, 70.46 and 72.46 %")  # quoted from it
        page.states("(at most 30)", "four real classes", "four classes", "first two members", "for five classes")
        page.states("as a fifth class with an IoU of 0", "5/4 of that", "The last two intervals")


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
