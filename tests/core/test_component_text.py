"""The grammar of components: names with options, sums, lists, nested components, quotes, and every mistake in them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.core.component_text import (
    ComponentCall,
    format_component,
    parse_component,
    parse_given,
    split_component,
    split_sum,
)
from ensemble.core.errors import EnsError
from ensemble.core.registry import Registry


def test_options_of_every_plain_type_are_written_and_read() -> None:
    registry: Registry[Any] = Registry("thing")

    @registry.register("all")
    def everything(*, a: int = 1, b: float = 0.5, c: bool = True, d: str = "x", e: int | None = None) -> None:
        """All types."""

    assert str(parse_component("all", registry)) == "all(a=1, b=0.5, c=true, d=x, e=none)"
    call = parse_component("all(a=2, b=3, c=no, d=y, e=4)", registry)
    assert call == ComponentCall("all", {"a": 2, "b": 3.0, "c": False, "d": "y", "e": 4})
    assert parse_component(str(call), registry) == call

    @registry.register("asks")
    def asks(*, size: int) -> None:
        """An option without a default."""

    with pytest.raises(EnsError, match=r"the thing 'asks' needs the option size; write asks\(size=...\)"):
        parse_component("asks", registry)


def test_a_plus_inside_brackets_separates_nothing() -> None:
    assert split_sum("a(x=1e+3)+b + c(y=+1, z=2)") == ["a(x=1e+3)", "b", "c(y=+1, z=2)"]


def test_a_plus_inside_a_number_separates_nothing() -> None:
    assert split_sum("1e+3*a + b") == ["1e+3*a", "b"]
    assert split_sum("+0.5*a + +2.E+1*b") == ["+0.5*a", "+2.E+1*b"]
    assert split_sum("made + b") == ["made", "b"]  # the e of a name is no exponent


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("unet", "unet", {}),
        (" unet ( ) ", "unet", {}),
        ("unet(filters=8, depth = 3)", "unet", {"filters": "8", "depth": "3"}),
        ("w(weights=[2, 1, 1], x=1)", "w", {"weights": "[2, 1, 1]", "x": "1"}),
        ("c(first=unet(filters=8, depth=2), second=x)", "c", {"first": "unet(filters=8, depth=2)", "second": "x"}),
        ("u(file='a, (b).pt', note=\"it's\")", "u", {"file": "a, (b).pt", "note": "it's"}),
        ("u(a=b=c)", "u", {"a": "b=c"}),
    ],
)
def test_names_and_options_are_split(text: str, name: str, options: dict[str, str]) -> None:
    assert split_component(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected an architecture written as name or name\(option=value, ...\), got ''"),
        ("unet(filters=8", r"^the bracket \( in 'unet\(filters=8' is never closed; add \)$"),
        ("unet(filters=8))", r"^the bracket \) in 'unet\(filters=8\)\)' was never opened; remove it$"),
        ("unet(filters=[8)", r"^the bracket \[ in 'unet\(filters=\[8\)' is never closed; add \]$"),
        ("unet(note='a)", r"^the quote ' in 'unet\(note='a\)' is never closed; add '$"),
        ("unet()()", "check the name, the brackets and the commas"),
        ("unet filters", "check the name, the brackets"),
        ("(filters=8)", "check the name, the brackets"),
        ("unet(8)", r"expected the options of architecture 'unet' as name=value, got '8'; write for example unet\("),
        ("unet(=8)", "as name=value, got '=8'"),
        ("unet(a=1, a=2)", "the option a of architecture 'unet' is given twice"),
    ],
)
def test_text_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        split_component(text, "architecture")


def test_only_given_options_are_returned_and_typed() -> None:
    registry: Registry[Any] = Registry("thing")

    @registry.register("all")
    def everything(*, sizes: tuple[int, ...] = (), inner: str = "x", rate: float | None = None) -> None:
        """All types."""

    call = parse_given("all(sizes=[3, 2], inner=y(a=1, b=2))", registry)
    assert call == ComponentCall("all", {"sizes": (3, 2), "inner": "y(a=1, b=2)"})
    assert str(call) == "all(sizes=[3, 2], inner=y(a=1, b=2))"
    assert parse_component("all", registry).options == {"sizes": (), "inner": "x", "rate": None}


VALUES = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="'"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), VALUES, max_size=3))
def test_what_is_written_is_read_back(options: dict[str, str]) -> None:
    assert split_component(format_component("name", options)) == ("name", options)


def test_a_value_with_both_quotes_and_a_comma_cannot_be_written() -> None:
    with pytest.raises(EnsError, match="contains both kinds of quotes"):
        format_component("name", {"file": 'it\'s, "this"'})
