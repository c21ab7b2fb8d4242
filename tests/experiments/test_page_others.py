"""Compare the measured numbers of the other READMEs with the same CSV files."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("room", ["architectures", "losses"])
def test_the_conditions_of_the_catalogue(section: Any, room: str) -> None:
    with section("Measured", f"{room}/README.md") as page:
        page.states(page.text.split("<!-- catalogue -->")[1])  # the test of the room compares its rows
        table = page.csv("catalogue")
        page.says("the same {} steps of AdamW and batch {} on `mars.npz`", *set(table.steps), *set(table.batch_size))
        page.says("one grouped hold-out of {} images, one seed, flips", *set(table.validation_images))
        assert set(table.seed) == {0}
        assert set(table.augmentation) == {"flips"}
        if room == "architectures":
            page.says("training on {:word} CPU cores", *set(table.threads))


def test_combining(section: Any) -> None:
    with section("Speed", "ensemble/combining/README.md") as page:
        table = page.csv("combining").query("task == 'class maps' and tool == 'ens-toolkit stores'").set_index("images")
        small, large = table.loc[1500], table.loc[10000]
        sizes = (small.members, small.name, small.classes, small.seconds)
        page.says("{} members x {:,} images of 64x128 pixels and {} classes become class maps in {:.1f} s", *sizes)
        page.says("{:.1f} times faster than nnU-Net's", small.times_faster_by_seconds)
        assert round(small.times_less_disk) == 10
        page.says(
            "with {:.0f} MB of memory ({:.0f} MB for {:,} images)",
            small.peak_megabytes,
            large.peak_megabytes,
            large.name,
        )
        learned = page.csv("learned").query("set == 'members' and method == 'learned'").iloc[0]
        page.says("pixels take {:.0f} ms", 1000 * learned.seconds)
        assert learned.pixels == 1_000_000
        assert learned.gap < learned.tolerance == 1e-6
        greedy = page.csv("greedy").query("tool == 'ens-toolkit greedy, no bags'")
        assert greedy.times_faster_by_seconds.median() > 10
        ways = page.csv("combination").query("method != 'best member'")
        page.says("combined in {} ways", len(ways))
        page.says("{:Word} members of `mars.npz`", len(page.csv("explain/calibration")) - 2)
        page.states(
            "64x128 pixels",
            "on one core",
            "a tenth of the disk",
            "a million pixels",
            "within 1e-6",
            "a tenth of its time",
        )


def test_runs(section: Any) -> None:
    page = section("", "ensemble/runs/README.md")
    table = page.csv("decoding").set_index("member").bytes_per_value
    each = table.drop("all")
    page.says("{:.2f} to {:.2f} bytes per value, {:.2f} on average, instead of 4", each.min(), each.max(), table["all"])


def test_training(section: Any) -> None:
    kills = section("The same command again", "ensemble/training/README.md")
    table = kills.csv("kill-test")
    counts = ((table.ended_by == "SIGKILL").sum(), (table.ended_by == "exit code 2").sum())
    kills.says("{} kills and {} full disks", *counts)
    speed = section("Speed", "ensemble/training/README.md")
    both = [speed.csv(name).query("contestant == 'ours'").to_lightning for name in ("training", "training-epyc")]
    least, most = min(times.min() for times in both), max(times.max() for times in both)
    speed.says("{:.1f} to {:.1f} times as fast as Lightning", least, most)


def test_study(section: Any) -> None:
    page = section("On this machine", "ensemble/study/README.md")
    times = page.csv("jobs").query("jobs == 2").times_faster
    page.says("{:.1f} times as fast", times.mean())
    assert times.max() - times.min() < 0.1


def test_comparing(section: Any) -> None:
    page = section("Comparing", "ensemble/results/README.md")
    holm = page.csv("comparison-rates").query("study == 'holm' and world == 'equal'").groupby("method").value
    page.says("a false one in {:.0%} to {:.0%} %", holm.min()["holm"], holm.max()["holm"])
    page.says("give one in {:.0%} to {:.0%} %", holm.min()["uncorrected"], holm.max()["uncorrected"])


def test_data(section: Any) -> None:
    page = section("Cleaning", "ensemble/data/README.md")
    page.says("find the {} drawn outliers", (page.csv("suspects").reason == "repeated-mask").sum())


def test_the_readme(section: Any) -> None:
    page = section("", "README.md")
    best = page.csv("best-60min-imagenet")
    page.says(
        "{:Word} members on {:,} tiles of Mars", (best.d_miou.notna() & best.minutes.lt(60)).sum(), best.images[0]
    )
    points = page.csv("quickstart-verdict").set_index("difference").points
    page.says("a win of {:.1f} points for the ensemble", points["method - member"])
