"""Numbers of the page about promises on new images."""

from __future__ import annotations

from typing import Any

WORLDS = {
    "alike": (0.0, 1.0),
    "somewhat unlike": (0.15, 1.0),
    "unlike": (0.3, 1.0),
    "somewhat unlike, over-confident": (0.15, 0.8),
}
GROUPS = [10, 20, 40, 100]


def test_promises(section: Any) -> None:
    with section("Do promises about new images hold?") as page:
        table = page.csv("promises")
        assert set(zip(table.unlikeness, table.temperature, strict=True)) == set(WORLDS.values())
        page.says("in {} groups of images", *set(table.population_groups))
        page.says("In each of {:,} splits", *set(table.splits))
        page.states(
            "four classes", "--max-error 0.05 --coverage 0.9", "above 7 %", "100 groups", "two fifths", "90 is promised"
        )
        page.states("the two largest", "of the four kinds", "fewer than 10")
        kept = (
            table[table.kind == "abstain"].set_index(["rule", "of", "unlikeness", "temperature", "groups"]).sort_index()
        )
        errors(page, kept)
        covered = table[table.kind == "sets"].set_index(["rule", "of", "groups"]).sort_index()
        sets(page, covered)
        assert (table[table.groups == 9].refused == 1).all()
        page.says("From {} groups nothing", 9)


def errors(page: Any, table: Any) -> None:
    own = table.loc["worst seen", "probability"]
    for label, world in WORLDS.items():
        rows = own.loc[world].loc[GROUPS]
        cells = [100 * value for _, row in rows.iterrows() for value in (row["mean"], row.lowest, row.highest)]
        form = f"| {label} | {{:.0f}} |" + " {:.1f} ({:.1f} to {:.1f}) |" * 4 + " {:.0f} |"
        page.says(form, 100 * rows.all_wrong.iloc[0], *cells, 100 * rows.kept[100])
    page.says("| groups are | all wrong | {} groups seen | {} | {} | {} | kept |", *GROUPS)
    promised = own[own.index.get_level_values("groups") >= 10]
    assert promised["mean"].between(0.04, 0.06).all()
    page.says("The error is {:.1f} to {:.1f} % on average", 100 * promised["mean"].min(), 100 * promised["mean"].max())
    later = promised[promised.index.get_level_values("groups") >= 20]
    page.says("From {} groups on it was above", 20)
    page.says("in at most {:.1%} % of the splits of one kind", later.above_7.max())
    page.says("(largest: {:.1f} %)", 100 * later.highest.max())
    page.says("gives up to {:.1f} %", 100 * table.loc["nothing"]["mean"].max())
    assert (table.loc["worst possible"].refused == 1).all()
    margin = table.loc["worst seen", "margin"]
    page.says("at most {:.1f} points apart", 100 * (margin.kept - own.kept).abs().max())


def sets(page: Any, table: Any) -> None:
    own = table.loc["worst seen"]
    page.says("| class | {} groups seen | {} | {} | {} |", *GROUPS)
    for name in ("soil", "bedrock", "sand", "rock"):
        means = [100 * own.loc[name].loc[groups, "mean"] for groups in GROUPS if (name, groups) != ("rock", 10)]
        assert all(mean.between(88.5, 91.5).all() for mean in means)
        form = f"| {name} |" + " refused |" * (name == "rock") + " {:.1f} to {:.1f} |" * len(means)
        page.says(form, *(value for mean in means for value in (mean.min(), mean.max())))
    assert (own.loc["rock"].loc[10, "refused"] == 1).all()
    (late,), (later,) = (set(own.loc["rock"].loc[groups, "refused"]) for groups in (20, 40))
    page.says("From {} groups these are {:.0%} % of the splits", 20, late)
    page.says("from {} {:.1%} %", 40, later)
    possible = 100 * table.loc["worst possible", "soil"].loc[10, "mean"]
    page.says("gives {:.1f} to {:.1f} % of soil from {} groups", possible.min(), possible.max(), 10)
    nothing = 100 * table.loc["nothing"]["mean"].dropna()
    page.says("gives {:.1f} to {:.1f} % of any class", nothing.min(), nothing.max())
