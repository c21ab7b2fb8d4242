"""Objects of an image in strips against those of the whole image."""

from __future__ import annotations

import numpy as np
import pytest

from ensemble.evaluation import object_strips
from ensemble.evaluation.object_strips import StripObjects
from ensemble.evaluation.objects import object_counts


@pytest.mark.parametrize("rows", [1, 7, 40])
def test_strips_give_the_counts_of_the_whole_image(rows: int) -> None:
    random = np.random.default_rng(0)
    labels = np.kron(random.integers(0, 3, (1, 10, 10)), np.ones((4, 3), int))
    guess = np.where(random.random(labels.shape) < 0.1, 2, labels)
    labels[0, ::9, 5:9] = 255
    strips = StripObjects(40, 30, classes=3)
    tops = range(0, 40, rows)
    counts = [strips.add(labels[:, top : top + rows], guess[:, top : top + rows], top) for top in tops]
    assert not sum(map(np.sum, counts[:-1]))
    assert (counts[-1] == object_counts(labels, guess, 3)).all()
    assert counts[-1].sum() > 40


def test_noise_is_not_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_strips, "MOST_RUNS", 50)
    labels = np.arange(400).reshape(1, 20, 20) % 2
    strips = StripObjects(20, 20, classes=2)
    for top in range(20):
        assert not strips.add(labels[:, [top]], labels[:, [top]], top).any()
    assert strips.runs_held == 0
