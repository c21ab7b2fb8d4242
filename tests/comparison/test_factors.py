"""Effects of factors, of members on disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble
from ensemble.comparison import compare_runs, factor_effect
from ensemble.comparison.runs import open_runs
from ensemble.comparison.trainings import one_of_each_training
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.evaluation.caveats import ENOUGH_GROUPS, too_few_groups


def change(path: Path, **changes: Any) -> None:
    """Change settings of a member on disk, and the digest beside it."""
    config, status = read_json(path / "config.json"), read_json(path / "status.json")
    config["settings"] |= changes
    write_json(path / "config.json", config)
    status["files"]["config.json"] = file_digest(path / "config.json")
    write_json(path / "status.json", sealed(status))


def miou(paths: list[Path]) -> Any:
    return np.array([read_json(path / "scores.json")["miou"] for path in paths])


def test_the_effect_is_the_difference_of_means(grid: list[Path]) -> None:
    found = factor_effect(grid, "architecture")
    (effect,) = found.of()
    scores = miou(grid)
    assert (effect.level, effect.baseline, effect.runs) == ("unet", "linknet", 3)
    assert effect.estimate.difference == pytest.approx(scores[:3].mean() - scores[3:].mean())
    assert found.spare == 4
    assert found.noise == pytest.approx(math.sqrt((scores[:3].var(ddof=1) + scores[3:].var(ddof=1)) / 2))
    assert effect.significant
    assert found.sentence.startswith("Compared with linknet, in points of mIoU: better: unet +")
    assert found.table()["score"].tolist() == ["mIoU", "soil", "bedrock", "sand", "big rock"]
    (other,) = factor_effect(grid, "arch", baseline="unet").of()
    assert other.estimate.difference == pytest.approx(-effect.estimate.difference)
    seeds = factor_effect(grid, "seed")
    assert [one.level for one in seeds.of()] == ["1", "2"]
    assert all(one.estimate.covers_zero for one in seeds.of())


def test_two_runs_have_the_effect_of_their_pair_and_a_warning(grid: list[Path]) -> None:
    pair = compare_runs([grid[0], grid[3]]).of()[0]
    found = factor_effect([grid[0], grid[3]], "architecture", baseline="linknet")
    (effect,) = found.of()
    assert effect.estimate.difference == pytest.approx(pair.estimate.difference)
    assert effect.estimate.low == pytest.approx(pair.estimate.low, abs=0.01)
    assert effect.estimate.high == pytest.approx(pair.estimate.high, abs=0.01)
    assert math.isnan(found.noise)
    assert "not for training again" in found.notes[-1]


def test_too_few_groups_prove_no_effect(tmp_path: Path, make_member: Any, make_world: Any) -> None:
    world = make_world(images=2 * ENOUGH_GROUPS - 2)
    members = [make_member(tmp_path, name, quality=q, world=world) for name, q in (("unet", 2.0), ("linknet", 0.5))]
    found = factor_effect([member.path for member in members], "architecture")
    assert found.sentence == too_few_groups(ENOUGH_GROUPS - 1)
    for effect in found.effects:
        assert np.isnan([effect.estimate.low, effect.estimate.high, effect.p, effect.p_holm]).all()


def test_questions_without_an_answer_are_refused(grid: list[Path], tmp_path: Path) -> None:
    with pytest.raises(
        EnsError, match="all 6 comparable runs use loss=ce; train at least one member with a different loss"
    ):
        factor_effect(grid, "loss")
    for path in grid[3:]:
        change(path, sampler="rare")
    with pytest.raises(EnsError, match="differ only in architecture: unet differs from linknet also in sampler"):
        factor_effect(grid, "architecture")
    whole = ensemble.combine(method="average", runs=tmp_path).ensemble.path
    with pytest.raises(EnsError, match=r"expected members for the effect of seed, got the ensemble average-6"):
        factor_effect([*grid, whole], "seed")
    foreign = read_json(grid[0] / "config.json")["settings"]["architecture"] | {"origin": "imported"}
    change(grid[0], architecture=foreign)
    assert "1 imported member is left out because the settings are not known." in factor_effect(grid, "seed").notes
    with pytest.raises(EnsError, match="expected at least two trained members for the effect of seed, got 1"):
        factor_effect(grid[:2], "seed")


def test_runs_of_one_training_count_once(tmp_path: Path, make_member: Any, make_world: Any) -> None:
    world, runs = make_world(images=60), list[Path]()
    for name, quality in (("unet", 1.6), ("linknet", 1.0)):
        for tta in ("hflip", "flips", "none"):
            path = make_member(tmp_path / f"{name}-{tta}", name, quality=quality, world=world).path
            change(path, tta=tta)
            runs.append(path)
    found, of_last = factor_effect(runs, "architecture"), factor_effect([runs[2], runs[5]], "architecture")
    assert found.spare == 0
    assert [one.estimate for one in found.effects] == [one.estimate for one in of_last.effects]
    assert "4 runs are left out, because another run is of the same training (with other views" in found.notes[-1]
    assert "No setting was trained twice" in found.notes[-2]
    views = factor_effect(runs, "tta")  # compared within each training
    assert [one.runs for one in views.of()] == [2, 2]
    assert views.spare == 2


def test_views_are_compared_within_each_training(tmp_path: Path, make_member: Any, make_world: Any) -> None:
    world, runs = make_world(images=60), list[Path]()
    for tta, quality in (("none", 1.6), ("hflip", 1.7)):
        for seed in range(3):
            runs.append(make_member(tmp_path / tta, quality=quality, seed=seed, world=world).path)
            change(runs[-1], tta=tta)
    found = factor_effect(runs, "tta", baseline="none")
    differences = miou(runs[3:]) - miou(runs[:3])
    (effect,) = found.of()
    assert (effect.level, effect.baseline, found.spare) == ("hflip", "none", 2)
    assert effect.estimate.difference == pytest.approx(differences.mean())
    assert found.noise == pytest.approx(differences.std(ddof=1) / math.sqrt(2))
    change(runs[5], tta="flips", seed=9)
    found = factor_effect(runs, "tta", baseline="none")
    assert [(one.level, one.runs) for one in found.of()] == [("hflip", 2)]
    assert found.grid.apart == ("flips differs from none also in seed",)
    change(runs[4], tta="flips", seed=8)
    change(runs[3], tta="flips", seed=7)
    with pytest.raises(EnsError, match="no two of these runs differ only in tta: flips differs from none also in seed"):
        factor_effect(runs, "tta", baseline="none")


def test_the_run_of_a_training_is_the_one_that_other_trainings_have(
    tmp_path: Path, make_member: Any, make_world: Any
) -> None:
    world = make_world(images=60)
    plain, viewed, other = (
        make_member(tmp_path / place, name, world=world).path
        for place, name in (("a", "unet"), ("b", "unet"), ("c", "linknet"))
    )
    change(viewed, tta="hflip")
    change(other, tta="hflip")
    runs = open_runs([plain, viewed, other])
    assert [run.path for run in one_of_each_training(runs)] == [viewed, other]
    assert [run.path for run in one_of_each_training(runs[:2])] == [plain]
    assert one_of_each_training(runs, "tta") == runs
