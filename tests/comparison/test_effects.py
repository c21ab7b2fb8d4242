"""Factor effects and sample sizes of members on disk, and small planted truths of the benchmark."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ensemble
from ensemble.comparison import compare_runs, factor_effect, power
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, write_json

Make = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]
QUALITY = {"unet": 1.6, "linknet": 1.0}


@pytest.fixture
def grid(tmp_path: Path, make_member: Make, make_world: Make) -> list[Path]:
    """Two architectures, three seeds each, 60 images in 30 groups."""
    world = make_world(images=60)
    members = [make_member(tmp_path, n, quality=q, seed=s, world=world) for n, q in QUALITY.items() for s in range(3)]
    return [member.path for member in members]


def change(path: Path, **changes: Any) -> None:
    """Change settings of a member on disk, and the digest beside it."""
    config, status = read_json(path / "config.json"), read_json(path / "status.json")
    config["settings"] |= changes
    write_json(path / "config.json", config)
    status["files"]["config.json"] = file_digest(path / "config.json")
    write_json(path / "status.json", status)


def miou(paths: list[Path]) -> Any:
    return np.array([read_json(path / "scores.json")["miou"] for path in paths])


# ---------------------------------------------------------------- factors


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


# ---------------------------------------------------------------- power


def test_numbers_needed_follow_from_the_variance_at_hand(grid: list[Path]) -> None:
    found = power([grid[0], grid[3]], 0.02, others=grid, resamples=2000)
    (pair,) = found.pairs
    scores = compare_runs([grid[0], grid[3]], resamples=2000).of()[0]
    assert pair.spread == pytest.approx(abs(scores.estimate.difference / scores.effect_size))
    assert 0.05 < pair.power < 1
    assert pair.safe_groups >= pair.groups > 2
    assert pair.images == 2 * pair.groups
    assert found.seeds is not None
    assert found.seeds.freedom == 4  # each run counts once, named or not
    assert found.seeds.noise == pytest.approx(factor_effect(grid, "architecture").noise)
    assert found.seeds.safe_seeds >= found.seeds.seeds >= 2
    assert found.sentence.startswith(f"To see 2 points of mIoU between {grid[0].name} and {grid[3].name} in four of")
    harder = power([grid[0], grid[3]], 0.005, resamples=500)
    assert harder.pairs[0].groups > 10 * pair.groups
    assert harder.seeds is None
    assert "no two runs differ in the seed only" in harder.sentence


def test_many_pairs_are_the_steadiest_the_median_and_the_most_variable(grid: list[Path]) -> None:
    found = power(grid, 0.01, resamples=300)
    assert len(found.pairs) == 3
    assert found.pairs[0].spread < found.pairs[1].spread < found.pairs[2].spread
    assert found.table().columns[0] == "a"
    assert "between two runs such as these" in found.sentence


def test_power_of_what_makes_no_sense_is_refused(grid: list[Path]) -> None:
    for wrong in (0.0, -0.01, 1.0, math.nan):
        with pytest.raises(EnsError, match="expected a difference between 0 and 100 points of mIoU"):
            power(grid, wrong)
    with pytest.raises(EnsError, match="expected at least two runs to estimate the variance, got 1"):
        power(grid[:1], 0.01)
    (grid[1] / "confusions.npz").write_bytes((grid[0] / "confusions.npz").read_bytes())
    status = read_json(grid[1] / "status.json")
    status["files"]["confusions.npz"] = file_digest(grid[1] / "confusions.npz")
    write_json(grid[1] / "status.json", status)
    with pytest.raises(EnsError, match="predict the same on all images"):
        power(grid[:2], 0.01)


# ---------------------------------------------------------------- planted truths


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark, small enough here; ``experiments/results/comparison-rates.csv`` holds its full size."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmarks")
    return importlib.import_module("comparison_rates")


def measured(rows: list[dict[str, Any]], **where: Any) -> tuple[float, float]:
    (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
    return row["value"], row["standard_error"]


def test_holm_keeps_false_differences_rare_among_ten_pairs(rates: Any) -> None:
    rows = rates.holm_rows(0.2, 60, 0.0, simulations=200, resamples=500, people=1500, seed=0)
    plain, error = measured(rows, method="uncorrected")
    assert plain > 0.12 + 2 * error  # ten pairs are ten chances
    corrected, _ = measured(rows, method="holm")
    assert corrected < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)


def test_factor_effects_are_recovered_on_an_unbalanced_grid(rates: Any) -> None:
    pool = rates.trainings(0.2, 0.15, people=400, copies=6, seed=0)
    rows = rates.factor_rows("unbalanced", 0.15, 100, pool, simulations=200, seed=0)
    for truth in (0.0, -2.0):
        bias, error = measured(rows, truth_points=truth, measure="bias in points")
        assert abs(bias) < 4 * error
        misses, _ = measured(rows, truth_points=truth, method="two-way", measure="misses")
        assert misses < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 200)
        narrow, error = measured(rows, truth_points=truth, method="groups only", measure="misses")
        assert narrow > misses + error  # images alone do not show the noise of training


def test_the_power_promised_is_seen(rates: Any) -> None:
    rows = rates.power_rows("twins", 0.2, 0.05, simulations=150, resamples=400, people=1500, seed=0)
    promised, _ = measured(rows, method="pilot", measure="power promised")
    seen, error = measured(rows, method="pilot", measure="power seen")
    assert abs(promised - seen) < 0.08 + 3 * error
    enough, error = measured(rows, method="safe", measure="power seen")
    assert enough > 0.8 - 4 * error
