"""Compare what ``experiments/README.md`` claims about intervals of differences and about rates with the CSV files."""

from __future__ import annotations

from typing import Any

import numpy as np

from ensemble.evaluation.caveats import ENOUGH_GROUPS, FEW_HOLDERS, RARE, RARE_MISSES
from ensemble.evaluation.proportion_intervals import share_interval

USED = "logits"  # the name of the package's interval in verdict-rates.csv
WORLDS = {"blind": "when neither system finds rock", "twins": "when both do", "unlike": "when they treat it"}
INTERVALS = {
    "percentile": "percentile",
    "BCa": "bca",
    "jackknife t, g - 1 degrees": "jackknife-t",
    "percentile at Student's t, effective degrees (used before)": "expanded-df",
    "**logits of all classes, effective degrees (used)**": USED,
}


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
        page.says("misses in {:.1%} to {:.1%} % of the cases from {} groups", *span(rates, USED), ENOUGH_GROUPS)
        page.says("interval misses in up to {:.0%} %, BCa in up to {:.0%} %", *rates.max()[["percentile", "bca"]])
        page.states("not 0 to 0", "begins at 0", "two *labelled* classes")
        page.states("costs a fifth of the score with four classes", "within 0.75 % of the image diagonal")
        page.states("have an IoU of at least one half; then no object has two partners")
        page.states("on four fifths of the image groups and scored on the last fifth, five times")


def span(rates: Any, name: str) -> tuple[float, float]:
    """Return the smallest and the largest rate of a group."""
    return float(rates.min()[name]), float(rates.max()[name])


def differences(page: Any) -> Any:
    """Return the rows of differences in mIoU with enough groups, whatever groups hold rock."""
    table = page.csv("verdict-rates")
    rows = (table.score == "difference in mIoU") & (table.groups_with_rock == "any")
    return table[rows & (table.groups >= ENOUGH_GROUPS)]


def test_the_verdict(section: Any) -> None:
    with section("How often the verdict is wrong") as page:
        table, rows = page.csv("verdict-rates"), differences(page)
        check_verdict_table(page, rows)
        used = rows[rows.interval == USED]
        worst = used.loc[used.misses.idxmax()]
        cells = (worst.misses, worst.world, worst.groups, worst.images_with_rock)
        page.says('Worst setting: {:.1%} % ("{}", {} groups, rock in {:.0%} % of the images)', *cells)
        few = table[(table.score == "difference in mIoU") & (table.groups_with_rock == "any")]
        few = few[(few.interval == USED) & (few.groups < ENOUGH_GROUPS)]
        page.says("With {} and {} groups it is up to {:.1%} %", *sorted(set(few.groups)), few.misses.max())
        page.says("Below {} groups nothing is called better", ENOUGH_GROUPS)
        wide = rows[(rows.world == "twins") & (rows.images_with_rock == 0.02) & (rows.groups == 190)]
        widths = wide[wide.truth_points == 0].set_index("interval").median_width_points
        page.says("has {:.1f} points instead of {:.1f}", widths[USED], widths["expanded-df"])
        true = used[(used.truth_points == 1) & (used.groups == 190)].set_index("world").above_zero
        page.says("A true +1 point is found in {:.0%} % of the simulations", true["blind"])
        for world, words in list(WORLDS.items())[1:]:
            page.says(f"{{:.0%}} % {words}", true[world])
        check_rock(page, table)
        page.says("two systems on {} to {} groups", table.groups.min(), table.groups.max())
        page.says('"rock" in {:.0%}, {:.0%} or {:.0%} % of the images', *sorted(set(table.images_with_rock)))
        page.says("with {} or more groups, of {:,} simulations per setting", ENOUGH_GROUPS, *set(table.simulations))
        page.says("(standard error at most {:.1%})", used.standard_error.max())
        page.states("(3.6 images each, unequal)", "(5 is right)", "two systems", "the last two pairs one system")
        page.states("with 190 groups (690 images)", "on 690 images", "One point", "A true +1 point", "g - 1 degrees")
        page.states(
            "for twins with 190 groups and rock in 2 %", "With 60 such groups, 2 or 3 of which", "| one blind |"
        )
        page.states("| one sharp |")


def check_verdict_table(page: Any, rows: Any) -> None:
    worlds = ["twins", "blind", "unlike", "one blind", "one sharp"]
    assert set(rows.world) == set(worlds)
    misses = rows.groupby(["interval", "world"]).misses.max()
    page.states("| interval | twins | blind | unlike | one blind | one sharp |")
    for label, name in INTERVALS.items():
        page.says(f"| {label} |" + " {:.1%} |" * 5, *(misses[(name, world)] for world in worlds))


def check_rock(page: Any, table: Any) -> None:
    rock = table[
        (table.score == "difference in rock IoU") & (table.interval == USED) & (table.groups_with_rock != "any")
    ]
    held = rock.groups_with_rock.str.split(" to ").str[0].astype(float)
    few, enough = (rock.misses[flag] for flag in (held < FEW_HOLDERS, held >= FEW_HOLDERS))
    page.says("with fewer than {} groups that hold rock", FEW_HOLDERS)
    page.says("the misses are {:.0%} to {:.0%} %", few.min(), few.max())
    page.says("with {} or more {:.0%} to {:.0%} %", FEW_HOLDERS, enough.min(), enough.max())
    page.says("Below {} groups such a difference has the mark", FEW_HOLDERS)
    page.states(f"has the mark `{RARE}`, and a note is printed")
    assert f"{few.max():.0%}" == f"{RARE_MISSES:.0%}"


ADVICE = {
    "nothing differs": "nothing differs",
    "average and method are equal, and better than the members": "ensembles are better",
    "the method is better than the average and the members, which are equal": "only the method is better",
    "the method is better than the average, and that than the members": "each is better",
}


def test_the_advice(section: Any) -> None:
    with section("How often the advice is wrong") as page:
        table = page.csv("advice-rates")
        cells = table.set_index(["world", "groups"]).sort_index()
        assert table.false_claims.max() <= 0.05
        assert set(table.groups) == {15, 40, 146}
        page.says("| what is true | {} groups | {} | {} |", 15, 40, 146)
        for label, world in ADVICE.items():
            rows = cells.loc[world].sort_index()
            values = rows[["false_claims", "use_method"]].to_numpy().ravel()
            page.says(f"| {label} |" + " {:.1%} ({:.0%}) |" * 3, *values)
        page.says("{:,} simulations each", *set(table.simulations))
        page.says("standard error at most {:.1%})", table.standard_error.max())
        page.says("The largest rate is {:.1%} %", table.false_claims.max())
        page.says("in a {} of the groups", "tenth")
        assert set(table.rock_in_share_of_groups) == {0.1}
        page.says("must hold against {:word} members", 2)
        page.says("The {:word} intervals of a verdict", 3)
        page.states("(at most 5 is meant", "Five members", "of them is better")


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
    largest = holm[(holm.world == "equal") & (holm.method == "holm")].value.idxmax()
    page.says("The largest rate is that of {} groups", holm.groups[largest])
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
    page.says("simulated {:.0%} / {:.0%} / {:.0%} % (twins / blind / unlike)", *pilot["power seen"][worlds])
    rarest = power[power.world == "blind"].images_with_rock
    page.says("(blind, rock in {:.0%} % of the images)", *set(rarest))
    assert set(power[power.images_with_rock < 0.1].world) == {"blind"}
    page.says("pilots of {} groups", 190)
    plain, safe = rates["plain", "power seen"], rates["safe", "power seen"]
    page.says("plain {:.0%} to {:.0%} %, safe {:.0%} to {:.0%} %", plain.min(), plain.max(), safe.min(), safe.max())
    page.states("(the aim is 80 %)")


def test_looks(section: Any) -> None:
    with section("How often a win is claimed after many looks") as page:
        table = page.csv("looks")
        rates = table.pivot(index=["correction", "groups"], columns="world", values="claimed")
        page.says("and {} variants", table.variants.unique().item())
        page.says("by {:.0f} points of mIoU", 100 * table.gain.unique().item())
        page.says("{:,} worlds each, standard error at most {:.1f}", table.worlds.unique().item(), worst(table))
        rows = {
            "none": "`ens combine` after another",
            "bonferroni": "the average (used before)",
            "max-t": "best member (used)**",
        }
        rows["max-t, average alone"] = "max-t over these differences"
        for name, words in rows.items():
            each = [100 * rates.loc[(name, groups), world] for groups in (40, 190) for world in ("equal", "gain")]
            page.says(words + " | {:.1f} ({:.0f}) | {:.1f} ({:.0f}) |", *each)
        page.says("in up to {:.0%} % of the worlds", rates.loc["none"].equal.max())
        shares = rates.loc["max-t"].gain / rates.loc["none"].gain
        page.says("With {} groups the corrected intervals find the gain {:.0%} %", 190, shares[190])
        page.says("with {} groups {:.0%} % as often", 40, shares[40])
        page.says("| intervals | {} groups | {} |", *sorted(table.groups.unique()))
        page.says("over the {} differences", table.variants.unique().item())
        page.states("rock in a tenth of the groups", "then one variant", "Looking one by one")
        assert rates.loc["max-t"].equal.max() <= 0.05
        assert shares[190] >= 0.7


def worst(table: Any) -> float:
    """Return the largest standard error in percent."""
    return float(100 * table.standard_error.max())
