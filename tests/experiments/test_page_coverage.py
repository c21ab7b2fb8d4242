"""Compare the section about the interval of a score of ``experiments/README.md`` with its CSV file."""

from __future__ import annotations

from typing import Any

HELD = [3, 5, 10, 20, 50]
MANY = [150, 700]


def test_the_interval_of_a_score(section: Any) -> None:
    with section("How often the interval of a score is wrong") as page:
        table = page.csv("coverage")
        table["misses"] = 1 - table.coverage
        many = table[table.groups.isin(MANY) & table.groups_with_rock.notna()]
        check_table(page, many)
        check_width(page, many[many.groups_with_rock == 10])
        used = table[table.interval == "package"]
        check_worst(page, used)
        check_common(page, used, table)
        page.says("{:,} to {:,} data sets per row", table.data_sets.min(), table.data_sets.max())
        page.says("over {:word} systems and over {} and {} groups", many.system.nunique(), *MANY)
        page.says("of a single row is at most {:.1%}", table.standard_error.max())
        page.states("(5 is right)")


def check_table(page: Any, many: Any) -> None:
    misses = many.groupby(["score", "interval", "groups_with_rock"]).misses.mean()
    page.says("| score | interval | {} groups hold rock | {} | {} | {} | {} |", *HELD)
    for label, key in {
        "| IoU of rock | percentile": ("IoU of rock", "percentile"),
        "| | BCa": ("IoU of rock", "bca"),
        "| | percentile, widened (used before)": ("IoU of rock", "widened"),
        "| | **logit jackknife-t (used)**": ("IoU of rock", "package"),
        "| mIoU | percentile, widened": ("mIoU", "widened"),
        "| | **from the classes (used)**": ("mIoU", "package"),
        "| mean Dice | percentile, widened": ("mean Dice", "widened"),
        "| | **from the classes (used)** ": ("mean Dice", "package"),
    }.items():
        page.says(label + " |" + " {:.1%} |" * len(HELD), *misses[key][HELD])


def check_width(page: Any, ten: Any) -> None:
    width = ten.groupby(["score", "interval"]).mean_width.mean()
    page.says("with rock in {} groups the interval of rock has", *set(ten.groups_with_rock.astype(int)))
    page.says("{:.0%} points instead of {:.0%},", *width["IoU of rock"][["package", "widened"]])
    page.says("that of mIoU {:.1%} instead of {:.1%}", *width["mIoU"][["package", "widened"]])


def check_worst(page: Any, used: Any) -> None:
    worst = used.loc[used.groupby("score").misses.idxmax()].set_index("score")
    row = worst.loc["mIoU"]
    page.says("mIoU {:.1%} % (rock in {:.0f} of {} groups)", row.misses, row.groups_with_rock, row.groups)
    page.says("mean Dice {:.1%} %", worst.misses["mean Dice"])
    row = worst.loc["IoU of rock"]
    assert row.system == "hardly finds"
    page.says("rock {:.1%} % for a system that finds", row.misses)
    page.says("({:.0f} of {} groups)", row.groups_with_rock, row.groups)
    page.states("finds 2 % of it")
    late = used[(used.score == "IoU of rock") & (used.misses > 0.05)]
    assert late.too_low.sum() > 0.9 * late.misses.sum()


def check_common(page: Any, used: Any, table: Any) -> None:
    common = used[used.score.isin(["IoU of soil", "IoU of sand"])]
    large, small = (common.misses[flag] for flag in (common.groups >= MANY[0], common.groups < MANY[0]))
    page.says("are {:.1%} to {:.1%} % from {} groups on", large.min(), large.max(), MANY[0])
    few = common.groups[common.groups < MANY[0]]
    page.says("{:.1%} to {:.1%} % at {} to {}", small.min(), small.max(), few.min(), few.max())
    seven = table[(table.groups == few.min()) & table.groups_with_rock.isna()]
    ends = [
        end(seven.misses[(seven.score == score) & (seven.interval == "package")])
        for score in ("pixel accuracy", "log-loss", "ECE")
        for end in (min, max)
    ]
    plain = seven.misses[seven.interval == "percentile"]
    page.says("With {} groups in total: pixel accuracy", few.min())
    page.says(
        "accuracy {:.1%} to {:.1%}, log-loss {:.1%} to {:.1%}, calibration error {:.1%} to {:.1%} %, textbook"
        " percentile {:.0%} to {:.0%} %",
        *(*ends, plain.min(), plain.max()),
    )
