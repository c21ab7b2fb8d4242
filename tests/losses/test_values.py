"""Four pixels worked by hand, and what each option does to them.

Probabilities of class 0 / 1: .8/.2 and .6/.4 on pixels of class 0, .3/.7 on a pixel of class 1, .5/.5 under void.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble.errors import EnsError, UnknownName
from ensemble.losses import LOSSES, build_loss
from ensemble.losses.masking import VOID, safe_power

LOGITS = torch.tensor([[0.8, 0.6, 0.3, 0.5], [0.2, 0.4, 0.7, 0.5]], dtype=torch.float64).log().view(1, 2, 2, 2)
LABELS = torch.tensor([[[0, 0], [1, VOID]]])
COUNTS = torch.tensor([300, 100])  # inverse weights 0.5 and 1.5; class 1 is rare

HAND: list[tuple[str, dict[str, Any], float]] = [
    ("ce", {}, 0.363548),  # (.223144 + .510826 + .356675) / 3
    ("weighted-ce", {}, 0.360799),  # (.5 * .733970 + 1.5 * .356675) / 2.5
    ("weighted-ce", {"scheme": "none"}, 0.363548),
    ("weighted-ce", {"cap": 2.0}, 0.361830),  # (.733970 + 2 * .356675) / 4
    ("focal", {}, 0.0409195),  # (.04 * .223144 + .16 * .510826 + .09 * .356675) / 3
    ("focal", {"gamma": 0.0}, 0.363548),
    ("focal", {"scheme": "inverse"}, 0.0311603),  # (.5 * .0906578 + 1.5 * .0321007) / 3
    ("dice", {}, 0.317274),  # (1 - 2.8/3.7 + 1 - 1.4/2.3) / 2
    ("dice", {"smooth": 1.0}, 0.232108),  # (1 - 3.8/4.7 + 1 - 2.4/3.3) / 2
    ("tversky", {}, 0.312407),  # (.51/1.91 + .39/1.09) / 2
    ("tversky", {"alpha": 0.5, "beta": 0.5}, 0.317274),
    ("tversky", {"alpha": 1.0, "beta": 0.0}, 0.319005),  # (.3/1.7 + .6/1.3) / 2
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


@pytest.mark.parametrize("name", ["dice", "tversky"])
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


@pytest.mark.parametrize(
    ("name", "option", "value", "text"),
    [
        ("weighted-ce", "cap", 0.5, "expected option cap at least 1, got 0.5; change it"),
        ("weighted-ce", "cap", float("nan"), "expected option cap at least 1, got nan"),
        ("focal", "gamma", -1.0, "expected option gamma at least 0, got -1.0"),
        ("focal", "gamma", float("inf"), "expected option gamma at least 0, got inf"),
        ("focal", "cap", 0.0, "expected option cap at least 1"),
        ("dice", "smooth", -1e-3, "expected option smooth at least 0"),
        ("tversky", "alpha", -0.1, "expected option alpha at least 0"),
        ("tversky", "beta", -0.1, "expected option beta at least 0"),
        ("tversky", "smooth", -0.1, "expected option smooth at least 0"),
        ("unified", "weight", 1.5, "expected option weight from 0 to 1, got 1.5"),
        ("unified", "delta", -0.1, "expected option delta from 0 to 1, got -0.1"),
        ("unified", "gamma", 1.0, r"expected option gamma from 0 to 1 \(exclusive\), got 1.0"),
    ],
)
def test_options_out_of_range_are_named(name: str, option: str, value: float, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        LOSSES.create(name, COUNTS, **{option: value})


def test_tversky_refuses_two_prices_of_zero() -> None:
    with pytest.raises(EnsError, match="expected option alpha or beta above 0"):
        LOSSES.create("tversky", COUNTS, alpha=0.0, beta=0.0)


def test_unified_refuses_an_unknown_form() -> None:
    with pytest.raises(UnknownName, match="did you mean 'symmetric'"):
        LOSSES.create("unified", COUNTS, form="symetric")
    # A factory called from Python, past the registry's own check of texts:
    with pytest.raises(UnknownName, match="did you mean 'symmetric'"):
        LOSSES["unified"](COUNTS, form="symetric")


@pytest.mark.parametrize("name", ["weighted-ce", "focal", "unified"])
def test_counts_without_a_labelled_pixel_are_refused(name: str) -> None:
    with pytest.raises(EnsError, match="at least one labelled pixel in the training fold"):
        LOSSES.create(name, torch.zeros(3))


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
