"""Learning curves, confusion matrices and reliability show their numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ensemble.evaluation import reliability
from ensemble.report import figures


def texts(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.texts]


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


def test_confusions_of_many_classes_stand_below_each_other() -> None:
    names = [f"class {k} with a long name" for k in range(20)]
    figure = figures.confusion_figure({"a": np.eye(20), "b": np.eye(20)}, names)
    figure.draw_without_rendering()
    first, second = (axis.get_window_extent() for axis in figure.axes)
    assert (first.x0, first.y0 > second.y1) == (second.x0, True)
    assert figure.get_figwidth() * 96 < 1130  # pixels of a page
    labels = [label.get_window_extent() for axis in figure.axes for label in axis.get_yticklabels()]
    assert len(labels) == 40
    assert min(label.x0 for label in labels) >= 0


def test_calibration_draws_accuracy_against_confidence() -> None:
    probs = np.array([0.95, 0.95, 0.55, 0.55]).reshape(4, 1, 1, 1)
    table = reliability(np.concatenate([probs, 1 - probs], 1), np.array([0, 0, 0, 1]).reshape(4, 1, 1))
    axis = figures.calibration_figure({"unet": table}).axes[0]
    assert np.asarray(axis.lines[1].get_xdata()) == pytest.approx([0.55, 0.95])
    assert np.asarray(axis.lines[1].get_ydata()) == pytest.approx([0.5, 1.0])
    assert axis.get_legend_handles_labels()[1] == ["unet: ECE 5.0 %"]
