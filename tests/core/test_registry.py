"""The registry's manners: suggestions, typed options, no second factory of one name; and the errors for people."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from ensemble.core.component_text import parse_given
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import Registry, convert


@pytest.fixture
def shapes() -> Registry[dict[str, Any]]:
    registry: Registry[dict[str, Any]] = Registry("shape")

    @registry.register("square")
    def square(  # pyright: ignore[reportUnusedFunction]
        side: int,
        *,
        scale: float = 1.0,
        count: int = 1,
        filled: bool = False,
        colour: Literal["red", "green"] = "red",
        name: str | None = None,
        sizes: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        """A square.

        Its second line is not shown.
        """
        rest = {"filled": filled, "colour": colour, "name": name, "sizes": sizes}
        return {"side": side, "scale": scale, "count": count, **rest}

    @registry.register("circle")
    def circle() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """A circle."""
        return {}

    return registry


def test_names_come_in_the_order_they_were_registered(shapes: Registry[Any]) -> None:
    assert list(shapes) == ["square", "circle"]
    assert len(shapes) == 2
    assert "circle" in shapes
    assert "cube" not in shapes
    assert shapes.summary("square") == "A square."


def test_register_returns_the_factory(shapes: Registry[Any]) -> None:
    def line() -> int:
        """A line."""
        return 1

    assert shapes.register("line")(line) is line
    assert shapes["line"] is line


def test_a_second_factory_of_one_name_is_refused(shapes: Registry[Any]) -> None:
    def again() -> int:
        """Another one."""
        return 0

    with pytest.raises(EnsError, match="shape 'square' is registered twice; give the second one another name"):
        shapes.register("square")(again)
    assert shapes["square"] is not again


def test_a_factory_without_docstring_is_refused(shapes: Registry[Any]) -> None:
    with pytest.raises(EnsError, match="shape 'line' has no docstring"):
        shapes.register("line")(lambda: 1)
    assert "line" not in shapes


@pytest.mark.parametrize("act", [lambda r: r["squre"], lambda r: r.create("squre", 1), lambda r: r.summary("squre")])
def test_an_unknown_name_gets_a_suggestion(shapes: Registry[Any], act: Any) -> None:
    with pytest.raises(UnknownName, match=r"^unknown shape 'squre'; did you mean 'square'\? Known: circle, square$"):
        act(shapes)


def test_options_are_the_keyword_only_parameters_with_types(shapes: Registry[Any]) -> None:
    options = shapes.options("square")
    assert list(options) == ["scale", "count", "filled", "colour", "name", "sizes"]
    assert options["scale"].annotation is float
    assert options["count"].default == 1
    assert shapes.options("circle") == {}


def test_texts_become_what_the_signature_says(shapes: Registry[Any]) -> None:
    text = "square(scale=2, count = 3, filled=Yes, colour=green, name=none, sizes=[1, 2,3])"
    typed = parse_given(text, shapes).options
    assert typed == {"scale": 2.0, "count": 3, "filled": True, "colour": "green", "name": None, "sizes": (1, 2, 3)}
    assert type(typed["scale"]) is float
    assert parse_given("square(name=a=b)", shapes).options == {"name": "a=b"}
    assert shapes.create("square", 4, **typed) == {"side": 4, **typed}
    assert shapes.create("square", 4, count="5")["count"] == 5


@pytest.mark.parametrize(
    ("pair", "text"),
    [
        (
            "cuont=3",
            "unknown option 'cuont' of shape 'square'; did you mean 'count'.*Known: colour, count, filled",
        ),
        ("side=3", "unknown option 'side' of shape 'square'"),
        ("count=3.5", "expected a whole number for option count of shape 'square', got '3.5'"),
        ("scale=big", "expected a number for option scale of shape 'square', got 'big'"),
        ("scale=inf", "expected a finite number for option scale of shape 'square', got 'inf'; give a very"),
        ("scale=nan", "expected a finite number for option scale of shape 'square', got 'nan'"),
        ("filled=2", "expected true or false for option filled of shape 'square', got '2'"),
        ("colour=gren", "unknown value 'gren' for option colour of shape 'square'; did you mean 'green'"),
        ("sizes=[1,b]", "expected a whole number for option sizes of shape 'square', got 'b'"),
        (
            "count",
            r"expected the options of shape 'square' as name=value, got 'count'; write for example square\(option=3\)",
        ),
        ("=3", "expected the options of shape 'square' as name=value, got '=3'"),
    ],
)
def test_bad_options_say_what_was_expected(shapes: Registry[Any], pair: str, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        parse_given(f"square({pair})", shapes)


def test_an_option_of_a_factory_without_options(shapes: Registry[Any]) -> None:
    with pytest.raises(UnknownName, match=r"unknown option 'scale' of shape 'circle'\. Known: none"):
        shapes.check_options("circle", {"scale": 1})


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("1", bool, True),
        ("False", bool, False),
        ("no", bool, False),
        ("1e-3", float, 0.001),
        ("none", float | None, None),
        ("0.5", float | None, 0.5),
        ("none", str, "none"),
        ("2", Literal[1, 2], 2),
        ("0.5,1", tuple[float, ...], (0.5, 1.0)),
        ("0.5..2", tuple[float, float], (0.5, 2.0)),
    ],
)
def test_conversions(text: str, annotation: Any, value: Any) -> None:
    converted = convert(text, annotation, "x")
    assert converted == value
    assert type(converted) is type(value)


# ---------------------------------------------------------------- errors


def test_errors_for_people_are_value_errors() -> None:
    assert issubclass(EnsError, ValueError)
    assert issubclass(UnknownName, EnsError)


def test_nothing_close_means_no_suggestion() -> None:
    assert str(UnknownName("loss", "zzz", ["dice", "ce"])) == "unknown loss 'zzz'. Known: ce, dice"
    assert str(UnknownName("loss", "zzz", [])) == "unknown loss 'zzz'. Known: none"


def test_capitals_do_not_hide_a_suggestion() -> None:
    assert "did you mean 'tversky'?" in str(UnknownName("loss", "TVERSKI", ["dice", "tversky"]))


def test_of_many_names_the_closest_are_listed() -> None:
    names = [f"net{number}" for number in range(12)]
    assert str(UnknownName("thing", "nett", names)).endswith(f"Known: {', '.join(sorted(names))}")
    text = str(UnknownName("thing", "unett", [*names, "unet"], where="of 'x'", listing="`ens list things`"))
    assert text.startswith("unknown thing 'unett' of 'x'; did you mean 'unet'? Known: unet, net")
    assert text.endswith(" and 7 more: `ens list things`")
    assert text.count(", ") == 5
