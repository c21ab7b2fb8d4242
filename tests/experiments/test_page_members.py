"""Compare the sections about data and single members of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

from typing import Any

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
