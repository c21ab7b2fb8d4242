"""Augmentations by name; the only file that imports albumentations. Masks move nearest, borders become void."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for a newer version

import albumentations as A

from ensemble.data.dataset import VOID
from ensemble.registry import Registry

AUGMENTATIONS: Registry[list[A.BasicTransform]] = Registry("augmentation")


@AUGMENTATIONS.register("none")
def none() -> list[A.BasicTransform]:
    """Images as they are."""
    return []


@AUGMENTATIONS.register("flips")
def flips() -> list[A.BasicTransform]:
    """Left-right and up-down flips, each with probability 1/2."""
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def _affine(**extra: Any) -> A.BasicTransform:
    return A.Affine(
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=VOID,
        p=0.7,
        **extra,
    )


@AUGMENTATIONS.register("geometric")
def geometric() -> list[A.BasicTransform]:
    """Flips, then shifts up to 10 % and zooms of 0.8 to 1.25."""
    return [*flips(), _affine(translate_percent=(-0.1, 0.1), scale=(0.8, 1.25))]


@AUGMENTATIONS.register("full")
def full() -> list[A.BasicTransform]:
    """The geometric ones with shear up to 10 degrees, then noise, brightness and contrast."""
    return [
        *flips(),
        _affine(translate_percent=(-0.1, 0.1), scale=(0.8, 1.25), shear=(-10, 10)),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5),
        A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
    ]


Pairs = tuple[NDArray[np.generic], NDArray[np.uint8]]


def build_augmentation(name: str, seed: int) -> Callable[[NDArray[np.generic], NDArray[np.uint8]], Pairs]:
    """A function from images (n, h, w, c) and labels (n, h, w) to augmented ones.

    All its randomness comes from ``seed``: the same seed and the same images in the same order give the same pairs.
    """
    transforms = AUGMENTATIONS.create(name)
    compose = A.Compose(list[Any](transforms), seed=seed)
    # Compose hands its one seed to every transform: left-right and up-down flips would always come together.
    for transform, own in zip(transforms, np.random.SeedSequence(seed).generate_state(len(transforms)), strict=True):
        transform.set_random_seed(int(own))

    def augment(images_nhwc: NDArray[np.generic], labels_nhw: NDArray[np.uint8]) -> Pairs:
        if not transforms:
            return images_nhwc, labels_nhw
        done = [compose(image=image, mask=mask) for image, mask in zip(images_nhwc, labels_nhw, strict=True)]
        return np.stack([item["image"] for item in done]), np.stack([item["mask"] for item in done])

    return augment
