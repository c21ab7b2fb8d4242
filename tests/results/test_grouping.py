"""Means over seeds, pivots and the Pareto front, against values worked out by hand or by brute force."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ensemble.core.errors import EnsError, UnknownName
from ensemble.results import by, incomplete, pareto, pivot, sets_of, varying

Make = Callable[..., pd.DataFrame]


def run(arch: str, loss: str | None, seed: int | None, miou: float, **more: Any) -> dict[str, Any]:
    return {"architecture": arch, "loss": loss, "seed": seed, "miou": miou, "seconds": 60.0, **more}


@pytest.fixture
def table(make_table: Make) -> pd.DataFrame:
    return make_table(
        run("unet", "ce", 0, 0.50, iou_soil=0.8),
        run("unet", "ce", 1, 0.54, iou_soil=0.9),
        run("unet", "ce", 2, 0.58, iou_soil=0.7, seconds=120.0),
        run("unet", "dice", 0, 0.60),
        run("linknet", "ce", 0, 0.40),
        run("average of 5", None, None, 0.70, kind="ensemble"),
    )


# ---------------------------------------------------------------- by


def test_means_and_deviations_over_seeds(table: pd.DataFrame) -> None:
    groups = by(table, ["arch", "loss"])
    assert list(groups.columns[:4]) == ["architecture", "loss", "set", "n"]
    assert groups[["architecture", "loss"]].to_numpy().tolist() == [["unet", "dice"], ["unet", "ce"], ["linknet", "ce"]]
    assert groups["n"].tolist() == [1, 3, 1]
    row = groups.iloc[1]
    assert row["miou"] == pytest.approx(0.54)
    assert row["miou_sd"] == pytest.approx(statistics.stdev([0.50, 0.54, 0.58]))
    assert row["iou_soil"] == pytest.approx(0.8)
    assert row["iou_soil_sd"] == pytest.approx(statistics.stdev([0.7, 0.8, 0.9]))
    assert row["seconds"] == pytest.approx(80.0)
    assert groups["miou_sd"].isna().tolist() == [True, False, True]


def test_a_mean_needs_the_score_of_every_run(make_table: Make) -> None:
    groups: Any = by(make_table(run("unet", "ce", 0, 0.5, dice=0.6), run("unet", "ce", 1, 0.5)), ["loss"])
    assert groups[["dice", "dice_sd"]].isna().all(axis=None)
    assert groups["miou_sd"].tolist() == [0.0]


def test_ensembles_are_left_out_where_they_have_no_such_factor(table: pd.DataFrame) -> None:
    assert incomplete(table, ["loss"]).tolist() == [False] * 5 + [True]
    assert by(table, ["arch"])["architecture"].tolist() == ["average of 5", "unet", "linknet"]
    assert by(table, ["kind"])["n"].tolist() == [1, 5]


def test_members_without_an_encoder_are_a_group_of_their_own(make_table: Make) -> None:
    table = make_table(run("unet", "ce", 0, 0.5), run("fpn", "ce", 0, 0.6, encoder="resnet18"))
    groups = by(table, ["encoder"])
    assert groups["n"].tolist() == [1, 1]
    assert groups["encoder"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "other", [{"split_hash": "6" * 32}, {"data_hash": "e" * 32}, {"background": "class"}], ids=lambda x: next(iter(x))
)
def test_runs_of_other_images_or_classes_are_never_averaged(make_table: Make, other: dict[str, Any]) -> None:
    table = make_table(run("unet", "ce", 0, 0.5), run("unet", "ce", 1, 0.7, **other))
    groups = by(table, ["loss"])
    assert groups["n"].tolist() == [1, 1]
    assert len(set(groups["set"])) == 2
    means: Any = pivot(table, "arch", "loss").means
    assert means.index.names == ["architecture", "set"]
    assert sorted(means["ce"]) == pytest.approx([0.5, 0.7])


def test_a_renamed_file_and_a_zero_weight_background_are_the_same_set(make_table: Make) -> None:
    table = make_table(run("unet", "ce", 0, 0.5), run("unet", "ce", 1, 0.7, data="copy.npz", background="zero-weight"))
    assert sets_of(table).unique().tolist() == ["mars.npz dddd/5555"]


def test_sets_whose_short_names_are_alike_get_long_ones(make_table: Make) -> None:
    other = "d" * 31 + "0"
    table = make_table(run("unet", "ce", 0, 0.5), run("unet", "ce", 1, 0.7, data_hash=other))
    assert sets_of(table).nunique() == 2
    assert other in sets_of(table)[1]


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        (["miou"], "cannot group by miou; expected some of architecture, encoder, loss"),
        (["arch", "architecture"], "expected different columns to group by, got 'arch, architecture'"),
        ([], "expected different columns to group by, got ''"),
    ],
)
def test_what_cannot_be_grouped_by(table: pd.DataFrame, factors: list[str], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        by(table, factors)
    with pytest.raises(UnknownName, match="unknown column 'lss'; did you mean 'loss'"):
        by(table, ["lss"])


def test_no_runs_are_no_groups(table: pd.DataFrame) -> None:
    assert len(by(table.head(0), ["arch", "loss"])) == 0
    assert pivot(table.head(0), "arch", "loss").means.empty


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"seed": 1}, []),
        ({"seed": 1, "augmentation": "flips"}, ["augmentation"]),
        ({"seed": 1, "augmentation": "flips", "epochs": 3}, ["augmentation", "epochs"]),
        ({"seed": 0}, ["options"]),
        ({"seed": 1, "loss": "dice", "epochs": 3}, []),
        ({"seed": 1, "epochs": 3, "split_hash": "6" * 32}, []),
    ],
)
def test_what_else_differs_in_a_group_is_told(make_table: Make, changes: dict[str, Any], differ: list[str]) -> None:
    assert varying(make_table(run("unet", "ce", 0, 0.5), run("unet", "ce", 0, 0.6) | changes), ["loss"]) == differ


# ---------------------------------------------------------------- pivot


def test_a_pivot_has_means_and_counts(table: pd.DataFrame) -> None:
    found = pivot(table, "arch", "loss")
    assert found.means.loc["unet"].tolist() == pytest.approx([0.54, 0.60])
    assert found.means.loc["linknet"].isna().tolist() == [False, True]
    assert found.counts.to_numpy().tolist() == [[1, 0], [3, 1]]
    assert found.best.to_numpy().tolist() == [[False, False], [False, True]]
    cheap = pivot(table, "loss", "arch", "seconds")
    assert cheap.means.loc["ce"].tolist() == pytest.approx([60, 80])


def test_a_pivot_wants_a_score_and_two_factors(table: pd.DataFrame) -> None:
    with pytest.raises(EnsError, match="expected a score or a cost to show, got name; such as miou"):
        pivot(table, "arch", "loss", "name")
    with pytest.raises(EnsError, match="expected different columns to group by, got 'loss, loss'"):
        pivot(table, "loss", "loss")


# ---------------------------------------------------------------- pareto


def test_runs_that_nothing_cheaper_beats(make_table: Make) -> None:
    rows = [(10, 0.5), (20, 0.4), (20, 0.6), (20, 0.6), (30, 0.6), (40, 0.7), (None, 0.9), (5, None)]
    table = make_table(*({"seconds": cost, "miou": score} for cost, score in rows))
    assert pareto(table).tolist() == [True, False, True, True, False, True, False, False]


def test_low_losses_are_good_and_sets_do_not_compete(make_table: Make) -> None:
    table = make_table(
        {"parameters": 10, "log_loss": 0.5},
        {"parameters": 20, "log_loss": 0.6},
        {"parameters": 20, "log_loss": 0.6, "split_hash": "6" * 32},
    )
    assert pareto(table, "parameters", "log_loss").tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("cost", "score", "text"),
    [
        ("miou", "dice", "expected a cost, got miou; choose among seconds, parameters, gflops, latency_ms"),
        ("seconds", "name", "expected a score to weigh against seconds, got name"),
        ("seconds", "seconds", "expected a score to weigh against seconds, got seconds"),
        ("gflops", "miou", "no run has its gflops recorded; choose another cost"),
    ],
)
def test_what_cannot_be_weighed(table: pd.DataFrame, cost: str, score: str, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        pareto(table, cost, score)


def test_groups_can_be_weighed_too(table: pd.DataFrame) -> None:
    groups = by(table, ["arch", "loss"])
    assert pareto(groups).tolist() == [True, False, False]
    assert pareto(table.head(0)).tolist() == []


_POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from("ab")), max_size=12)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_POINTS)
def test_the_front_is_that_of_its_definition(make_table: Make, points: list[tuple[int, int, str]]) -> None:
    if not points:
        return
    table = make_table(*({"seconds": float(c), "miou": s / 10, "split_hash": x} for c, s, x in points))
    beaten = [
        any(x == other[2] and other[0] <= c and other[1] >= s and other[:2] != (c, s) for other in points)
        for c, s, x in points
    ]
    assert pareto(table).tolist() == [not each for each in beaten]
