"""Augmentation of light and camera: brightness, contrast, gamma and noise, for any number of bands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.data.augmentation.mixing import Change
from ensemble.data.windows import Pairs, TrainingImages


def photometric(*, brightness: float = 0.15, contrast: float = 0.2, gamma: float = 0.2, noise: float = 0.03) -> Change:
    """Brightness, contrast, gamma and noise of each image, drawn anew; labels stay.

    With pixels x in 0..1 and their mean m over the image, ``y = (m + c * (x - m) + b) ** g``, cut to 0..1 before the
    power, and noise from a normal distribution is added. All bands share b, c and g.

    Args:
        brightness: largest b, 0 to 1; it is uniform in -brightness..brightness.
        contrast: c is uniform in 1 - contrast..1 + contrast; 0 to 1.
        gamma: the logarithm of g is uniform in -gamma..gamma; 0 to 2.
        noise: largest standard deviation of the noise, 0 to 1; it is uniform in 0..noise.
    """
    given = {"brightness": brightness, "contrast": contrast, "gamma": gamma, "noise": noise}
    for name, value in given.items():
        if not 0 <= value <= (2 if name == "gamma" else 1):
            limit = 2 if name == "gamma" else 1
            raise EnsError(f"expected {name} in 0..{limit} for 'photometric', got {name}={value:g}; change it")

    def change(
        images_nhwc: NDArray[np.generic],
        labels_nhw: NDArray[np.uint8],
        generator: np.random.Generator,
        _: TrainingImages,
    ) -> Pairs:
        return np.stack([_one(image, generator) for image in images_nhwc]), labels_nhw.copy()

    def _one(image_hwc: NDArray[np.generic], generator: np.random.Generator) -> NDArray[np.generic]:
        shift, factor = generator.uniform(-brightness, brightness), 1 + generator.uniform(-contrast, contrast)
        power, deviation = np.exp(generator.uniform(-gamma, gamma)), generator.uniform(0, noise)
        whole = image_hwc.dtype == np.uint8
        unit = image_hwc.astype(np.float32) / np.float32(255 if whole else 1)
        mean = unit.mean(dtype=np.float64)
        changed = np.clip((unit - np.float32(mean)) * np.float32(factor) + np.float32(mean + shift), 0, 1)
        changed **= np.float32(power)
        if noise:
            changed += np.float32(deviation) * generator.standard_normal(changed.shape, np.float32)
        changed = changed.clip(0, 1)
        return np.rint(changed * 255).astype(np.uint8) if whole else changed.astype(image_hwc.dtype)

    return change
