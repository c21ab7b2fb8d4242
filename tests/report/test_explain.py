"""The figures of an explanation say what its tables say, and are written whole with the tables beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ensemble
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.palette import class_colours
from ensemble.data import open_dataset
from ensemble.explanation.explain import explain
from ensemble.explanation.result import Explanation
from ensemble.report.explain import uncertainty_figure, write_explanation
from ensemble.report.explain_curves import reliability_figure, risk_figure
from ensemble.report.explain_members import contributions_figure, dropping_figure, pairs_figure
from ensemble.report.short_names import short_names
from ensemble.runs.member import Member

MakeMember = Callable[..., Member]
MakeWorld = Callable[..., Any]


@pytest.fixture
def found(tmp_path: Path, make_world: MakeWorld, make_member: MakeMember) -> Explanation:
    """Three members on images that can be opened again."""
    drawn = make_world(images=12, size=(32, 32))
    images = np.random.default_rng(0).integers(0, 255, drawn.masks_nhw.shape).astype(np.uint8)
    path = tmp_path / "tiny.npz"
    np.savez(path, training_set=np.stack([images, drawn.masks_nhw], 1), training_groups=np.arange(12) // 2)
    dataset = open_dataset(DataSettings(source=str(path)))
    world = replace(drawn, source=str(path), ids=dataset.ids, data_hash=dataset.data_hash)
    members = [make_member(tmp_path, f"net{i}", quality=0.6 + 0.5 * i, world=world).name for i in range(3)]
    return explain(ensemble.combine(members, method="average", runs=tmp_path).ensemble.path)


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_pairs_show_every_number_but_a_member_with_itself(found: Explanation) -> None:
    figure = pairs_figure(found)
    disagreement, correlation, fault = (texts(axis) for axis in figure.axes)
    assert (len(disagreement), len(correlation), len(fault)) == (6, 6, 6)
    apart = ~np.eye(3, dtype=bool)
    assert [float(text) for text in disagreement] == pytest.approx(100 * found.pairs.disagreement_mm[apart], abs=0.05)
    assert [float(text) for text in correlation] == pytest.approx(found.pairs.error_correlation_mm[apart], abs=0.005)
    assert [float(text) for text in fault] == pytest.approx(100 * found.pairs.double_fault_mm[apart], abs=0.05)
    assert "-0.00" not in correlation
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["net0-ce", "net1-ce", "net2-ce"]


def test_contributions_show_points_with_intervals_and_classes(found: Explanation) -> None:
    figure = contributions_figure(found)
    whiskers, _, heat, _ = figure.axes
    values = 100 * found.contribution.shapley.value
    np.testing.assert_allclose(np.asarray(whiskers.lines[0].get_xdata()), values[:, 0])
    ends = np.stack([np.asarray(path.vertices)[:, 0] for path in whiskers.collections[0].get_paths()])
    np.testing.assert_allclose(ends[:, 0], 100 * found.contribution.shapley.low[:, 0])
    assert len(texts(heat)) == 3 * 4
    assert [label.get_text() for label in heat.get_xticklabels()] == list(found.classes)


def test_dropping_marks_who_could_go(found: Explanation) -> None:
    axis = dropping_figure(found).axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[0] == "all members"
    assert labels[1] == "\u2212 net0-ce  (67 % of parameters left)"
    path = np.asarray(axis.lines[0].get_xdata())
    np.testing.assert_allclose(path, 100 * np.append(0, found.dropping["change"]))
    marked = len(np.asarray(axis.lines[1].get_xdata()))
    assert marked == len(found.contribution.spare)


def test_reliability_shows_all_systems_before_and_after(found: Explanation) -> None:
    for axis, key in zip(reliability_figure(found).axes, ("ece", "ece_after"), strict=True):
        legend = [text.get_text() for text in axis.get_legend().get_texts()]  # pyright: ignore[reportOptionalMemberAccess]
        for title, value in zip(legend, found.calibration[key], strict=True):
            assert f"ECE {100 * value:.1f} %" in title
        assert [title.split(":")[0] for title in legend][3:] == ["average", "ensemble (average)"]


def test_risk_ends_at_the_error_and_at_all_errors(found: Explanation) -> None:
    left, right = risk_figure(found).axes
    for line in left.lines[:3]:
        assert np.asarray(line.get_ydata())[-1] == pytest.approx(100 * found.uncertainty["chance_aurc"][0])
    for line in right.lines[:3]:
        y = np.asarray(line.get_ydata())
        assert y[-1] == 100
        assert (np.diff(y) >= -1e-9).all()


def test_maps_show_image_truth_errors_and_black_void(found: Explanation) -> None:
    figure = uncertainty_figure(found)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles[:4] == ["image", "truth", "ensemble (average)", "errors (white)"]
    shown = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[: len(titles)]]
    first = found.images[0]
    np.testing.assert_array_equal(shown[1], class_colours(range(4))[first.labels_hw])
    void = first.labels_hw == 255
    for picture in shown[1:]:
        assert not picture[void].any()
    np.testing.assert_array_equal((shown[3] == 255).all(-1), ~void & (first.labels_hw != first.decided_hw))
    brightness = shown[4].astype(int).sum(-1)[~void]
    assert np.corrcoef(brightness, first.entropy_hw[~void])[0, 1] > 0.95


def test_maps_without_images_where_the_data_are_gone_or_others(found: Explanation) -> None:
    for lost in (replace(found, data=DataSettings(source="gone.npz")), replace(found, data_hash="f" * 32)):
        titles = [axis.get_title() for axis in uncertainty_figure(lost).axes if axis.get_title()]
        assert titles[0] == "truth"


def test_everything_is_written(found: Explanation, tmp_path: Path) -> None:
    ticks: list[tuple[Any, ...]] = []
    written = write_explanation(found, tmp_path / "why", lambda *told: ticks.append(told))
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == sorted(path.name for path in written)
    pictures = [path for path in written if path.suffix == ".png"]
    assert [path.stem for path in pictures] == [
        "pairs",
        "contributions",
        "dropping",
        "reliability",
        "risk",
        "uncertainty",
    ]
    assert ticks[-1] == ("drawing", 6, 6)
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            assert min(picture.size) > 200
    for name, table in found.tables.items():
        again = pd.read_csv(tmp_path / "why" / f"{name}.csv")
        assert list(again.columns) == list(table.columns)
        assert len(again) == len(table)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EnsError, match="cannot write"):
        write_explanation(found, tmp_path / "file" / "x")


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert short_names(["unet-ce-s0-aaaaaa", "unet-ce-s0-bbbbbb", "unet-dice-s1-cccccc"]) == [
        "unet-ce-s0-aaaaaa",
        "unet-ce-s0-bbbbbb",
        "unet-dice",
    ]
    assert short_names(["from-elsewhere"]) == ["from-elsewhere"]
    long = "attention-unet-resnet34-0.7focal-tversky-0.3weighted-ce-s0-0a1b2c"
    assert short_names([long]) == ["attention-une\u20263weighted-ce"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.from_regex(r"[a-c]{1,40}(-s[0-9])?(-[0-9a-f]{6})?", fullmatch=True), unique=True, max_size=8))
def test_short_names_are_never_the_same(names: list[str]) -> None:
    short = short_names(names)
    assert len(set(short)) == len(names)
    assert all(len(new) <= len(old) for new, old in zip(short, names, strict=True))
