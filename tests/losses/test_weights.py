"""Class weights: the table of schemes, the cap, the normalisation, bad counts."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from ensemble.core.errors import EnsError, UnknownName
from ensemble.losses import class_weights
from ensemble.losses.weights import Scheme

COUNTS = torch.tensor([0, 800, 180, 20])
INF = math.inf


def test_mean_is_one_over_counted_classes_and_zero_elsewhere() -> None:
    for scheme in get_args(Scheme):
        weights = class_weights(COUNTS, scheme)
        assert weights.dtype == torch.float32
        assert weights[0] == 0
        assert float(weights[1:].mean()) == pytest.approx(1.0)
        assert (weights[1:].diff() >= 0).all(), "rarer classes never weigh less"


@pytest.mark.parametrize(
    ("scheme", "ratio"),
    [
        ("none", 1.0),
        ("inverse", 40.0),
        ("inverse-sqrt", math.sqrt(40.0)),
        ("median-frequency", 40.0),
        ("effective-number", (1 - 0.999**800) / (1 - 0.999**20)),  # N = 1000
    ],
)
def test_ratio_of_the_rarest_to_the_commonest(scheme: Scheme, ratio: float) -> None:
    weights = class_weights(COUNTS, scheme, INF)
    assert float(weights[3] / weights[1]) == pytest.approx(ratio, rel=1e-5)


def test_effective_number_keeps_its_digits_at_millions_of_pixels() -> None:
    weights = class_weights(torch.tensor([20_000_000, 26_780]), "effective-number", INF)
    share = 26_780 / 20_026_780
    expected = (1 - math.exp(-(1 - share))) / (1 - math.exp(-share))
    assert float(weights[1] / weights[0]) == pytest.approx(expected, rel=1e-5)


def test_cap_limits_the_ratio_and_nothing_else() -> None:
    free, capped = class_weights(COUNTS, "inverse", INF), class_weights(COUNTS, "inverse", 30.0)
    assert float(capped[3] / capped[1]) == pytest.approx(30.0)
    assert float(capped[2] / capped[1]) == pytest.approx(float(free[2] / free[1]))
    assert torch.equal(class_weights(COUNTS, "inverse", 41.0), free)
    assert torch.equal(class_weights(COUNTS, "inverse", 1.0), class_weights(COUNTS, "none"))


def test_one_class_and_one_pixel() -> None:
    for scheme in get_args(Scheme):
        assert class_weights(torch.tensor([0, 1]), scheme).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        (torch.zeros(3), "at least one labelled pixel in the training images, but every pixel is void"),
        (torch.tensor([3, -1]), r"finite and >= 0, got \[3, -1\]"),
        (torch.tensor([3.0, INF]), "finite and >= 0"),
        (torch.ones(2, 2), r"expected class counts \(c,\)"),
    ],
)
def test_bad_counts_are_explained(counts: torch.Tensor, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        class_weights(counts)


def test_unknown_scheme_and_low_cap() -> None:
    with pytest.raises(UnknownName, match="did you mean 'inverse'"):
        class_weights(COUNTS, "invers")  # pyright: ignore[reportArgumentType]
    with pytest.raises(EnsError, match="option cap at least 1, got 0"):
        class_weights(COUNTS, "inverse", 0)
