"""What every registered architecture promises; a new one is found here by itself."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ensemble.architectures import ARCHITECTURES
from ensemble.core.component_text import parse_given
from ensemble.core.errors import EnsError, UnknownName
from ensemble.testing.architectures import (
    ARCHITECTURE_CHECKS,
    SLOW,
    build,
    built,
    check_architecture,
    forget_networks,
    images,
)

NAMES = list(ARCHITECTURES)

every_architecture = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module", autouse=True)
def _forget_the_networks() -> Iterator[None]:
    yield
    forget_networks()


@every_architecture
@pytest.mark.parametrize(
    "check", [pytest.param(check, marks=pytest.mark.slow if check == SLOW else ()) for check in ARCHITECTURE_CHECKS]
)
def test_promise(name: str, check: str) -> None:
    ARCHITECTURE_CHECKS[check](name)


def test_an_architecture_that_breaks_promises_is_told_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_own", dict(ARCHITECTURES._own))  # pyright: ignore[reportPrivateUsage]

    @ARCHITECTURES.register("halved")
    def halved(in_channels: int, classes: int, *, width: int = 4) -> nn.Module:
        """Logits of half the size."""
        network = nn.Conv2d(in_channels, classes, 3, stride=2, padding=1)
        return network

    with pytest.raises(AssertionError, match=r"architecture 'halved' breaks 5 of 8 promises") as caught:
        check_architecture("halved")
    text = str(caught.value)
    assert "logits have the size of the images: images of (32, 32) give logits (2, 5, 16, 16)" in text
    assert "bfloat16 and channels last work: AssertionError at `assert logits_nchw.shape == (2, 5, 33, 64)`" in text
    check_architecture("unet-baseline", leave_out=[SLOW])


@given(data=st.data())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_size_in_evaluation(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    height, width = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 90))
    with torch.no_grad():
        assert built(name).eval()(images(1, 1, height, width)).shape == (1, 5, height, width)


@every_architecture
def test_wrong_images_are_named(name: str) -> None:
    network = built(name).eval()
    with pytest.raises(EnsError, match=r"shape \(n, 1, h, w\), got \(1, 3, 64, 64\)"):
        network(images(1, 3, 64, 64))
    with pytest.raises(EnsError, match="shape"):
        network(images(1, 64, 64))


def bad_values(annotation: Any) -> list[Any]:
    """Values that no option of this type takes; none for a type such as str, which may hold anything."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ["no-such-kind"]
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return bad_values(inner[0]) if len(inner) == 1 else []
    bad = {bool: ["perhaps"], int: [-4, 2.5, True, "many"], float: [-0.1, float("nan"), "much"]}
    return bad.get(annotation, [])


@every_architecture
def test_wrong_options_are_named(name: str) -> None:
    with pytest.raises(EnsError, match="in_channels"):
        build(name, 0)
    with pytest.raises(EnsError, match="classes"):
        build(name, 1, 1)
    for option, parameter in ARCHITECTURES.options(name).items():
        for value in bad_values(parameter.annotation):
            with pytest.raises(EnsError, match=option):
                build(name, **{option: value})


def test_options_have_types_for_the_command_line() -> None:
    assert parse_given("unet(filters=8, dropout=0.1, up=bilinear)", ARCHITECTURES).options == {
        "filters": 8,
        "dropout": 0.1,
        "up": "bilinear",
    }
    with pytest.raises(UnknownName, match="did you mean 'bilinear'"):
        parse_given("unet(up=bilinera)", ARCHITECTURES)
