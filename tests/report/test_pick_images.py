"""Images are ranked as documented."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.report.pick_images import rank_images


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_ranked_images_have_what_they_are_ranked_for(seed: int, images: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    confusions = generator.integers(0, 5, (images, classes, classes)) * generator.integers(0, 2, (images, 1, 1))
    ranked = rank_images(confusions, generator.random((3, images)))
    assert list(ranked) == ["rare class", "most disputed", "typical", "worst"]
    for rows in ranked.values():
        assert len(set(rows.tolist())) == len(rows)
        assert (confusions[rows].sum((1, 2)) > 0).all()
    totals = confusions.sum((0, 2))
    if totals.any():
        rarest = int(np.argmin(np.where(totals > 0, totals, np.inf)))
        assert (np.diff(confusions[ranked["rare class"], rarest].sum(-1)) <= 0).all()
    right = np.trace(confusions, axis1=1, axis2=2) / np.maximum(1, confusions.sum((1, 2)))
    assert (np.diff(right[ranked["worst"]]) >= 0).all()
