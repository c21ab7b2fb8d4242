"""The description of a data set: what is accepted, what is refused, and the way to TOML and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.core.errors import EnsError
from ensemble.data.description import Description, Part, read_description

TRAIN = Part(images=("i/{id}.*",), masks="m/{id}.*")


def described(**more: Any) -> Description:
    return Description(train=TRAIN, **more)


@pytest.mark.parametrize(
    "description",
    [
        described(),
        described(classes={"a": (0, 3), "b": (7,)}, void=(255,), root="../x", bands=(4, 3, 2), no_data=-9999.0),
        described(coding="colours", classes={"big rock": ("#FF0000",), "ü [x]": ("#00ff00", "#0000ff")}),
        described(
            val=Part(images=("v/{id}_0.png", "v/{id}_1.png"), masks="n/{id}.png", ids="val.txt"),
            test=Part(images=("t/{id}.*",)),
            group_pattern=r"^(\d+)_",
            split="split.csv",
        ),
    ],
)
def test_toml_and_back(tmp_path: Path, description: Description) -> None:
    path = tmp_path / "d.toml"
    path.write_text(description.to_toml(["a comment"]), encoding="utf-8")
    assert read_description(path) == description
    assert path.read_text(encoding="utf-8").startswith("# a comment\n")


SETTINGS = ("void", "no_data", "coding", "group_pattern")  # refused as names of classes: they stand in the wrong table
NAMES = st.text(min_size=1).filter(lambda name: name.strip() and name not in SETTINGS)


@given(st.dictionaries(NAMES, st.integers(0, 65535), min_size=2, max_size=20))
def test_any_name_and_id_survives_toml(tmp_path_factory: pytest.TempPathFactory, classes: dict[str, int]) -> None:
    values = list(dict.fromkeys(classes.values()))
    if len(values) < 2:
        return
    description = described(classes={name: (value,) for name, value in zip(classes, values, strict=False)})
    path = tmp_path_factory.mktemp("toml") / "d.toml"
    path.write_text(description.to_toml(), encoding="utf-8", newline="\n")
    assert read_description(path) == description


def test_values_become_numbers_of_classes() -> None:
    ids = described(classes={"road": (3, 7), "car": (26,)}, void=(0, 255))
    assert ids.indices == {3: 0, 7: 0, 26: 1, 0: 255, 255: 255}
    assert ids.written == (3, 26)
    colours = described(coding="colours", classes={"a": ("#FF0000",), "b": ("#00ff00",)}, void=("#000000",))
    assert colours.indices == {"#ff0000": 0, "#00ff00": 1, "#000000": 255}
    assert colours.written == (0, 1)
    assert colours.colours == ("#ff0000", "#00ff00")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"classes": {"a": 0, "b": 0}}, "the value 0 is given to 'a' and to 'b'; keep one"),
        ({"classes": {"a": 0, "b": 1}, "void": [1]}, "the value 1 is given to 'b' and to 'void'"),
        ({"classes": {"a": 0}}, r"2 to 255 classes in \[classes\], got 1; void is no class"),
        ({"classes": {"a": 0, "b": 70000}}, "whole numbers from 0 to 65535 for b, got 70000"),
        ({"classes": {"a": 0, "b": "#ff0000"}}, "whole numbers from 0 to 65535 for b, got '#ff0000'"),
        ({"coding": "colours", "classes": {"a": "#ff0000", "b": "green"}}, "a colour such as '#ff0000' for b, got 'gr"),
        ({"coding": "colours"}, r"a table \[classes\] with the values of each class, found none"),
        ({"coding": "alpha"}, r"table \[classes\] .*, found none; add it: background = 0 and object = 255"),
        ({"val": {"images": "v/{id}.png"}}, "the pattern of the masks as val.masks, found none; add it"),
        ({"group_pattern": "x(.)(.)"}, r"one pair of brackets around the group in group_pattern, such as '.*', got 2"),
        ({"group_pattern": "x("}, "expected a regular expression as group_pattern"),
        ({"groups": "g.csv", "group_pattern": "(.)"}, "groups or group_pattern, got both"),
        ({"bands": [0, 1]}, r"bands as numbers from 1 on, got \[0, 1\]"),
        ({"classes": {"a": 0, "b": 3.5}}, "classes.b: expected whole numbers or colours, got 3.5"),
        ({"classes": {"a": 0, "b": True}}, "classes.b: expected whole numbers or colours, got true"),
        ({"val": {"images": [], "masks": "v/{id}.png"}}, "the pattern of the images as val.images, found none; add it"),
        ({"colour": 1}, "unknown setting 'colour'"),
        ({"coding": "color"}, "unknown value 'color' for coding; did you mean 'colours'"),
    ],
)
def test_mistakes_are_one_sentence(content: dict[str, Any], message: str) -> None:
    with pytest.raises(EnsError, match=message):
        Description(train=TRAIN, **content)


def test_other_toml_files_are_no_descriptions(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(EnsError, match=r"a data set with a table \[train\] in .*a\.toml, found none; write one with"):
        read_description(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            ("[classes]", "void = 9\n[classes]"),
            r"'void' of .*d\.toml stands in \[train\]; move it above",
        ),
        (("b = 1", "b = 1\nvoid = 9"), r"'void' of .*d\.toml stands in \[classes\]; move it above the first table"),
        (
            ("[train]", 'masks = "m/{id}.png"\n[train]'),
            r"'masks' of .* belongs below \[train\], \[val\]",
        ),
    ],
)
def test_settings_in_the_wrong_table(tmp_path: Path, changed: tuple[str, str], message: str) -> None:
    text = '[train]\nimages = "i/{id}.png"\nmasks = "m/{id}.png"\n[classes]\na = 0\nb = 1\n'
    (tmp_path / "d.toml").write_text(text.replace(*changed))
    with pytest.raises(EnsError, match=message):
        read_description(tmp_path / "d.toml")
