"""Read augmentations as users write them: a sum of steps, applied from left to right.

Steps are registered names, with options in brackets, and TOML files that hold a pipeline of albumentations
(see ``read_pipeline``)::

    flips
    geometric + copy-paste(count=4)
    mine.toml + cutmix
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ensemble.core.component_text import ComponentCall, format_component, parse_component, split_sum
from ensemble.core.errors import EnsError
from ensemble.core.void import VOID
from ensemble.data.augmentation.mixing import Change, in_a_row
from ensemble.data.augmentation.pipelines import apply_pipeline, build_pipeline, pipeline_change, read_pipeline
from ensemble.data.augmentation.steps import ADDED, AUGMENTATIONS
from ensemble.data.windows import Pairs, TrainingImages

# An augmentation in full: canonical text, or {"recipe": text, "pipelines": {"mine.toml": serialised pipeline}}.
Content = str | dict[str, Any]
MEASURED, SURE = 40, 0.9  # windows that are augmented to find the margin, and the share of them that must be whole
MARGINS = (0.0, 0.125, 0.25, 0.5)

Augment = Callable[[NDArray[np.generic], NDArray[np.uint8], np.random.Generator], Pairs]


def resolve_augmentation(text: str) -> Content:
    """Check a sum of augmentations and return it in full: with every option, and with pipelines instead of files.

    Returns:
        plain JSON values that ``build_augmentation`` takes even when the files no longer exist. If ``text`` names no
        file, it is a text; the same text comes back when it is given again.

    Raises:
        EnsError: when the form or a value is wrong, or a file holds no pipeline or one that would spoil masks.
        UnknownName: when a name, an option or a transform is unknown.

    >>> resolve_augmentation("flips+cutmix(p=1)")
    'flips + cutmix(p=1.0, alpha=1.0)'
    """
    terms: list[str] = []
    pipelines: dict[str, Any] = {}
    for term in split_sum(text):
        if term.endswith(".toml"):
            path = Path(term).expanduser()
            pipeline = read_pipeline(path)
            if pipelines.setdefault(path.name, pipeline) != pipeline:
                raise EnsError(f"two different files are called {path.name} in '{text}'; rename one")
            terms.append(path.name)
        else:
            call = parse_component(term, AUGMENTATIONS)
            AUGMENTATIONS.create(call.name, **call.options)  # ranges are checked by the factories themselves
            terms.append(_canonical(call))
    recipe = " + ".join(terms)
    return {"recipe": recipe, "pipelines": pipelines} if pipelines else recipe


def _canonical(call: ComponentCall) -> str:
    """Return a step with every option, but for those that came later and have their defaults."""
    defaults = {name: option.default for name, option in AUGMENTATIONS.options(call.name).items()}
    later = {name for name in ADDED.get(call.name, ()) if call.options[name] == defaults[name]}
    return format_component(call.name, {name: value for name, value in call.options.items() if name not in later})


def describe_augmentation(content: Content) -> str:
    """Return the canonical text of a content; pipelines appear as the names of their files."""
    return content if isinstance(content, str) else content["recipe"]


def build_augmentation(content: Content, donors: TrainingImages) -> Augment:
    """Return a function from images (n, h, w, c), labels (n, h, w) and a generator to augmented images and labels.

    All randomness comes from the generator: equal generators and pairs give equal results. The function does not
    change its arguments.

    Args:
        content: result of ``resolve_augmentation``.
        donors: images whose parts may be pasted into others.
    """
    changes: list[Change] = []
    for term in split_sum(describe_augmentation(content)):
        if term in _pipelines(content):
            changes.append(pipeline_change(build_pipeline(_pipelines(content)[term], term), term))
        else:
            call = parse_component(term, AUGMENTATIONS)
            changes.append(AUGMENTATIONS.create(call.name, **call.options))

    whole = in_a_row(*changes)
    return lambda images_nhwc, labels_nhw, generator: whole(images_nhwc, labels_nhw, generator, donors)


def void_margin(content: Content, image_hwc: NDArray[np.generic]) -> float:
    """Return how much an augmentation needs around a window, as a share of its side, so that it brings in no void.

    It is measured: windows without void are augmented, and the smallest margin of 0, 1/8, 1/4 and 1/2 is taken whose
    windows have no void afterwards in at least nine of ten cases; 1/2 if none has.

    Args:
        content: result of ``resolve_augmentation``.
        image_hwc: an image of the data, for its bands and its type.
    """
    nothing = TrainingImages(cast(Any, None), np.zeros(0, np.int64))  # nothing is pasted
    side = 96
    images_nhwc = np.zeros((MEASURED, side, side, image_hwc.shape[2]), image_hwc.dtype)
    labels_nhw = np.zeros(images_nhwc.shape[:3], np.uint8)
    _, moved_nhw = build_augmentation(content, nothing)(images_nhwc, labels_nhw, np.random.default_rng(0))
    for margin in MARGINS:
        first = round(side * margin / (1 + 2 * margin))
        inner_nhw = moved_nhw[:, first : side - first, first : side - first]
        if (inner_nhw != VOID).all((1, 2)).mean() >= SURE:
            return margin
    return MARGINS[-1]


def try_augmentation(content: Content, image_hwc: NDArray[np.generic]) -> None:
    """Apply every pipeline from a file to an image of the data, sixteen times, with every transform switched on.

    Raises:
        EnsError: when a pipeline cannot take such images, changes their shape or type, or spoils masks.
    """
    images_nhwc = np.repeat(image_hwc[None], 16, axis=0)
    labels_nhw = np.full(images_nhwc.shape[:3], 7, np.uint8)
    labels_nhw[:, ::2, ::2] = labels_nhw[:, 1::2, 1::2] = 9  # any value but 7, 9 and void was interpolated or filled in
    for name, serialised in _pipelines(content).items():
        pipeline = build_pipeline(serialised, name, always=True)
        apply_pipeline(pipeline, name, (images_nhwc, labels_nhw), np.random.default_rng(0))


def _pipelines(content: Content) -> dict[str, Any]:
    return {} if isinstance(content, str) else content["pipelines"]
