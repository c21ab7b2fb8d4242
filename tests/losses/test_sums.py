"""Expressions: parsing, the canonical form, options of terms, the sum's value, the guard of the folder."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ensemble.losses
from ensemble.core.errors import EnsError, UnknownName
from ensemble.losses import LOSSES, build_loss, check_loss
from ensemble.losses.expression import loss_text

Batch = tuple[Tensor, Tensor]


def test_a_sum_is_the_sum(counts: Tensor, batch: Batch) -> None:
    value = build_loss("0.5*dice + 2e-1 * weighted-ce+ focal", counts)(*batch)
    parts = {name: build_loss(name, counts)(*batch) for name in ("dice", "weighted-ce", "focal")}
    torch.testing.assert_close(value, 0.5 * parts["dice"] + 0.2 * parts["weighted-ce"] + parts["focal"])


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_plain_name_is_itself(name: str) -> None:
    assert check_loss(name) == (name, {})
    assert check_loss(f" 1.0*{name} ") == (name, {})


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0.5*dice+.5*ce", "0.5*dice + 0.5*ce"),
        ("0.5 * dice + 0.5*ce", "0.5*dice + 0.5*ce"),
        ("+5e-1*dice\t+0.50 *ce", "0.5*dice + 0.5*ce"),
        ("2*dice", "2*dice"),
        ("1e+2*ce + 1.*dice", "100*ce + dice"),
        ("1e-8*ce + dice", "1e-08*ce + dice"),
        ("weighted-ce + 0.1*unified", "weighted-ce + 0.1*unified"),
        ("dice + ce + dice", "2*dice + ce"),
        ("0*dice + ce", "0*dice + ce"),
    ],
)
def test_canonical_form_is_one_and_stays(written: str, canonical: str) -> None:
    assert check_loss(written)[0] == canonical
    assert check_loss(canonical)[0] == canonical


@pytest.mark.parametrize(
    "written",
    ["", "  ", "+", "dice +", "+ dice", "dice ce", "dice - ce", "0.5 dice", "dice*0.5", "0.5**dice", "x*dice", "0.5*"],
)
def test_garbage_is_answered_with_the_form(written: str) -> None:
    with pytest.raises(EnsError, match=r"such as '0\.5\*dice \+ 0\.5\*weighted-ce', got '.*write coefficient\*name"):
        check_loss(written)


def test_the_error_points_at_the_place() -> None:
    with pytest.raises(EnsError, match=r"got 'ce \+ 2dice' \(from '2dice'\)"):
        check_loss("ce + 2dice")


@pytest.mark.parametrize("coefficient", ["-0.5", "nan", "inf", "-inf", "1e999"])
def test_coefficients_are_finite_and_not_negative(coefficient: str) -> None:
    with pytest.raises(EnsError, match=f"expected a finite coefficient >= 0 before 'ce', got {coefficient} in"):
        check_loss(f"dice + {coefficient}*ce")


def test_only_zeros_are_refused() -> None:
    with pytest.raises(EnsError, match="expected a coefficient above 0, got only zeros"):
        check_loss("0*dice + 0*ce")


def test_unknown_loss_gets_a_suggestion() -> None:
    for call in (lambda: check_loss("ce + 0.5*tverski"), lambda: build_loss("ce + 0.5*tverski", torch.ones(2))):
        with pytest.raises(UnknownName, match="unknown loss 'tverski'; did you mean 'tversky'"):
            call()


@pytest.mark.parametrize(
    ("expression", "typed"),
    [
        ("focal(gamma=1.5)", {"gamma": 1.5}),
        ("focal(gamma=2)", {"gamma": 2.0}),
        ("dice(smooth=1) + tversky(smooth=2)", {"dice.smooth": 1.0, "tversky.smooth": 2.0}),
        ("ce + focal( gamma = 3 )", {"focal.gamma": 3.0}),
        ("unified(per_image=yes, form=symmetric)", {"form": "symmetric", "per_image": True}),
        ("weighted-ce(cap=1e9)", {"cap": 1e9}),
    ],
)
def test_options_are_typed_and_named_by_their_terms(expression: str, typed: dict[str, Any]) -> None:
    canonical, result = check_loss(expression)
    assert result == typed
    assert [type(value) for value in result.values()] == [type(typed[key]) for key in result]
    assert check_loss(loss_text(canonical, result)) == (canonical, result), "a stored loss can be given again"


def test_the_order_of_options_does_not_matter() -> None:
    first, second = (check_loss(f"unified({text})") for text in ("delta=0.5, gamma=0.4", "gamma=0.4, delta=0.5"))
    assert list(first[1].items()) == list(second[1].items())


def test_options_reach_the_terms(counts: Tensor, batch: Batch) -> None:
    value = build_loss("dice(smooth=3) + tversky(smooth=3, alpha=1)", counts)(*batch)
    dice = build_loss("dice", counts, {"smooth": 3.0})(*batch)
    tversky = build_loss("tversky", counts, {"smooth": 3.0, "alpha": 1.0})(*batch)
    torch.testing.assert_close(value, dice + tversky)
    stored = build_loss("dice + tversky", counts, {"dice.smooth": 3.0, "tversky.smooth": 3.0, "tversky.alpha": 1.0})
    torch.testing.assert_close(stored(*batch), value)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("dice + focal(gama=1)", "unknown option 'gama' of loss 'focal'; did you mean 'gamma'"),
        ("dice(gamma=1) + focal", "unknown option 'gamma' of loss 'dice'. Known: cap, scheme, smooth"),
        ("lovasz(gamma=1)", "unknown option 'gamma' of loss 'lovasz'. Known: none"),
    ],
)
def test_unknown_options_list_the_known_ones(expression: str, text: str) -> None:
    with pytest.raises(UnknownName, match=text):
        check_loss(expression)


def test_stored_options_name_a_term() -> None:
    for key in ("smooth", "tversky.smooth"):
        with pytest.raises(EnsError, match=r"expected options as term.option for 'dice \+ focal', got"):
            build_loss("dice + focal", torch.ones(2), {key: 1.0})


@pytest.mark.parametrize("value", ["much", "true", "[1.0]"])
def test_values_of_a_wrong_type_are_refused(value: str) -> None:
    with pytest.raises(EnsError, match="expected a number for option gamma of loss 'focal', got"):
        check_loss(f"focal(gamma={value})")


def test_ranges_are_checked_without_data() -> None:
    with pytest.raises(EnsError, match="expected option gamma at least 0, got -1"):
        check_loss("ce + focal(gamma=-1)")


def test_one_loss_twice_needs_the_same_options() -> None:
    assert check_loss("focal(gamma=2) + 0.5*focal(gamma=2)") == ("1.5*focal", {"gamma": 2.0})
    with pytest.raises(EnsError, match=r"the loss 'focal' is in .* twice with different options"):
        check_loss("focal(gamma=2) + focal")


def test_the_folder_is_not_a_top_level_package() -> None:
    source = Path(ensemble.losses.__file__)
    with pytest.raises(ImportError, match=r"write `import ensemble.losses` instead of `import losses`"):
        runpy.run_path(str(source), run_name="losses")
