"""The report's figures say what their numbers say; images are ranked, drawn and described as documented."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from PIL import Image

from ensemble import results
from ensemble.combining.pool import Pool
from ensemble.comparison import compare_runs
from ensemble.config import Component, DataSettings, MemberSettings
from ensemble.core.palette import class_colours
from ensemble.core.registry import IMPORTED
from ensemble.evaluation import reliability
from ensemble.report import figures
from ensemble.report.drawing import heat_map, new_figure
from ensemble.report.ladder import changes, ladder, longest_ladder
from ensemble.report.pick_images import rank_images
from ensemble.report.pictures import SIDE, class_map, error_map, heat_map_picture, photograph
from ensemble.report.report_data import collect
from ensemble.report.svg import Chart
from ensemble.report.tiles import accuracy, shares, tiles_of
from ensemble.runs.member import Member


def points(axis: Any) -> list[list[float]]:
    """Centres of the points on an axis, sorted by place."""
    found = np.concatenate([each.get_offsets() for each in axis.collections if isinstance(each, PathCollection)])
    return found[np.argsort(found[:, 1])].tolist()


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def rows_of(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_yticklabels()]


# ---------------------------------------------------------------- figures of the table


STEPS = pd.DataFrame(
    {
        "name": ["unet", "weighted", "average"],
        "kind": ["member", "member", "ensemble"],
        "change": ["", "loss ce \u2192 weighted-ce", "against weighted"],
        "miou": [0.4, 0.48, 0.5],
        "miou_low": [0.35, 0.4, math.nan],
        "miou_high": [0.45, 0.55, math.nan],
        "gain": [math.nan, 0.08, -0.01],
        "gain_low": [math.nan, 0.02, -0.04],
        "gain_high": [math.nan, 0.14, 0.03],
    }
)


def test_ladder_shows_scores_gains_and_what_changed() -> None:
    left, right = figures.ladder_figure(STEPS, "Why?").axes
    assert points(left) == [[pytest.approx(value), place] for place, value in enumerate([40, 48, 50])]
    assert points(right)[1:] == [[pytest.approx(8), 1], [pytest.approx(-1), 2]]
    assert rows_of(left) == ["unet", "weighted\nloss ce \u2192 weighted-ce", "average\nagainst weighted"]
    lines = [path for each in left.collections if isinstance(each, LineCollection) for path in each.get_paths()]
    ends = [np.asarray(path.vertices)[:, 0].tolist() for path in lines]
    assert ends[:2] == [pytest.approx([35, 45]), pytest.approx([40, 55])]
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the first step is on top


def test_ladder_without_gains_has_one_panel_and_needs_no_intervals() -> None:
    (axis,) = figures.ladder_figure(STEPS.loc[:, ["name", "miou"]]).axes
    assert [x for x, _ in points(axis)] == pytest.approx([40, 48, 50])


def test_grid_shows_means_and_leaves_blank_what_was_not_trained() -> None:
    table = pd.DataFrame({"ce": [0.5, 0.25], "dice": [math.nan, 0.75]}, index=["unet", "pan"])
    (axis,) = figures.grid_figure(table).axes
    assert texts(axis) == ["50.0", "25.0", "75.0"]
    assert rows_of(axis) == ["unet", "pan"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["ce", "dice"]


def test_classes_have_a_panel_each_with_the_runs_in_order() -> None:
    frame = pd.DataFrame(
        {"name": ["a", "b"], "iou_sky": [0.9, 0.8], "iou_sky_low": [0.7, 0.6], "iou_sky_high": [0.95, 0.9]}
        | {"iou_sea": [0.1, math.nan], "kind": ["ensemble", "member"]}
    )
    sky, sea = figures.classes_figure(frame, {"iou_sky": "the sky", "iou_sea": "$sea"}).axes
    assert (sky.get_title(), sea.get_title()) == ("the sky", "$sea")
    assert points(sky) == [[pytest.approx(90), 0], [pytest.approx(80), 1]]
    assert points(sea)[0] == [pytest.approx(10), 0]
    assert rows_of(sky) == ["a", "b"]
    assert len(figures.classes_figure(frame).axes) == 2


def test_learning_curves_are_means_over_folds_of_what_was_measured() -> None:
    history = pd.DataFrame(
        {"fold": [0, 0, 1, 1], "epoch": [1, 2, 1, 2], "train_loss": [4.0, 2.0, 2.0, 1.0]}
        | {"val_miou": [math.nan, 0.5, math.nan, 0.3]}
    )
    left, right = figures.learning_figure({"unet": history, "pan": history.drop(columns="val_miou")}).axes
    assert np.asarray(left.lines[0].get_ydata()).tolist() == [3.0, 1.5]
    assert np.asarray(right.lines[0].get_xdata()).tolist() == [2]
    assert np.asarray(right.lines[0].get_ydata()) == pytest.approx([40.0])
    assert len(np.asarray(right.lines[1].get_ydata())) == 0


def test_confusions_are_shares_of_the_true_class() -> None:
    counts = np.array([[6, 2, 0], [1, 1, 2], [0, 0, 0]])
    figure = figures.confusion_figure({"a": counts, "b": 5 * counts, "c": counts}, ["x", "y", "z"])
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 3
    for axis in shown:  # a class that no pixel has has no shares
        assert texts(axis) == ["75.0", "25.0", "0.0", "25.0", "25.0", "50.0"]
    many = figures.confusion_figure({"a": np.eye(20)}, [str(k) for k in range(20)])
    assert set(texts(many.axes[0])) == {""}


def test_calibration_draws_accuracy_against_confidence() -> None:
    probs = np.array([0.95, 0.95, 0.55, 0.55]).reshape(4, 1, 1, 1)
    table = reliability(np.concatenate([probs, 1 - probs], 1), np.array([0, 0, 0, 1]).reshape(4, 1, 1))
    axis = figures.calibration_figure({"unet": table}).axes[0]
    assert np.asarray(axis.lines[1].get_xdata()) == pytest.approx([0.55, 0.95])
    assert np.asarray(axis.lines[1].get_ydata()) == pytest.approx([0.5, 1.0])
    assert axis.get_legend_handles_labels()[1] == ["unet: ECE 5.0 %"]


def test_numbers_on_a_heat_map_can_be_read() -> None:
    axis = new_figure(3, 3, "").subplots()
    heat_map(axis, np.array([[0.0, 1.0], [math.nan, 0.5]]), ["a", "b"], ["c", "d"], limits=(0, 1))
    assert [(text.get_text(), text.get_color()) for text in axis.texts][:2] == [("0.00", "white"), ("1.00", "black")]
    assert len(axis.texts) == 3


def test_every_figure_is_exported() -> None:
    for name in figures.__all__:
        assert callable(getattr(figures, name)), name
    assert len(figures.__all__) == 12


# ---------------------------------------------------------------- a figure on the page


def test_figures_take_the_ink_of_the_page_and_escape_names() -> None:
    names = ["<script>alert(1)</script>", "a$b^$", "\u6f22\u5b57 & co"]
    chart = Chart("confusions", "", "", 'a "b" <c>', lambda: figures.confusion_figure({"x": np.eye(3)}, names))
    html = chart.html()
    assert html == chart.html()  # nothing that changes from run to run
    assert html.startswith('<svg role="img" aria-label="a &#34;b&#34; &lt;c&gt;" viewBox="0 0 ')
    assert "<script" not in html
    for name in ("&lt;script&gt;alert(1)&lt;/script&gt;", "a$b^$", "\u6f22\u5b57 &amp; co", "fill: currentColor"):
        assert name in html
    assert "#010203" not in html
    assert "DejaVu" not in html
    assert ' id="figure' not in html


def test_a_large_figure_becomes_a_picture() -> None:
    def crowded() -> Figure:
        figure = new_figure(3, 3, "")
        figure.subplots().plot(*np.random.default_rng(0).random((2, 8000)), linewidth=0.5)
        return figure

    html = Chart("crowd", "", "", "8,000 lines", crowded).html()
    assert html.startswith('<img class="paper" alt="8,000 lines" src="data:image/png;base64,')
    picture = Image.open(io.BytesIO(base64.b64decode(html.split("base64,")[1].split('"')[0])))
    assert picture.size == (330, 330)


# ---------------------------------------------------------------- steps of an ablation


def member_settings(**more: Any) -> MemberSettings:
    content: dict[str, Any] = {"architecture": Component(name="unet"), "loss": Component(name="ce"), "epochs": 3}
    return MemberSettings(**content | more)


def test_changes_are_told_in_words() -> None:
    base = member_settings(architecture=Component(name="unet", options={"filters": 16}))
    cases = {
        "loss ce \u2192 dice": {"loss": Component(name="dice")},
        "architecture unet \u2192 pan": {"architecture": Component(name="pan")},
        "architecture: filters 16 \u2192 24": {"architecture": Component(name="unet", options={"filters": 24})},
        "background none \u2192 void": {"data": DataSettings(background="void")},
        "exclude 0 \u2192 2 images": {"exclude": ("a", "b")},
        "batch size 32 \u2192 8": {"batch_size": 8},
        "seed 0 \u2192 1": {"seed": 1},
    }
    for told, change in cases.items():
        assert changes(base, base.model_copy(update=change)) == [told]
    assert changes(base, base.model_copy(update={"device": "cuda", "threads": 8, "precision": "bf16"})) == []
    budgets = [base.model_copy(update={"budget_seconds": 60.0, "epochs": epochs}) for epochs in (5, 7)]
    assert changes(*budgets) == []  # measured epochs
    imported = member_settings(architecture=Component(name="unet", origin=IMPORTED))
    assert changes(base, imported) is None


def with_settings(member: Member, finished: str, **more: Any) -> Member:
    changed = Member(member.path, member.settings.model_copy(update=more), member.facts)
    changed.__dict__["status"] = {"finished": finished}
    return changed


def test_the_longest_ladder_follows_the_order_of_training(make_member: Callable[..., Member], tmp_path: Path) -> None:
    member = make_member(tmp_path)
    dice, tversky, pan = Component(name="dice"), Component(name="tversky"), Component(name="pan")
    first = with_settings(member, "1")
    second = with_settings(member, "2", loss=dice)
    third = with_settings(member, "3", loss=dice, architecture=pan)
    stray = with_settings(member, "4", loss=tversky, sampler="rare", architecture=pan)
    again = with_settings(member, "5", loss=dice, architecture=pan, seed=1)
    rungs = longest_ladder([again, stray, third, first, second])
    assert [rung for rung, _ in rungs] == [first, second, third]
    assert [change for _, change in rungs] == ["", "loss ce \u2192 dice", "architecture unet \u2192 pan"]
    assert longest_ladder([first, stray]) == []
    assert longest_ladder([third, again]) == []  # another seed is no step
    assert longest_ladder([]) == []


def test_ladder_of_real_runs(made: tuple[Path, Any]) -> None:
    material = collect(made[0])
    frame, real = ladder(material)
    assert real is True
    assert frame["name"].tolist() == ["net-b-0-ce", "net-b-1-ce", "net-b-2-ce", "average-3"]
    assert frame["change"].tolist()[1] == "architecture net<b>0 \u2192 net<b>1"
    paths = {member.name: member.path for member in material.members}
    names = sorted(paths)
    (pair,) = compare_runs([paths[names[1]], paths[names[0]]]).of()
    miou, gain, low, high = (frame[name].tolist() for name in ("miou", "gain", "gain_low", "gain_high"))
    assert gain[1] == pytest.approx(miou[1] - miou[0])
    assert (low[1], high[1]) == (pair.estimate.low, pair.estimate.high)
    featured = material.featured
    assert featured is not None
    told = featured.scores["verdict"]["differences"]["method - member"]
    assert gain[3] == told["difference"]
    alone = collect(made[0], featured.name)
    pd.testing.assert_frame_equal(ladder(alone)[0], frame)


# ---------------------------------------------------------------- images


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_ranked_images_have_what_they_are_ranked_for(seed: int, images: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    confusions = generator.integers(0, 5, (images, classes, classes)) * generator.integers(0, 2, (images, 1, 1))
    ranked = rank_images(confusions, generator.random((3, images)))
    assert list(ranked) == ["rare class", "most disputed", "typical", "worst"]
    for rows in ranked.values():
        assert len(set(rows.tolist())) == len(rows)
        assert (confusions[rows].sum((1, 2)) > 0).all()
    totals = confusions.sum((0, 2))
    if totals.any():
        rarest = int(np.argmin(np.where(totals > 0, totals, np.inf)))
        assert (np.diff(confusions[ranked["rare class"], rarest].sum(-1)) <= 0).all()
    right = np.trace(confusions, axis1=1, axis2=2) / np.maximum(1, confusions.sum((1, 2)))
    assert (np.diff(right[ranked["worst"]]) >= 0).all()


def decoded(png: str) -> np.ndarray[Any, Any]:
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    assert picture.mode == "P"
    return np.asarray(picture.convert("RGBA"))


LABELS = np.array([[0, 1, 255], [1, 0, 255]], np.uint8)
DECIDED = np.array([[0, 0, 1], [1, 0, 0]], np.uint8)


def test_class_maps_have_the_classes_colours_and_void_is_not_covered() -> None:
    colours = class_colours(range(2))
    rgba = decoded(class_map(LABELS, LABELS, 2))
    assert rgba[..., 3].tolist() == [[255, 255, 0], [255, 255, 0]]
    np.testing.assert_array_equal(rgba[:, :2, :3], colours[LABELS[:, :2]])
    rgba = decoded(class_map(DECIDED, LABELS, 2))
    np.testing.assert_array_equal(rgba[..., :3], colours[DECIDED])
    assert rgba[..., 3].tolist() == [[255, 255, 80], [255, 255, 80]]  # pale where nothing is labelled
    many = np.arange(200, dtype=np.uint8).reshape(10, 20)
    content = Image.open(io.BytesIO(base64.b64decode(class_map(many, many, 200))))
    np.testing.assert_array_equal(np.asarray(content.convert("RGB")), class_colours(range(200))[many])


def test_errors_are_white_and_void_is_dark() -> None:
    rgba = decoded(error_map(DECIDED, LABELS))
    assert rgba[0].tolist() == [[0, 0, 0, 150], [255, 255, 255, 255], [0, 0, 0, 230]]


def test_uncertainty_grows_from_dark_to_yellow() -> None:
    rgba = decoded(heat_map_picture(np.linspace(0, 1, 64).reshape(1, 64), 1.0)).astype(int)
    brightness = rgba[0, :, :3].sum(-1)
    assert (np.diff(brightness) >= 0).all()
    assert len(np.unique(brightness)) == 16
    assert rgba[0, -1, :3].tolist() == pytest.approx([254, 232, 56], abs=2)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_photographs_are_small_stretched_and_indexed(bands: int) -> None:
    image = np.linspace(0.2, 0.4, 300 * 600, dtype=np.float32).reshape(300, 600, 1).repeat(bands, 2)
    rgba = decoded(photograph(image))
    assert rgba.shape == (SIDE // 2, SIDE, 4)
    assert rgba[0, 0, :3].tolist() == pytest.approx([0, 0, 0], abs=4)
    assert rgba[-1, -1, :3].tolist() == pytest.approx([255] * 3, abs=4)
    assert decoded(photograph(np.zeros((4, 4, bands), np.uint8)))[..., :3].max() == 0


def test_tiles_are_told_in_words() -> None:
    certain = np.stack([LABELS == 0, LABELS != 0]).astype(np.float32) * 0.98 + 0.01
    other = certain[::-1]
    tiles = tiles_of(
        np.stack([certain, other]), LABELS, Pool.uniform(2, 2), ["sky", "sea"], {"good": 0, "bad": 1}, "all"
    )
    assert [tile.title for tile in tiles] == [
        *("truth", "good: 100 % right", "bad: 0 % right", "all: 50 % right"),
        *("errors (white)", "uncertainty (yellow: unsure)"),
    ]
    assert tiles[0].alt == "truth: sky 33 %, sea 33 %, void 33 %"
    assert tiles[3].alt == "all: sky 100 %; 50 % of the labelled pixels right"
    assert tiles[4].alt == "errors: 50 % of the labelled pixels"
    assert tiles[5].alt == "uncertainty: entropy 0.69 nats on average, of at most 0.69"
    alone = tiles_of(certain[None], LABELS, Pool.uniform(1, 2), ["sky", "sea"], {"good": 0}, "")
    assert [tile.title for tile in alone][:2] == ["truth", "good: 100 % right"]
    assert len(alone) == 4


def test_shares_name_the_largest_classes_only() -> None:
    assert shares(np.arange(6)[None], list("abcdef")) == "a 17 %, b 17 %, c 17 %, d 17 %, other classes 33 %"
    assert math.isnan(accuracy(DECIDED, np.full_like(LABELS, 255)))


def test_the_table_gives_the_figures_what_they_need(made: tuple[Path, Any]) -> None:
    frame = results.load(made[0])
    grid = results.pivot(frame, "architecture", "loss").means
    assert len(texts(figures.grid_figure(grid).axes[0])) == 3
    assert len(figures.classes_figure(frame).axes) == 4
