"""Compare the section about the defaults of training with its CSV file, and with the defaults themselves."""

from __future__ import annotations

from typing import Any

from ensemble.config import TrainSettings
from ensemble.training.length import DEFAULT_STEPS

DATA = ("mars", "nuclei", "streets")


def test_defaults_of_training(section: Any) -> None:
    with section("The defaults of training") as page:
        table, settings = page.csv("defaults"), TrainSettings()
        page.says(
            f"trains `{settings.arch}` with `{settings.loss}`, `{settings.augment}` and {{}} steps of {{}} images",
            DEFAULT_STEPS,
            settings.batch_size,
        )
        first = table.query("question == 'arch' and answer == 'unet'").set_index("data").loc["streets"]
        page.says("about {} steps of {} images", first.steps, first.batch_size)
        for (question, answer), rows in table.groupby(["question", "answer"]):
            found = rows.set_index("data").miou
            cells = "".join(" {:.1%} |" if name in found else " - |" for name in DATA)
            values = [found[name] for name in DATA if name in found]
            if question == "steps":
                page.says("| {} steps |" + cells, rows.steps.iloc[0], *values)
            else:
                page.says(f"| `{answer}` |{cells}", *values)
        miou = table.set_index(["question", "answer", "data"]).miou
        streets, nuclei = miou.xs("streets", level="data"), miou.xs("nuclei", level="data")
        page.says(
            "{:.1%} points less with `ce`, {:.1%} with `0.5*dice + 0.5*ce`. The latter is better on nuclei, by {:.1%}",
            *(streets["loss", "weighted-ce"] - streets["loss", other] for other in ("ce", "0.5*dice + 0.5*ce")),
            nuclei["loss", "0.5*dice + 0.5*ce"] - nuclei["loss", "weighted-ce"],
        )
        cost = streets["augment", "hflip"] - streets["augment", "flips"]
        page.says("Streets that are turned upside down (`flips`) cost {:.1%} points", cost)
        gains = [miou["optimiser", "muon", name] - miou["optimiser", "adamw", name] for name in DATA]
        page.says("is {:.1%} points better on mars, {:.1%} on nuclei and {:.1%} on streets", *gains)
        page.says("{} steps are too few", table.query("question == 'steps'").steps.min())
        ranks = table.query("question == 'loss'").pivot(index="answer", columns="data", values="rank")
        assert ranks.loc["weighted-ce"].max() < ranks.max().max()  # never the worst
        page.states(
            "three data sets", "one band", "one pixel wide", "120 images of 24 drives, eleven classes", "one seed"
        )
        page.states("one thread", "four times as many images")
