"""The pictures of an image come with titles and text alternatives."""

from __future__ import annotations

import math

import numpy as np

from ensemble.combining.pool import Pool
from ensemble.evaluation.strips import PredictedBatch
from ensemble.report.image_tiles import accuracy, maps_of, shares, tiles_of

LABELS = np.array([[0, 1, 255], [1, 0, 255]], np.uint8)


DECIDED = np.array([[0, 0, 1], [1, 0, 0]], np.uint8)


def test_tiles_have_titles_and_text_alternatives() -> None:
    certain = np.stack([LABELS == 0, LABELS != 0]).astype(np.float32) * 0.98 + 0.01
    other = certain[::-1]
    batch = PredictedBatch(slice(0, 1), np.stack([certain, other])[:, None], LABELS[None])
    tiles = tiles_of(maps_of(batch, Pool.uniform(2, 2), [0, 1]), ["sky", "sea"], ["good", "bad"], "all")
    assert [tile.title for tile in tiles] == [
        *("truth", "good: 100 % right", "bad: 0 % right", "all: 50 % right"),
        *("errors (white)", "uncertainty (yellow: unsure)"),
    ]
    assert tiles[0].alt == "truth: sky 33 %, sea 33 %, void 33 %"
    assert tiles[3].alt == "all: sky 100 %; 50 % of the labelled pixels are right"
    assert tiles[4].alt == "errors: 50 % of the labelled pixels"
    assert tiles[5].alt == "uncertainty: the mean entropy is 0.69 nats; the largest possible is 0.69"
    single = batch._replace(probs_mnchw=batch.probs_mnchw[:1])
    alone = tiles_of(maps_of(single, Pool.uniform(1, 2), [0]), ["sky", "sea"], ["good"], "")
    assert [tile.title for tile in alone][:2] == ["truth", "good: 100 % right"]
    assert len(alone) == 4


def test_shares_name_the_largest_classes_only() -> None:
    assert shares(np.arange(6)[None], list("abcdef")) == "a 17 %, b 17 %, c 17 %, d 17 %, other classes 33 %"
    assert math.isnan(accuracy(DECIDED, np.full_like(LABELS, 255)))
