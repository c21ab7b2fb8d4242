"""Augmentations by name."""

from __future__ import annotations

from typing import Any

import cv2

from ensemble.core.registry import Registry
from ensemble.core.void import VOID
from ensemble.data.augmentation.geometry import hflip, rotate90, scale, vflip
from ensemble.data.augmentation.mixing import Change, cutmix
from ensemble.data.augmentation.pasting import ADDED_LATER, copy_paste
from ensemble.data.augmentation.photometric import photometric
from ensemble.data.augmentation.pipelines import A, pipeline_change  # A is imported there, where it is kept offline

AUGMENTATIONS: Registry[Change] = Registry("augmentation")


@AUGMENTATIONS.register("none")
def none() -> Change:
    """Images as they are."""
    return lambda images_nhwc, labels_nhw, *_: (images_nhwc, labels_nhw)


AUGMENTATIONS.register("hflip")(hflip)
AUGMENTATIONS.register("vflip")(vflip)
AUGMENTATIONS.register("rotate90")(rotate90)
AUGMENTATIONS.register("scale")(scale)
AUGMENTATIONS.register("photometric")(photometric)


def _flips() -> list[Any]:
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)]


def _affine(**extra: Any) -> A.BasicTransform:
    return A.Affine(
        interpolation=cv2.INTER_LINEAR,
        mask_interpolation=cv2.INTER_NEAREST,
        border_mode=cv2.BORDER_CONSTANT,
        fill=0,
        fill_mask=VOID,
        p=0.7,
        translate_percent=(-0.1, 0.1),
        scale=(0.8, 1.25),
        **extra,
    )


@AUGMENTATIONS.register("flips")
def flips() -> Change:
    """Left-right and up-down flips, each with probability 1/2."""
    return pipeline_change(A.Compose(_flips()), "flips")


@AUGMENTATIONS.register("geometric")
def geometric() -> Change:
    """Flips, then shifts up to 10 % and zooms of 0.8 to 1.25."""
    return pipeline_change(A.Compose([*_flips(), _affine()]), "geometric")


@AUGMENTATIONS.register("full")
def full() -> Change:
    """The steps of geometric with shear up to 10 degrees, then noise, brightness and contrast."""
    light = A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5)
    noise = A.GaussNoise(std_range=(0.01, 0.05), p=0.3)
    return pipeline_change(A.Compose([*_flips(), _affine(shear=(-10, 10)), light, noise]), "full")


AUGMENTATIONS.register("copy-paste")(copy_paste)
ADDED = {"copy-paste": ADDED_LATER}
"""Options that are left out of a canonical text where they have their defaults: older members keep their names."""

AUGMENTATIONS.register("cutmix")(cutmix)
