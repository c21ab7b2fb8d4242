"""What a plan says about few groups, and about images of many sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ensemble.training.plan import Plan
from ensemble.training.plan_notes import plan_notes


def test_few_groups_are_said_before_training(plan: Callable[..., Plan]) -> None:
    few, every = plan(), plan(folds=3)  # with folds all 12 groups are scored
    count = len({few.groups[row] for row in few.split.scored})
    assert 1 < count < 10
    assert plan_notes(few)[-1] == (
        f"the images to be scored are {count} groups: no interval can be trusted; add images of other scenes, or hold"
        " out more"
    )
    assert not any("interval" in note for note in plan_notes(every))


def test_the_median_of_sizes_counts_each_image_once(plan: Callable[..., Plan], tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    for k, side in enumerate([32] * 12 + [128] * 4):  # a large image is 16 windows
        for kind, largest in (("images", 256), ("masks", 2)):
            (tmp_path / "mixed" / kind).mkdir(parents=True, exist_ok=True)
            pixels = drawn.integers(0, largest, (side, side), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mixed" / kind / f"{k:02}.png")
    notes = plan_notes(plan(tmp_path / "mixed", crop="32x32"))
    expected = "trains on windows of 32x32 (--crop) of images of 32x32 to 128x128, median 32x32 (2 different)"
    assert [note for note in notes if "windows" in note] == [expected]
