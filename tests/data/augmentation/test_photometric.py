"""Light and camera: the formula holds for bytes and for fractions of any number of bands, and labels stay."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.data.augmentation.photometric import photometric
from ensemble.data.windows import TrainingImages

NO_DONORS: Any = TrainingImages(None, np.arange(0))  # pyright: ignore[reportArgumentType]
NOTHING = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0}


def ramp(images: int = 30, bands: int = 1) -> Any:
    """Images of fractions from 0.2 to 0.8, a little brighter in every band."""
    row = np.linspace(0.2, 0.8, 64, dtype=np.float32)
    return np.broadcast_to(row[None, None, :, None] + 0.01 * np.arange(bands), (images, 8, 64, bands)).astype(
        np.float32
    )


def changed(images: Any, **options: float) -> Any:
    labels = np.arange(images.shape[0], dtype=np.uint8)[:, None, None] + np.zeros(images.shape[1:3], np.uint8)
    result, kept = photometric(**NOTHING | options)(images, labels, np.random.default_rng(0), NO_DONORS)
    np.testing.assert_array_equal(kept, labels)
    assert (result.dtype, result.shape) == (images.dtype, images.shape)
    return result


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_brightness_is_added_to_all_bands(bands: int) -> None:
    images = ramp(bands=bands)
    shift = (changed(images, brightness=0.1) - images).reshape(len(images), -1)
    assert np.ptp(shift, 1).max() < 1e-6
    assert -0.1 <= shift.min() < -0.05
    assert 0.05 < shift.max() <= 0.1


def test_contrast_scales_around_the_mean() -> None:
    images = ramp()
    result = changed(images, contrast=0.2)
    np.testing.assert_allclose(result.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-6)
    factors = np.ptp(result, (1, 2, 3)) / np.ptp(images, (1, 2, 3))
    assert 0.8 <= factors.min() < 0.9
    assert 1.1 < factors.max() <= 1.2


def test_gamma_is_a_power() -> None:
    images = ramp()
    powers = np.log(changed(images, gamma=0.3)) / np.log(images)
    assert np.ptp(powers, (1, 2, 3)).max() < 1e-4
    assert math.exp(-0.3) <= powers.min() < 0.9
    assert 1.1 < powers.max() <= math.exp(0.3)


def test_noise_differs_from_pixel_to_pixel_and_image_to_image() -> None:
    images = ramp(bands=3)
    noise = changed(images, noise=0.05) - images
    deviations = noise.std((1, 2, 3))
    assert deviations.min() < 0.01
    assert 0.03 < deviations.max() < 0.055
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


def test_bytes_are_changed_as_fractions_are() -> None:
    images = ramp(bands=2)
    whole = np.rint(255 * images).astype(np.uint8)
    options = {"brightness": 0.1, "contrast": 0.2, "gamma": 0.2}
    np.testing.assert_allclose(changed(whole, **options) / 255, changed(images, **options), atol=0.006)


def test_nothing_changes_nothing_and_values_stay_in_their_range() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(changed(whole), whole)
    extreme = changed(whole, brightness=1.0, contrast=1.0, gamma=2.0, noise=1.0)
    assert (extreme.min(), extreme.max()) == (0, 255)  # cut, not wrapped around
    fractions = changed((whole / 255).astype(np.float32), brightness=1.0, contrast=1.0, gamma=2.0, noise=1.0)
    assert 0 <= fractions.min() < fractions.max() <= 1


@pytest.mark.parametrize(("options", "limit"), [({"noise": -0.1}, 1), ({"contrast": 1.5}, 1), ({"gamma": 3.0}, 2)])
def test_mistakes_are_reported(options: dict[str, float], limit: int) -> None:
    ((name, value),) = options.items()
    with pytest.raises(EnsError) as caught:
        photometric(**options)
    assert f"expected {name} in 0..{limit} for 'photometric', got {name}={value:g}; change it" in str(caught.value)
