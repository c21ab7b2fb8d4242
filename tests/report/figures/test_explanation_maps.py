"""The maps of uncertainty show images, truth, errors and black void."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ensemble.config import DataSettings
from ensemble.core.palette import class_colours
from ensemble.explanation.result import Explanation
from ensemble.report import figures


def test_maps_show_image_truth_errors_and_black_void(explanation: Explanation) -> None:
    figure = figures.uncertainty_figure(explanation)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles[:4] == ["image", "truth", "ensemble (average)", "errors (white)"]
    shown = [np.asarray(axis.images[0].get_array()) for axis in figure.axes[: len(titles)]]
    first = explanation.images[0]
    np.testing.assert_array_equal(shown[1], class_colours(range(4))[first.labels_hw])
    void = first.labels_hw == 255
    for picture in shown[1:]:
        assert not picture[void].any()
    np.testing.assert_array_equal((shown[3] == 255).all(-1), ~void & (first.labels_hw != first.decided_hw))
    brightness = shown[4].astype(int).sum(-1)[~void]
    assert np.corrcoef(brightness, first.entropy_hw[~void])[0, 1] > 0.95


def test_maps_without_images_where_the_data_are_gone_or_others(explanation: Explanation) -> None:
    for lost in (replace(explanation, data=DataSettings(source="gone.npz")), replace(explanation, data_hash="f" * 32)):
        titles = [axis.get_title() for axis in figures.uncertainty_figure(lost).axes if axis.get_title()]
        assert titles[0] == "truth"
