"""Effects and their variances against statsmodels, hand-worked numbers and planted truths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from ensemble.comparison.factor_levels import Grid
from ensemble.comparison.linear_model import Design


def grid(runs: str) -> Grid:
    """``a0 b0 b1`` are runs of level a or b in block 0 or 1; ``-`` is one without a level."""
    names = runs.split()
    levels = tuple(sorted({name[0] for name in names if name != "-"}))
    level_r = tuple(None if name == "-" else name[0] for name in names)
    return Grid("", levels, level_r, tuple(0 if name == "-" else int(name[1]) for name in names), ())


RUNS = "a0 a0 b0 c0 a1 b1 b1 - c2 a2"


def table(runs: int, groups: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """Scores that are means over groups: values (groups, runs), their means, and the means without each group."""
    random = np.random.default_rng(seed)
    values_gr = random.normal(0.5, 0.1, (groups, runs)) + random.normal(0, 0.2, (groups, 1))
    return values_gr, values_gr.mean(0)[:, None], ((values_gr.sum(0) - values_gr) / (groups - 1))[..., None]


def test_effects_and_variances_equal_those_of_statsmodels() -> None:
    values_gr, whole_rc, left_out_grc = table(10, 25)
    design = Design.of(grid(RUNS))
    found = design.estimate(whole_rc, left_out_grc)
    x_rp = design.columns_rp
    assert x_rp.shape == (9, 5)
    assert design.spare == 4
    by_runs = OLS(whole_rc[design.kept_r, 0], x_rp).fit()
    assert found.effect_lc[:, 0] == pytest.approx(by_runs.params[:2])
    assert found.by_runs_lc[:, 0] == pytest.approx(np.diag(by_runs.cov_params())[:2])
    kept_gr = values_gr[:, design.kept_r]
    by_groups = OLS(kept_gr.ravel(), np.tile(x_rp, (25, 1))).fit(
        cov_type="cluster",
        cov_kwds={"groups": np.repeat(np.arange(25), 9), "use_correction": False},
    )
    assert found.effect_lc[:, 0] == pytest.approx(by_groups.params[:2])
    # Clusters less one instead of clusters is the whole difference.
    assert found.by_groups_lc[:, 0] * 24 / 25 == pytest.approx(np.diag(by_groups.cov_params())[:2])


def test_the_variance_that_both_hold_equals_that_of_statsmodels() -> None:
    values_gr, whole_rc, left_out_grc = table(6, 12)
    design = Design.of(grid("a0 a0 a0 b0 b0 b0"))
    found = design.estimate(whole_rc, left_out_grc)
    # Without what groups do to levels and blocks, and runs to all groups, noise of single cells is left.
    cells = [(g, r) for g in range(12) for r in range(6)]
    dummies = np.array(
        [
            [r == other for other in range(6)] + [(g, r < 3) == (a, b) for a in range(1, 12) for b in (True, False)]
            for g, r in cells
        ]
    )
    fit = OLS(np.array([values_gr[cell] for cell in cells]), dummies.astype(float)).fit()
    assert fit.df_resid == 11 * 4
    assert found.by_both_lc[0, 0] == pytest.approx(fit.mse_resid / 12 * (1 / 3 + 1 / 3))


def test_the_interval_by_hand() -> None:
    # Two seeds of each level on two groups of images; each seed counts half, so |w|^2 = 4 / 4.
    values_gr = np.array([[0.0, 2.0, 3.0, 3.0], [2.0, 2.0, 3.0, 7.0]])
    whole_rc, left_out_grc = values_gr.mean(0)[:, None], values_gr[::-1][..., None]
    found = Design.of(grid("a0 a0 b0 b0")).estimate(whole_rc, left_out_grc)
    assert found.effect_lc.item() == pytest.approx(2.5)
    assert found.by_runs_lc.item() == pytest.approx(
        1.25
    )  # squares 0.5, 0.5 and 1, 1 of the means 1, 2 and 3, 5; spare 2
    assert found.by_groups_lc.item() == pytest.approx(0.25)  # effects 2 and 3 of the groups
    assert found.by_both_lc.item() == pytest.approx(1.25)  # cells stray by 0.5 and 1: 4 (0.25 + 1) / 2 / 2
    assert found.variance_lc.item() == pytest.approx(1.25)
    assert found.freedom_lc.item() == pytest.approx(1.25**2 / (0.25**2 / 1 + 1.25**2 / 2))
    assert found.t_lc.item() == pytest.approx(2.5 / 1.25**0.5)


def test_a_noiseless_unbalanced_grid_gives_back_what_was_planted() -> None:
    planted = {"a": 0.0, "b": 0.03, "c": -0.02}
    runs = [name for name in RUNS.split() if name != "-"]
    whole_rc = np.array([[0.5 + planted[name[0]] + 0.1 * int(name[1])] for name in runs])
    design = Design.of(grid(" ".join(runs)))
    found = design.estimate(whole_rc, np.repeat(whole_rc[None], 8, axis=0))
    assert found.effect_lc[:, 0] == pytest.approx([0.03, -0.02])
    assert (found.variance_lc == 0).all()
    assert found.p_lc[:, 0].tolist() == [0.0, 0.0]


def test_rounding_is_no_effect() -> None:
    whole_rc = np.full((4, 1), 0.1) * 3
    found = Design.of(grid("a0 b0 a1 b1")).estimate(whole_rc, np.full((9, 4, 1), 0.3))
    assert found.effect_lc.item() == 0.0
    assert found.p_lc.item() == 1.0
    assert found.comparison(0, 0).covers_zero


def test_without_spare_runs_the_images_alone_count() -> None:
    _, whole_rc, left_out_grc = table(3, 20)
    design = Design.of(grid("a0 b0 c0"))
    found = design.estimate(whole_rc, left_out_grc)
    assert design.spare == 0
    assert np.isnan(design.noise_c(whole_rc)).all()
    assert (found.variance_lc == found.by_groups_lc).all()
    assert found.freedom_lc == pytest.approx(found.group_freedom_lc)


def test_p_and_interval_agree_and_nan_stays() -> None:
    for seed in range(20):
        _, whole_rc, left_out_grc = table(10, 10, seed)
        whole_rc[0] += 0.04 * seed
        found = Design.of(grid(RUNS)).estimate(whole_rc, left_out_grc)
        for row in range(2):
            assert (found.p_lc[row, 0] < 0.05) == (not found.comparison(row, 0).covers_zero)
    _, whole_rc, left_out_grc = table(10, 10)
    whole_rc[3] = np.nan  # c0
    found = Design.of(grid(RUNS)).estimate(whole_rc, left_out_grc)
    assert np.isnan(found.p_lc).all()


def test_no_interval_leaves_what_a_difference_can_be() -> None:
    _, whole_rc, left_out_grc = table(10, 10)
    found = Design.of(grid(RUNS)).estimate(whole_rc, whole_rc + 50 * (left_out_grc - whole_rc))
    assert found.half_width_lc()[0, 0] > 2
    assert (found.comparison(0, 0).low, found.comparison(0, 0).high) == (-1, 1)
