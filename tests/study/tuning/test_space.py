"""What is looked for: every default lies in its space, what the user sets is left alone, values become arguments."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal

import pytest

from ensemble.architectures import ARCHITECTURES
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import Between, OneOf, Registry
from ensemble.losses import LOSSES
from ensemble.study.tuning import search_space, train_arguments

SEARCHED = [
    pytest.param(registry, name, option, search, id=f"{name}.{option}")
    for registry in (ARCHITECTURES, LOSSES)
    for name in registry
    for option, search in registry.space(name).items()
]


@pytest.mark.parametrize(("registry", "name", "option", "search"), SEARCHED)
def test_a_space_fits_its_option(registry: Registry[Any], name: str, option: str, search: Between | OneOf) -> None:
    parameter = registry.options(name)[option]
    assert parameter.default in search
    if isinstance(search, OneOf):
        assert len(set(search.choices)) > 1
        assert typing.get_origin(parameter.annotation) is not Literal or set(search.choices) <= set(
            typing.get_args(parameter.annotation)
        )
    else:
        assert parameter.annotation in (int, float)
        assert search.low < search.high
        assert not search.log or search.low > 0
        assert (type(search.low), type(search.high)) == (parameter.annotation, parameter.annotation)


def test_the_u_net_family_shares_one_space() -> None:
    assert set(ARCHITECTURES.space("attention-unet")) == {"filters", "depth", "dropout"}
    assert ARCHITECTURES.space("attention-unet") == ARCHITECTURES.space("unet-baseline")
    assert ARCHITECTURES.options("unet")["filters"].annotation is int  # the command line sees the plain type


def test_an_option_without_a_space_is_not_looked_for() -> None:
    shapes = Registry[int]("shape")

    @shapes.register("square")
    def square(*, side: Annotated[int, Between(1, 9)] = 3, note: Annotated[str, "a remark"] = "", size: int = 1) -> int:
        """A square."""
        return side * size

    assert shapes.space("square") == {"side": Between(1, 9)}
    assert square() == 3


def test_what_the_user_sets_is_not_looked_for() -> None:
    arguments: dict[str, Any] = {"arch": "unet", "loss": "focal"}
    everything = set(search_space(arguments, 0.002)) - {"weight_decay"}
    assert everything == {
        "arch.filters", "arch.depth", "arch.dropout", "loss.gamma", "loss.scheme", "lr", "augment"
    }  # fmt: skip
    given = {"lr": 0.1, "augment": "none", "arch": "unet(depth=3)", "loss": "focal(gamma=1)"}
    assert set(search_space(arguments | given, 0.002)) - {"weight_decay"} == {
        "arch.filters",
        "arch.dropout",
        "loss.scheme",
    }


def test_terms_of_a_sum_have_options_of_their_own() -> None:
    asked = {"arch": "unet", "loss": "0.5*dice + focal(scheme=none)"}
    knobs = search_space(asked, 0.002)
    assert [name for name in knobs if name.startswith("loss.")] == ["loss.dice.scheme", "loss.focal.gamma"]
    made = train_arguments(asked, {"loss.focal.gamma": 1.23456})
    assert made == {"arch": "unet", "loss": "0.5*dice + focal(scheme=none, gamma=1.23)"}


def test_values_are_added_to_what_is_set_and_change_nothing_in_place() -> None:
    arguments = {"arch": "unet(up=bilinear)"}
    made = train_arguments(arguments, {"arch.depth": 3, "augment": "full"})
    assert made == {"arch": "unet(up=bilinear, depth=3)", "augment": "full"}
    assert arguments == {"arch": "unet(up=bilinear)"}


def test_augmentations_grow_in_strength_and_include_the_default() -> None:
    option = search_space({"arch": "unet", "loss": "ce"}, 0.002)["augment"]
    assert option.search == OneOf(("none", "hflip", "flips", "geometric", "full"))
    assert option.default in option.search


def test_wrong_names_and_wrong_spaces_are_told() -> None:
    with pytest.raises(UnknownName, match="did you mean 'focal'"):
        search_space({"arch": "unet", "loss": "focl"}, 0.002)

    @LOSSES.register("lost")
    def lost(counts_c: Any, *, power: Annotated[float, Between(2.0, 3.0)] = 1.0) -> Any:
        """A loss whose author changed the default only."""

    try:
        with pytest.raises(
            EnsError, match=r"the default of loss.power is 1.0, which is outside its search range: 2 to 3"
        ):
            search_space({"arch": "unet", "loss": "lost"}, 0.002)
    finally:
        del LOSSES._own["lost"]  # pyright: ignore[reportPrivateUsage]
