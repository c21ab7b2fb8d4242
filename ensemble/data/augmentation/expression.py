"""Augmentations as users write them: a sum of steps, applied from left to right.

Steps are registered names, with options in brackets, and TOML files that hold a pipeline of albumentations
(see ``read_pipeline``)::

    flips
    geometric + copy-paste(count=4)
    mine.toml + cutmix
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.core.component_text import parse_component, split_sum
from ensemble.core.errors import EnsError
from ensemble.data.augmentation.mixing import Change, Donors, Pairs
from ensemble.data.augmentation.steps import (
    AUGMENTATIONS,
    apply_pipeline,
    build_pipeline,
    pipeline_change,
    read_pipeline,
)

# An augmentation in full: canonical text, or {"recipe": text, "pipelines": {"mine.toml": serialised pipeline}}.
Content = str | dict[str, Any]
Augment = Callable[[NDArray[np.generic], NDArray[np.uint8], np.random.Generator], Pairs]


def resolve_augmentation(text: str) -> Content:
    """Check a sum of augmentations and write it in full: every option, and pipelines instead of their files.

    Returns:
        plain JSON values that ``build_augmentation`` takes when the files are gone. Where ``text`` names no file, it
        is a text that can be given again and comes back unchanged.

    Raises:
        EnsError: a wrong form, a value out of range, a file that holds no pipeline, or one that would spoil masks.
        UnknownName: an unknown name, option or transform.

    >>> resolve_augmentation("flips+cutmix(p=1)")
    'flips + cutmix(p=1.0, alpha=1.0)'
    """
    terms: list[str] = []
    pipelines: dict[str, Any] = {}
    for term in split_sum(text):
        if term.endswith(".toml"):
            path = Path(term).expanduser()
            found = read_pipeline(path)
            if pipelines.setdefault(path.name, found) != found:
                raise EnsError(f"two different files are called {path.name} in '{text}'; rename one")
            terms.append(path.name)
        else:
            call = parse_component(term, AUGMENTATIONS)
            AUGMENTATIONS.create(call.name, **call.options)  # ranges are checked by the factories themselves
            terms.append(str(call))
    recipe = " + ".join(terms)
    return {"recipe": recipe, "pipelines": pipelines} if pipelines else recipe


def describe_augmentation(content: Content) -> str:
    """The canonical text of a content; pipelines are named by their files."""
    return content if isinstance(content, str) else content["recipe"]


def build_augmentation(content: Content, donors: Donors) -> Augment:
    """A function from images (n, h, w, c), labels (n, h, w) and a generator to augmented images and labels.

    All its randomness comes from the generator: equal generators and pairs give equal results. What it is given is
    not changed in place.

    Args:
        content: what ``resolve_augmentation`` returns.
        donors: images of which pieces may be pasted into others.
    """
    changes: list[Change] = []
    for term in split_sum(describe_augmentation(content)):
        if term in _pipelines(content):
            changes.append(pipeline_change(build_pipeline(_pipelines(content)[term], term), term))
        else:
            call = parse_component(term, AUGMENTATIONS)
            changes.append(AUGMENTATIONS.create(call.name, **call.options))

    def augment(
        images_nhwc: NDArray[np.generic], labels_nhw: NDArray[np.uint8], generator: np.random.Generator
    ) -> Pairs:
        for change in changes:
            images_nhwc, labels_nhw = change(images_nhwc, labels_nhw, generator, donors)
        return images_nhwc, labels_nhw

    return augment


def try_augmentation(content: Content, image_hwc: NDArray[np.generic]) -> None:
    """Apply every pipeline that came from a file to an image of the data, sixteen times, with nothing left to chance.

    Raises:
        EnsError: a pipeline that cannot take such images, changes their shape or type, or spoils masks.
    """
    images_nhwc = np.repeat(image_hwc[None], 16, axis=0)
    labels_nhw = np.full(images_nhwc.shape[:3], 7, np.uint8)
    labels_nhw[:, ::2, ::2] = labels_nhw[:, 1::2, 1::2] = 9  # what is neither 7, 9 nor void was mixed or filled in
    for name, serialised in _pipelines(content).items():
        pipeline = build_pipeline(serialised, name, always=True)
        apply_pipeline(pipeline, name, (images_nhwc, labels_nhw), np.random.default_rng(0))


def _pipelines(content: Content) -> dict[str, Any]:
    return {} if isinstance(content, str) else content["pipelines"]
