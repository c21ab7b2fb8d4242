"""The interval of a calibration error where the truth is known: calibrated systems, and others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ensemble.evaluation import Bootstrap, calibration_error, calibration_error_interval, interval

BINS, PIXELS = 15, 300
MIDDLE = (np.arange(BINS) + 0.5) / BINS
GROUPS = [f"scene-{row:02d}" for row in range(40)]


def simulated(random: np.random.Generator, images: int, sharpness: float) -> tuple[Any, Any]:
    """Gaps and pixels of images whose accuracy varies; a sharpness of 0 makes confidences right on average."""
    count = np.zeros((images, BINS), np.int64)
    count[:, 4:] = random.multinomial(PIXELS, random.dirichlet(np.linspace(0.2, 1.8, BINS - 4), images))
    scale = np.log(MIDDLE / (1 - MIDDLE)) * (1 - sharpness)
    accuracy = 1 / (1 + np.exp(-(scale + random.normal(0, 0.5, (images, 1)))))
    return count * MIDDLE - random.binomial(count, accuracy), count.sum(1).astype(float)


def limits(gap_n: Any, pixels_n: Any, resamples: int = 300) -> tuple[Any, Any]:
    """The corrected interval and the plain one."""
    drawn = Bootstrap.draw(GROUPS, resamples=resamples)
    without = drawn.leave_one_out
    left_out_g = calibration_error(without.totals(gap_n), without.totals(pixels_n))
    resampled = drawn.totals(gap_n), drawn.totals(pixels_n)
    ours = calibration_error_interval(*resampled, gap_n.sum(0), float(pixels_n.sum()), left_out_g)
    return ours, interval(calibration_error(*resampled), left_out_g=left_out_g)


@pytest.mark.parametrize(("sharpness", "plain_covers"), [(0.0, (0, 0.3)), (0.5, (0.85, 1))])
def test_it_holds_the_truth(sharpness: float, plain_covers: tuple[float, float]) -> None:
    gap, pixels = simulated(np.random.default_rng(1), 60_000, sharpness)
    truth = float(calibration_error(gap.sum(0), pixels.sum()))
    assert truth < 0.01 if sharpness == 0 else truth > 0.05
    random, held = np.random.default_rng(2), []
    for _ in range(120):
        data = simulated(random, len(GROUPS), sharpness)
        found = limits(*data)
        held.append([each.low <= truth <= each.high for each in found])
        estimate = float(calibration_error(data[0].sum(0), data[1].sum()))
        assert 0 <= found[0].low <= estimate <= found[0].high
    ours, plain = np.mean(held, axis=0)
    assert ours >= 0.9  # 95 % less 2.5 standard errors of 0.02
    assert plain_covers[0] <= plain <= plain_covers[1]  # the bias that is corrected


def test_calibrated_as_far_as_one_can_see_reaches_0() -> None:
    assert limits(*simulated(np.random.default_rng(3), len(GROUPS), 0.0))[0].low == 0
    assert limits(*simulated(np.random.default_rng(3), len(GROUPS), 0.5))[0].low > 0


def test_without_pixels_there_is_none() -> None:
    found = calibration_error_interval(np.zeros((5, 2)), np.zeros(5), np.zeros(2), 0.0, np.full(3, np.nan))
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_resample_without_pixels_is_left_out() -> None:
    gap, pixels = simulated(np.random.default_rng(4), len(GROUPS), 0.5)
    empty = np.zeros((1, BINS)), np.zeros(1)
    resampled = np.concatenate([gap, empty[0]]), np.concatenate([pixels, empty[1]])
    whole = gap.sum(0), float(pixels.sum()), calibration_error(gap, pixels)
    assert calibration_error_interval(*resampled, *whole) == calibration_error_interval(gap, pixels, *whole)
