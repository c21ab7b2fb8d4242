"""Which runs differ in one setting alone, on grids written down by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ensemble.comparison.factor_levels import make_grid, replicates
from ensemble.config import Component, DataSettings, MemberSettings, OptimiserSettings
from ensemble.core.errors import EnsError, UnknownName


def run(arch: str = "unet", loss: str = "ce", seed: int = 0, **more: Any) -> MemberSettings:
    options: dict[str, Any] = {"arch_options": {}, "loss_options": {}, **more}
    return MemberSettings(
        architecture=Component(name=arch, options=options.pop("arch_options")),
        loss=Component(name=loss, options=options.pop("loss_options")),
        seed=seed,
        **options,
    )


def test_levels_blocks_and_baseline() -> None:
    runs = [run(), run(loss="dice"), run(loss="dice", seed=1), run("fpn"), run("fpn", "focal")]
    grid = make_grid(runs, "loss")
    assert grid.levels == ("ce", "dice", "focal")  # dice and ce have two runs each: the first by name
    assert grid.level_r == ("ce", "dice", "dice", "ce", "focal")
    assert grid.block_r == (0, 0, 0, 1, 1)
    assert grid.apart == ()
    assert make_grid(runs, "loss", "focal").levels == ("focal", "ce", "dice")
    architecture = make_grid(runs, "arch")
    assert architecture.levels == ("unet", "fpn")
    assert architecture.level_r == ("unet", "unet", "unet", "fpn", "fpn")
    assert architecture.block_r == (0, 1, 1, 0, 2)


def test_what_makes_no_other_recipe_makes_no_other_block() -> None:
    other = run(seed=3, device="cuda", threads=8, data=DataSettings(source="elsewhere.npz"))
    assert replicates([run(), other, run(epochs=7)]) == (0, 0, 1)
    budget = [run(loss=loss, budget_seconds=60.0, epochs=epochs) for loss, epochs in (("ce", 9), ("dice", 7))]
    assert make_grid(budget, "loss").block_r == (0, 0)  # epochs are what the budget led to


def test_a_level_that_comes_with_another_setting_is_named_not_averaged() -> None:
    runs = [run(), run(loss="dice"), run("fpn", "focal"), run("fpn", "focal", seed=1, sampler="rare")]
    grid = make_grid(runs, "loss")
    assert grid.level_r == ("ce", "dice", None, None)
    assert grid.apart == ("focal differs from ce also in architecture",)
    with pytest.raises(EnsError, match="no two of these runs differ only in loss: ce differs from focal also in archi"):
        make_grid([*runs[:1], *runs[2:]], "loss")
    with pytest.raises(EnsError, match="all 2 comparable runs use sampler=uniform; train at least one"):
        make_grid(runs[:2], "sampler")


def test_labels_show_the_options_that_differ() -> None:
    runs = [run(loss="focal", loss_options={"gamma": gamma, "scheme": "none"}) for gamma in (1, 2)] + [run()]
    assert make_grid(runs, "loss").level_r == ("focal (gamma=1)", "focal (gamma=2)", "ce")
    encoders = [run("fpn", arch_options={"encoder": name, "depth": 3}) for name in ("resnet18", "mit_b0")]
    assert make_grid(encoders, "encoder").levels == ("mit_b0", "resnet18")
    with pytest.raises(EnsError, match="resnet18 differs from none also in architecture"):
        make_grid([encoders[0], run("unet", arch_options={"filters": 8})], "encoder")
    pipelines = [run(augmentation={"recipe": "mine.toml", "pipelines": {"mine.toml": text}}) for text in "ab"]
    assert make_grid(pipelines, "augment").levels == ("mine.toml", "mine.toml #2")
    left_out = [run(exclude=tuple(map(str, range(count)))) for count in (0, 50)]
    assert make_grid(left_out, "exclude").levels == ("50 values", "none")


def test_seeds_background_and_any_setting_are_factors() -> None:
    assert make_grid([run(seed=seed) for seed in (0, 1)], "seed").levels == ("0", "1")
    backgrounds = [run(data=DataSettings(background=name)) for name in ("void", "zero-weight")]
    assert make_grid(backgrounds, "background").levels == ("void", "zero-weight")
    rates = [run(optimiser=OptimiserSettings(lr=lr)) for lr in (1e-3, 2e-3)]
    assert make_grid(rates, "lr").levels == ("0.001", "0.002")
    filters = [run(arch_options={"filters": count}) for count in (8, 16)]
    assert make_grid(filters, "filters", "16").levels == ("16", "8")


def test_the_learning_rate_belongs_to_the_optimiser() -> None:
    usual = [run(optimiser=OptimiserSettings()), run(optimiser=OptimiserSettings(name="muon", lr=0.015))]
    assert make_grid(usual, "optimiser").levels == ("adamw", "muon")
    slow = run(optimiser=OptimiserSettings(name="muon", lr=0.01))
    assert make_grid([*usual, slow], "optimiser").levels == ("adamw", "muon (lr=0.01)", "muon (lr=0.015)")
    rate = run(loss="dice", optimiser=OptimiserSettings(lr=1e-3))
    with pytest.raises(EnsError, match=r"dice differs from ce also in optimiser\.lr;"):
        make_grid([usual[0], rate], "loss")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown factor 'los'; did you mean 'loss'\? Known: architecture, aug"):
        make_grid([run(), run(loss="dice")], "los")
    with pytest.raises(UnknownName, match=r"unknown level 'dise' of loss; did you mean 'dice'\? Known: ce, dice"):
        make_grid([run(), run(loss="dice")], "loss", "dise")
