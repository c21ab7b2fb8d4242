"""Which decision a loaded model makes: its own, or another one, fitted to validation images or to those predicted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.alignment import align
from ensemble.combining.combiner import Combiner
from ensemble.combining.decision import RULES, fit_decision
from ensemble.combining.fit_data import gather_fit_data
from ensemble.combining.pipeline import DECISION_PIXELS, with_decision
from ensemble.combining.pixel_sample import PixelSample
from ensemble.config import Decide
from ensemble.runs.member import Member

C = TypeVar("C", bound=Combiner)
FEW_IMAGES = 10


def fit_to_validation(pool: C, members: Sequence[Member], classes: Sequence[str], decide: Decide) -> C:
    """Return the pool with another decision, fitted to the stored probabilities of its members' validation images.

    Args:
        pool: the pool of these members.
        members: the members.
        classes: names of the classes of the pool.
        decide: the decision.

    Raises:
        EnsError: stores are missing or damaged.
    """
    plain = pool.deciding(None)
    if decide == "argmax":
        return plain
    aligned = align(members, only=classes)
    return with_decision(plain, gather_fit_data(aligned, neighbourhood=pool.neighbourhood), decide)


def fit_to_images(pool: C, decide: Decide, probabilities: Iterable[NDArray[np.float32]]) -> C:
    """Return the pool with the decision whose expected scores are those of all predicted images together.

    Args:
        pool: the pool.
        decide: ``expected-iou`` or ``expected-dice``.
        probabilities: pooled probabilities (n, classes, h, w) of the images, batch after batch; a sample of their
            pixels is kept.
    """
    sample = PixelSample(DECISION_PIXELS)
    for probs_nchw in probabilities:
        sample.add(probs_nchw)
    return pool.deciding(fit_decision(lambda: [sample.probs_cp], RULES[decide]))


def key_of(pool: Combiner) -> str:
    """Return a text that is the same for equal decisions only."""
    rule = None if pool.decision is None else pool.decision.to_json()
    return json.dumps([rule, None if pool.offsets_c is None else pool.offsets_c.tolist()])


def few_images_note(images: int) -> str:
    """Return why expected scores of so few images may mislead; empty if they are enough."""
    if images >= FEW_IMAGES:
        return ""
    return (
        f"the expected scores are those of {images} image{'s' * (images > 1)} alone: a class that they do not hold may"
        " be found in them; --decide-from validation does not depend on the images"
    )
