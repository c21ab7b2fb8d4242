"""Compare what ``experiments/README.md`` claims about intervals of differences and about rates with the CSV files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemble.evaluation.caveats import FEW_HOLDERS
from ensemble.evaluation.paired import RESAMPLES
from ensemble.evaluation.proportion_intervals import share_interval

USED = "expanded-df"  # the name of the package's interval in verdict-rates.csv
WORLDS = {"blind": "when neither system finds rock", "twins": "when both do", "unlike": "when they treat it"}


def test_what_the_numbers_mean(section: Any) -> None:
    with section("What the numbers mean") as page:
        table = page.csv("coverage")
        rock = table[table.groups_with_rock.notna()].assign(misses=1 - table.coverage)
        settings = rock[["system", "groups", "groups_with_rock"]].drop_duplicates()
        page.says("In {} planted settings", len(settings))
        held = settings.groups_with_rock
        page.says("held by {:.0f} to {:.0f} groups", held.min(), held.max())
        used, plain = (rock[rock.interval == name].groupby("score").misses for name in ("package", "percentile"))
        least, most, bootstrap = used.min(), used.max(), plain.max()
        page.says("mIoU misses the truth in {:.1%} to {:.1%} %", least["mIoU"], most["mIoU"])
        page.says("(a textbook bootstrap in up to {:.0%} %)", bootstrap["mIoU"])
        page.says("class in {:.1%} to {:.0%} %", least["IoU of rock"], most["IoU of rock"])
        page.says("(bootstrap: up to {:.0%} %)", bootstrap["IoU of rock"])
        nothing = share_interval(0.0, np.zeros(190), holders=14)
        page.says('held by {} groups has an IoU of "{:.0%} % ({:.0%} to {:.0%} %)"', 14, 0.0, nothing.low, nothing.high)
        rates = differences(page).groupby("interval").misses
        page.says("is wrong in {:.1%} to {:.1%} %", rates.min()[USED], rates.max()[USED])
        page.says("interval in up to {:.0%} % and BCa in up to {:.0%} %", *rates.max()[["percentile", "bca"]])
        page.says("({:,} resamples)", RESAMPLES)
        page.states(
            "On planted truths of 0", "not 0 to 0", "begins at 0", "never counts as 0", "two *labelled* classes"
        )
        page.states("costs a fifth of the score with four classes", "within 0.75 % of the image diagonal")
        page.states("on four fifths of the image groups and scored on the last fifth, five times")


def differences(page: Any) -> Any:
    """Return the rows of differences in mIoU with a truth of 0, whatever groups hold rock."""
    table = page.csv("verdict-rates")
    rows = (table.score == "difference in mIoU") & (table.truth_points == 0) & (table.groups_with_rock == "any")
    return table[rows]


def test_the_verdict(section: Any) -> None:
    with section("How often the verdict is wrong") as page:
        table, rows = page.csv("verdict-rates"), differences(page)
        check_verdict_table(page, rows)
        used = rows[rows.interval == USED]
        many = used[(used.images_with_rock == 0.02) & (used.groups == 190)]
        page.says("Per side at {} groups: {:.1%} % too high", 190, many.too_high.mean())
        page.says("{:.1%} % too low", many.too_low.mean())
        true = table[(table.score == "difference in mIoU") & (table.truth_points == 1) & (table.interval == USED)]
        true = true[(true.groups_with_rock == "any") & (true.groups == 190)].set_index("world").above_zero
        page.says("A true +1 point is found in {:.0%} % of the simulations", true["blind"])
        for world, words in list(WORLDS.items())[1:]:
            page.says(f"{{:.0%}} % {words}", true[world])
        worst = used.loc[used.misses.idxmax()]
        assert worst.world == "unlike"
        cells = (worst.misses, worst.groups, worst.images_with_rock)
        page.says("with a truth of 0 is {:.1%} %: {} groups, rock in {:.0%} % of the images", *cells)
        check_rock(page, table)
        page.says("two systems on {} to {} groups", table.groups.min(), table.groups.max())
        page.says("in {:.0%} % of the images", 0.02)
        page.says(
            "mean of {:word} pairs of systems, {:,} simulations each", table.world.nunique(), *set(table.simulations)
        )
        page.says("standard error of a single row at most {:.1%}", rows.standard_error.max())
        page.states("(3.6 images each, unequal)", "truth of 0", "(5 is right", "two systems", "A true +1 point")
        page.states("with 190 groups (690 images)", "on 690 images", "One point")


def check_verdict_table(page: Any, rows: Any) -> None:
    columns = [(0.02, 15), (0.02, 30), (0.02, 60), (0.02, 190), (0.4, 7)]
    misses = rows.groupby(["interval", "images_with_rock", "groups"]).misses.mean()
    page.says(
        "| interval | {} groups | {} | {} | {} | {} groups, rock in {:.0%} % |",
        *dict.fromkeys(at[1] for at in columns),
        0.4,
    )
    for label, name in {
        "percentile (used before)": "percentile",
        "BCa": "bca",
        "bootstrap-t": "bootstrap-t",
        "wild cluster bootstrap-t": "wild-t",
        "jackknife t, g - 1 degrees": "jackknife-t",
        "**percentile at Student's t, effective degrees (used)**": USED,
    }.items():
        page.says(f"| {label} |" + " {:.1%} |" * 5, *(misses[(name, *at)] for at in columns))
    page.states("g - 1 degrees")


def check_rock(page: Any, table: Any) -> None:
    rock = table[
        (table.score == "difference in rock IoU") & (table.interval == USED) & (table.groups_with_rock != "any")
    ]
    most = rock.groups_with_rock.str.split(" to ").str[1].astype(float)
    few, enough = (rock[flag].groupby("truth_points").misses for flag in (most <= 9, most > 9))
    few, enough = (
        [value for truth in (0.0, 1.0) for value in (part.min()[truth], part.max()[truth])] for part in (few, enough)
    )
    page.says("the misses are {:.0%} to {:.0%} % for a truth of 0 and {:.0%} to {:.0%} % for a true +1", *few)
    page.says("or more groups {:.0%} to {:.0%} % and {:.0%} to {:.0%} %", *enough)
    page.states("with 1 to 9 groups that hold rock", "with 10 or more groups", "for a true +1 point")
    page.says("printed below {} groups", FEW_HOLDERS)


def test_compare(section: Any) -> None:
    with section("How often `ens compare` is wrong") as page:
        table = page.csv("comparison-rates")
        page.says("{:,} simulations per setting", *set(table.simulations))
        check_holm(page, table[table.study == "holm"])
        check_factors(page, table[table.study == "factors"])
        check_power(page, table[table.study == "power"])


def check_holm(page: Any, holm: Any) -> None:
    equal = holm[holm.world == "equal"].groupby("method")
    rates, errors = equal.value, equal.standard_error
    page.says("false difference in {:.1%} to {:.1%} % of the simulations", rates.min()["holm"], rates.max()["holm"])
    page.says("(standard error {:.1%} to {:.1%})", errors.min()["holm"], errors.max()["holm"])
    page.says("without the correction in {:.1%} to {:.1%} %", rates.min()["uncorrected"], rates.max()["uncorrected"])
    better = holm[(holm.world == "one better") & (holm.method == "holm")].set_index("measure")
    page.says("With one system {:.0f} points better", *set(better.truth_points))
    page.says("better: {:.1%} % false, {:.0%} % of the true ones", *better.value)
    page.states("10 pairs")


def check_factors(page: Any, factors: Any) -> None:
    misses = factors[factors.measure == "misses"]
    single = misses.world == "no replicates"
    for label, method, form in (
        ("ours (two-way)", "two-way", "{:.1%} to {:.1%} % (conservative at 15 groups)"),
        ("image groups only", "groups only", "{:.1%} to {:.0%} %"),
        ("runs only", "runs only", "{:.1%} to {:.0%} %"),
        ("two-way sandwich (`OLS`, 60 and 15 groups only)", "sandwich", "{:.1%} to {:.0%} %"),
    ):
        rates = misses.value[~single & (misses.method == method)]
        page.says(f"| {label} | {form} |", rates.min(), rates.max())
    alone = misses[single].groupby("method").value
    page.says("(conservative at 15 groups) | {:.1%} to {:.0%} % |", alone.min()["two-way"], alone.max()["two-way"])
    assert set(alone.max().index) == {"two-way", "groups only"}
    assert alone.max()["groups only"] == alone.max()["two-way"]
    bias = factors[factors.measure == "bias in points"]
    bias = bias.value.abs().groupby(bias.groups).max()
    page.says("at most {:.2f} points at {} groups, {:.2f} at {}", bias[190], 190, bias[15], 15)
    page.says(
        "({:word} grids, {:word} levels of training noise", factors.world.nunique(), factors.noise_of_training.nunique()
    )
    page.says("{}, {} or {} groups)", *sorted(set(factors.groups), reverse=True))
    assert set(misses.groups[misses.method == "sandwich"]) == {15, 60}
    page.states(
        "grid of 14 runs, two seeds per level, and four blocks", "at 15 groups", "60 and 15 groups only", "two-way"
    )


def check_power(page: Any, power: Any) -> None:
    worlds = ["twins", "blind", "unlike"]
    rates = (
        power[power.measure.isin(["power promised", "power seen"])]
        .set_index(["method", "measure", "world"])
        .value.sort_index()
    )
    pilot = rates["pilot"]
    page.says("predict {:.0%} / {:.0%} / {:.0%} %", *pilot["power promised"][worlds])
    page.says("simulated {:.0%} / {:.0%} / {:.0%} %", *pilot["power seen"][worlds])
    page.says("pilots of {} groups", 190)
    plain, safe = rates["plain", "power seen"], rates["safe", "power seen"]
    page.says("plain {:.0%} to {:.0%} %, safe {:.0%} to {:.0%} %", plain.min(), plain.max(), safe.min(), safe.max())
    page.states("(the aim is 80 %)")
