"""Four pixels worked by hand, and what each option does to them.

Probabilities of class 0 / 1: .8/.2 and .6/.4 on pixels of class 0, .3/.7 on a pixel of class 1, .5/.5 under void.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble.core.void import VOID
from ensemble.losses import build_loss
from ensemble.losses.boundary import distance_to
from ensemble.losses.masking import safe_power

LOGITS = torch.tensor([[0.8, 0.6, 0.3, 0.5], [0.2, 0.4, 0.7, 0.5]], dtype=torch.float64).log().view(1, 2, 2, 2)
LABELS = torch.tensor([[[0, 0], [1, VOID]]])
COUNTS = torch.tensor([300, 100])  # inverse weights 0.5 and 1.5; class 1 is rare

HAND: list[tuple[str, dict[str, Any], float]] = [
    ("ce", {}, 0.363548),  # (.223144 + .510826 + .356675) / 3
    ("ce", {"smoothing": 0.2}, 0.451517),  # (.9 nll + .1 of the other): (.361773 + .551372 + .441405) / 3
    ("weighted-ce", {}, 0.360799),  # (.5 * .733970 + 1.5 * .356675) / 2.5
    ("weighted-ce", {"scheme": "none"}, 0.363548),
    ("weighted-ce", {"cap": 2.0}, 0.361830),  # (.733970 + 2 * .356675) / 4
    ("weighted-ce", {"smoothing": 0.2}, 0.500342),  # A: .9 * .5 * .223144 + .1 * 1.5 * 1.609438, B, C: 1.250856 / 2.5
    ("focal", {}, 0.0409195),  # (.04 * .223144 + .16 * .510826 + .09 * .356675) / 3
    ("focal", {"gamma": 0.0}, 0.363548),
    ("focal", {"scheme": "inverse"}, 0.0311603),  # (.5 * .0906578 + 1.5 * .0321007) / 3
    ("focal", {"smoothing": 0.2}, 0.101823),  # (.9 * .04 * .223144 + .1 * .64 * 1.609438 + .106545 + .087885) / 3
    ("dice", {}, 0.317274),  # (1 - 2.8/3.7 + 1 - 1.4/2.3) / 2
    ("dice", {"smooth": 1.0}, 0.232108),  # (1 - 3.8/4.7 + 1 - 2.4/3.3) / 2
    ("dice", {"scheme": "inverse"}, 0.354289),  # (.5 * .243243 + 1.5 * .391304) / 2
    ("log-cosh-dice", {}, 0.049510),  # x^2 / 2 - x^4 / 12 + x^6 / 45 at x = .317274
    ("log-cosh-dice", {"scheme": "inverse"}, 0.061488),  # the same at .354289
    ("generalized-dice", {}, 0.348837),  # FP + FN .9, .9; TP 1.4, .7; pixels 2, 1: 1.125 / (1.125 + 2 * 1.05)
    ("generalized-dice", {"power": 1.0}, 0.325301),  # 1.35 / (1.35 + 2 * 1.4)
    ("generalized-dice", {"power": 0.0}, 0.3),  # 1.8 / (1.8 + 2 * 2.1)
    ("jaccard", {}, 0.476902),  # (1 - 1.4/2.3 + 1 - .7/1.6) / 2
    ("jaccard", {"smooth": 1.0}, 0.309441),  # (.9/3.3 + .9/2.6) / 2
    ("jaccard", {"scheme": "inverse"}, 0.519701),  # (.5 * .391304 + 1.5 * .5625) / 2
    ("lovasz", {}, 1 / 3),  # class 0: .4/2 + .3/6 + .2/3 = .316667; class 1: .4/2 + .3/2 = .35
    ("tversky", {}, 0.312407),  # (.51/1.91 + .39/1.09) / 2
    ("tversky", {"alpha": 0.5, "beta": 0.5}, 0.317274),
    ("tversky", {"alpha": 1.0, "beta": 0.0}, 0.319005),  # (.3/1.7 + .6/1.3) / 2
    ("tversky", {"scheme": "inverse"}, 0.335102),  # (.5 * .51/1.91 + 1.5 * .39/1.09) / 2
    ("focal-tversky", {}, 0.417038),  # ((.51/1.91)^.75 + (.39/1.09)^.75) / 2
    ("focal-tversky", {"gamma": 1.0}, 0.312407),
    ("focal-tversky", {"gamma": 2.0, "scheme": "inverse"}, 0.577806),  # (.5 * .516736 + 1.5 * .598162) / 2
    ("poly", {}, 0.663548),  # .363548 + (.2 + .4 + .3) / 3
    ("poly", {"epsilon": -1.0}, 0.063548),
    ("poly", {"scheme": "inverse"}, 0.660799),  # .360799 + (.5 * .6 + 1.5 * .3) / 2.5
    ("poly", {"smoothing": 0.2}, 0.791517),  # .451517 + (.26 + .42 + .34) / 3
    ("ohem-ce", {"threshold": 0.75}, 0.433750),  # (.510826 + .356675) / 2
    ("ohem-ce", {"threshold": 0.65}, 0.510826),
    ("ohem-ce", {"threshold": 0.5}, 0.510826),  # none is that wrong, so the one worst of three
    ("ohem-ce", {"threshold": 0.0, "keep": 0.5}, 0.433750),  # 1.5 pixels rounded up
    ("ohem-ce", {"threshold": 1.0}, 0.363548),
    ("ohem-ce", {"threshold": 0.75, "scheme": "inverse"}, 0.395213),  # (.5 * .510826 + 1.5 * .356675) / 2
    # (.2 * 1 + .4 * (sqrt 2 + sqrt 2 - 1) + .3 * 1) / 3 / reach; the diagonal is cut at 1 in the second
    ("boundary", {}, 0.0256536),
    ("boundary", {"reach": 1}, 0.3),
    ("boundary", {"reach": 2}, 0.205228),
    ("unified", {}, 0.280782),  # (.255319 + sqrt .375) / 4 + (.039917 + .129230 + .214005) / 6
    ("unified", {"form": "symmetric"}, 0.327143),  # (sqrt .255319 + sqrt .375) / 4 + (.039917 + .129230 + .117215) / 6
    ("unified", {"weight": 1.0, "gamma": 0.0}, 0.315160),  # (.255319 + .375) / 2
    ("unified", {"weight": 0.0, "gamma": 0.0}, 0.169198),  # (.4 * .733970 + .6 * .356675) / 3
]


@pytest.mark.parametrize(("name", "options", "expected"), HAND)
def test_value_by_hand(name: str, options: dict[str, Any], expected: float) -> None:
    value = build_loss(name, COUNTS, options)(LOGITS, LABELS)
    assert float(value) == pytest.approx(expected, abs=2e-6)


def test_unified_takes_the_class_with_fewest_pixels_above_zero_as_the_rare_one() -> None:
    logits = torch.cat([torch.full_like(LOGITS[:, :1], -1e4), LOGITS], 1)
    labels = torch.where(LABELS == VOID, VOID, LABELS + 1)
    value = build_loss("unified", torch.tensor([0, 300, 100]))(logits, labels)
    assert float(value) == pytest.approx(0.280782, abs=2e-6)
    swapped = build_loss("unified", torch.tensor([100, 300]))(LOGITS, LABELS)
    assert abs(float(swapped) - 0.280782) > 1e-3


def test_an_absent_class_is_no_term_of_the_mean() -> None:
    # Class 1 has no label: 1 - 2 * 1.4 / (1.4 + 2) for class 0 alone.
    labels = torch.tensor([[[0, 0], [VOID, VOID]]])
    assert float(build_loss("dice", COUNTS)(LOGITS, labels)) == pytest.approx(1 - 2.8 / 3.4, abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal-tversky"])
@pytest.mark.parametrize("label", [0, VOID])
def test_an_absent_class_is_finite_without_smoothing(name: str, label: int) -> None:
    # A saturated prediction gives the absent class 0 / 0.
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1).requires_grad_()
    value = build_loss(name, COUNTS, {"smooth": 0.0})(logits, torch.tensor([[[label]]]))
    value.backward()
    assert value == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_unified_per_image_averages_over_images_and_present_classes() -> None:
    two = torch.cat([LOGITS, LOGITS.flip(1)]), torch.cat([LABELS, LABELS])
    options = {"per_image": True, "weight": 1.0, "gamma": 0.0}
    each = [build_loss("unified", COUNTS, options)(LOGITS, LABELS)]
    each.append(build_loss("unified", COUNTS, options)(LOGITS.flip(1), LABELS))
    value = build_loss("unified", COUNTS, options)(*two)
    torch.testing.assert_close(value, torch.stack(each).mean())
    assert not torch.isclose(value, build_loss("unified", COUNTS, {**options, "per_image": False})(*two))


@pytest.mark.parametrize("exponent", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_safe_power_is_the_power_with_a_finite_slope(exponent: float) -> None:
    base: Tensor = torch.tensor([0.0, 1e-9, 1e-6, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    value = safe_power(base, exponent)
    torch.testing.assert_close(value[2:], base[2:] ** exponent)
    assert value[0] == (1.0 if exponent == 0 else 0.0)
    assert (value.detach().diff() >= 0).all()
    value.sum().backward()
    assert base.grad is not None
    assert base.grad.isfinite().all()


def test_hard_pixels_alone_have_a_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    build_loss("ohem-ce", COUNTS, {"threshold": 0.65})(logits, LABELS).backward()
    assert logits.grad is not None
    assert (logits.grad[0] != 0).any(0).tolist() == [[False, True], [False, False]]


def test_equally_hard_pixels_stay_together() -> None:
    logits = torch.tensor([0.0, 1.0, 0.0, 3.0]).view(1, 1, 1, 4)
    logits = torch.cat([torch.zeros_like(logits), logits], 1).requires_grad_()
    build_loss("ohem-ce", COUNTS, {"threshold": 0.0, "keep": 0.25})(logits, torch.ones(1, 1, 4).long()).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1, 0].tolist() == [-0.25, 0.0, -0.25, 0.0]


def test_boundary_prices_a_mistake_by_its_distance() -> None:
    # Class 1 is one column of eight; the same probability of it costs more the further away it is.
    labels = torch.zeros(1, 4, 8).long()
    labels[..., 0] = 1
    costs: list[float] = []
    for column in range(1, 8):
        logits = 100.0 * torch.stack([1.0 - labels, labels], 1)
        logits[..., column] = logits[..., column].flip(1)
        costs.append(float(build_loss("boundary", COUNTS, {"reach": 6})(logits, labels)))
    # Pixel at distance d: d to class 1, plus d - 1 deep in class 0; both end at 6. Four of 32 pixels.
    assert costs == pytest.approx([(min(d, 6) + min(d, 6) - 1) / 6 / 8 for d in range(1, 8)])


def test_void_is_no_boundary() -> None:
    # One pixel of class 1 at each end, void between them and class 0: distances run across the void.
    labels = torch.tensor([[[1, VOID, VOID, 0, 0, VOID, 1]]])
    logits = 100.0 * torch.stack([labels == 1, labels == 0], 1).float()  # everything wrong
    expected = (3 + 2 + (3 + 2) + (2 + 1) + 2 + 1) / 4 / 16
    assert float(build_loss("boundary", COUNTS)(logits, labels)) == pytest.approx(expected)
    # Turning void into class 0 moves the boundary.
    filled = torch.where(labels == VOID, 0, labels)
    assert float(build_loss("boundary", COUNTS)(logits, filled)) != pytest.approx(expected)


@pytest.mark.parametrize(("shape", "reach"), [((9, 13), 127), ((9, 13), 5), ((1, 20), 4), ((7, 1), 1)])
def test_distances_are_euclidean(shape: tuple[int, int], reach: int) -> None:
    from scipy.ndimage import distance_transform_edt

    masks = torch.rand(3, 2, *shape, generator=torch.Generator().manual_seed(6)) < 0.1
    masks[0, 0], masks[1, 1] = False, True
    expected = torch.full(masks.shape, float(reach))
    for n, c in [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]:
        if masks[n, c].any():
            exact = distance_transform_edt(~masks[n, c].numpy())
            expected[n, c] = torch.as_tensor(exact).float().clamp_max(reach)
    torch.testing.assert_close(distance_to(masks, reach), expected)
