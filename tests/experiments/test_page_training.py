"""Changes of training that were measured: another optimiser, and a head for the whole tile."""

from __future__ import annotations

from typing import Any

from ensemble.config import RATES

OTHERS = ("losses", "architectures")


def test_muon_against_adamw(section: Any) -> None:
    with section("Does Muon train better than AdamW?") as page:
        table = page.csv("muon")
        for row in table.itertuples():
            page.says(f"| {row.seed} | {row.optimiser} | {row.lr:g} | {{:.1%}} |", row.common)
            if row.d_common == row.d_common:
                points = [100 * value for value in (row.d_common, row.d_common_low, row.d_common_high)]
                nats = [row.d_log_loss, row.d_log_loss_low, row.d_log_loss_high]
                page.says("| {:+.1f} ({:+.1f} to {:+.1f}) | {:.3f} |", *points, row.log_loss)
                page.says("| {:.3f} | {:+.3f} ({:+.3f} to {:+.3f}) |", row.log_loss, *nats)
            else:
                page.says("|  | {:.3f} |  |", row.log_loss)
            page.states(f"| {row.seed} | {row.optimiser} | {row.lr:g} |")
        usual = table[table.lr == table.optimiser.map(RATES)].set_index(["optimiser", "seed"])
        muon = usual.loc["muon"]
        assert muon.index.tolist() == usual.loc["adamw"].index.tolist() == [0, 1, 2]
        page.says("are {} for AdamW and {} for Muon", RATES["adamw"], RATES["muon"])
        page.says("takes {:.0f} % longer", 100 * (table.step_ratio[0] - 1))
        page.says("time of {} epochs of AdamW it has {}.", *(usual.loc[name].epochs[0] for name in ("adamw", "muon")))
        page.says("hold-out of {} images, three seeds", *set(table["images"]))
        page.says("is worth {:.1%} to {:.1%} points", muon.d_common.min(), muon.d_common.max())
        assert muon.d_common_low.min() > 0
        effects = [page.csv(f"grid-{name}").query("score == 'mIoU without big rock'") for name in OTHERS]
        assert muon.d_common.min() > max(effect.difference.abs().max() for effect in effects)
        first = table[table.seed == 0].set_index(["optimiser", "lr"]).common
        assert first["muon"].min() > first["adamw"].max()
        assert first["adamw"].idxmax() == RATES["adamw"]
        page.states("three seeds", "better on three data sets")
        steps = page.csv("optimisers").pivot(index="architecture", columns="optimiser")
        for name, ms in steps.ms.iterrows():
            cells = ms.adamw, ms["torch-muon"], ms.muon, steps.times_as_fast.muon[name]
            page.says(f"| {name} |" + " {:.1f} | {:.1f} | {:.1f} | {:.2f} |", *cells)
        assert steps.times_as_fast.muon.min() > 1
        page.says("on {:word} threads", *set(steps.threads.stack()))
        page.says("medians of {} turns", *set(steps.turns.stack()))
        page.states(
            "error is smaller by a fifth at least", "five steps of Newton and Schulz", "one band and four classes"
        )


def test_a_head_for_the_whole_tile(section: Any) -> None:
    with section("Does it help to ask what a whole tile shows?") as page:
        table = page.csv("context").query("score == 'mIoU'").set_index("level")
        assert set(table.runs) == {3}
        for form, level in (("The head brings", False), ("head and branch", True)):
            row = table.loc[f"context (branch={level})"]
            ends = [100 * row[name] for name in ("difference", "low", "high")]
            page.says(f"{form} {{:+.1f}} ({{:+.1f}} to {{:+.1f}})", *ends)
            assert row.low < 0 < row.high
        assert table.baseline.tolist() == ["smp-unet"] * 2
        page.states("three seeds")


def test_snapshots_of_one_training(section: Any) -> None:
    with section("Are the snapshots of one training worth more than one long run?") as page:
        table = page.csv("snapshots")
        for system, rows in table.groupby("system"):
            assert rows.seed.tolist() == [0, 1, 2]
            form = f"| {system} |" + ",".join(3 * [" {:.1%}"]) + " |"
            page.says(form, *rows.miou)
            page.says("| {:.3f}, {:.3f}, {:.3f} | {} |", *rows.log_loss, rows.networks.iloc[0])
            if system != "long":
                page.says("{:+.1f}, {:+.1f}, {:+.1f}", *(100 * rows.to_long))
        long, snapshots = (table[table.system == name].set_index("seed") for name in ("long", "average of snapshots"))
        worse = -snapshots.to_long
        page.says("is {:.1%} to {:.1%} points worse", worse.min(), worse.max())
        assert (snapshots.log_loss > long.log_loss).all()
        page.says("{} epochs (about {} steps of {} images)", long.epochs[0], long.steps[0], long.batch_size[0])
        page.states(
            "three seeds", "four times over", "four networks of two epochs", "seeds 0, 1 and 2", "four snapshots"
        )
        page.states("costs four times")
