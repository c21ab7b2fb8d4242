"""Numbers of the page about soups, and what is said about them."""

from __future__ import annotations

from typing import Any

NAMES = {
    "relative 1": "best relative",
    "average": "average of the probabilities of the relatives",
    "soup": "soup of the relatives",
    "greedy soup": "greedy soup, chosen on these images",
    "soup of strangers": "soup of two strangers",
    "average of strangers": "average of the strangers",
}


def test_soups(section: Any) -> None:
    with section("Is a soup worth a command?") as page:
        table = page.csv("soup").set_index("system")
        long = table.loc["long"]
        page.says("| one longer member | {:.1f} |  | {:.3f} |", 100 * long.miou, long.log_loss)
        for name, words in NAMES.items():
            row = table.loc[name]
            points = [100 * row[column] for column in ("miou", "miou_to_long", "miou_low", "miou_high")]
            losses = [row[column] for column in ("log_loss", "log_loss_to_long", "log_loss_low", "log_loss_high")]
            scores = "{:.1f} | {:+.1f} ({:+.1f} to {:+.1f}) | {:.3f} | {:+.3f} ({:+.3f} to {:+.3f})"
            page.says(f"| {words} | {scores} |", *points, *losses)
        page.says("for {} epochs and continued", *set(table.start_epochs))
        page.says("times for {} epoch, each", *set(table.more_epochs))
        page.says("trained for all {} epochs at once", long.epochs)
        page.says("hold-out of {} images", *set(table.validation_images))
        page.says("by {:.3f} at least", -table.barrier["soup"])
        page.says("it is {:.3f} higher", table.barrier["soup of strangers"])
        page.states("continued three times", "these three relatives", "between any two", "soup of two strangers")
        relatives = table[table.index.str.startswith("relative")]
        assert relatives.miou.idxmax() == relatives.log_loss.idxmin() == "relative 1"
        assert table.miou_high["soup"] < 0
        soups = table.loc[["soup", "greedy soup"]]
        assert (soups.log_loss_low > 0).all()
        assert (table.log_loss["average of strangers"] < soups.log_loss).all()
