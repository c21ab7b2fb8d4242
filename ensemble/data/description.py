"""Describe a data set: where its images and masks are, what the values of masks mean, how it is split; read as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ensemble.core.errors import EnsError
from ensemble.core.settings import Settings, load_settings
from ensemble.core.texts import read_toml
from ensemble.core.void import VOID

Coding = Literal["ids", "colours", "alpha", "coco", "run-lengths"]
Value = int | str
"""A value of a mask: an id, or a colour such as ``#ff0000``."""

_COLOUR = re.compile(r"#[0-9a-f]{6}")
MAX_VALUE = 65535
_NEVER_CLASSES = frozenset({"void", "no_data", "coding", "group_pattern"})  # settings, wherever they stand


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str | int) else tuple(value) if isinstance(value, list) else value


def _as_values(value: Any) -> Any:
    values = _as_tuple(value)
    for one in values if isinstance(values, tuple) else (values,):
        if isinstance(one, bool | float):
            raise EnsError(f"expected whole numbers or colours, got {_quoted(one)}")
    return values


Values = Annotated[tuple[Value, ...], BeforeValidator(_as_values)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class Part(Settings):
    """Where the images of one part are, and their masks.

    A pattern is a path below the root. ``{id}`` stands for the name that an image and its mask have in common, ``*``
    for any other text, and the ending ``.*`` for that of any image. In an npz file a pattern is the name of an array.
    """

    images: Texts = Field(description="pattern of the images; a list if the bands of an image are in several files")
    masks: str | None = Field(default=None, description="pattern of the masks, or the file that holds all of them")
    ids: str | None = Field(
        default=None, description="file with the ids of the part, a line each; other parts get the rest"
    )


class Description(Settings):
    """A data set as its owner keeps it."""

    root: str = Field(default=".", description="folder or npz file, relative to the description")
    train: Part = Field(description="labelled images")
    val: Part | None = Field(default=None, description="labelled images of the official validation part")
    test: Part | None = Field(default=None, description="test images; with masks they can be evaluated")
    coding: Coding = Field(default="ids", description="what the pixels of a mask are")
    channel: int | None = Field(default=None, ge=1, description="the only band of the masks that counts, from 1")
    classes: dict[str, Values] | None = Field(default=None, description="values of each class; None: ids 0, 1, 2 ...")
    void: Values = Field(default=(), description="values of pixels without a label; ids without classes: 255")
    names: str | None = Field(default=None, description="file with a class name per line, if classes are not given")
    split: str | None = Field(default=None, description="table with the columns id, and part or fold")
    groups: str | None = Field(default=None, description="table with the columns id and group")
    group_pattern: str | None = Field(default=None, description="regular expression: (...) in an id is its group")
    bands: tuple[int, ...] | None = Field(default=None, description="bands of the images that count, from 1")
    no_data: float | None = Field(default=None, description="value of pixels without data")

    @model_validator(mode="after")
    def _fits(self) -> Description:
        for name, part in self.parts.items():
            if not part.images:
                raise EnsError(f"expected the pattern of the images as {name}.images, found none; add it")
            if part.masks is None and name != "test":
                raise EnsError(f"expected the pattern of the masks as {name}.masks, found none; add it")
        for name, values in {**(self.classes or {}), "void": self.void}.items():
            for value in values:
                self._check_value(name, value)
        self._check_classes()
        if self.group_pattern is not None:
            if self.groups is not None:
                raise EnsError("expected groups or group_pattern, got both; leave one out")
            check_group_pattern(self.group_pattern)
        if self.bands is not None and (not self.bands or min(self.bands) < 1):
            raise EnsError(f"expected bands as numbers from 1 on, got {list(self.bands)}; the first band is 1")
        return self

    def _check_value(self, name: str, value: Value) -> None:
        if self.coding == "colours":
            if not isinstance(value, str) or not _COLOUR.fullmatch(value.lower()):
                raise EnsError(f"expected a colour such as '#ff0000' for {name}, got {value!r}; write its six digits")
        elif not isinstance(value, int) or not 0 <= value <= MAX_VALUE:
            raise EnsError(f"expected whole numbers from 0 to {MAX_VALUE} for {name}, got {value!r}")

    def _check_classes(self) -> None:
        if self.classes is None:
            if self.coding != "ids" or self.void:
                such = ": background = 0 and object = 255" if self.coding == "alpha" else ""
                raise EnsError(f"expected a table [classes] with the values of each class, found none; add it{such}")
            return
        if not 2 <= len(self.classes) <= VOID:
            raise EnsError(f"expected 2 to {VOID} classes in [classes], got {len(self.classes)}; void is no class")
        seen: dict[Value, str] = {}
        for name, values in {**self.classes, "void": self.void}.items():
            if not name.strip() or (not values and name != "void"):
                raise EnsError(f"expected a name and a value for every class, got '{name}' with {list(values)}")
            for value in map(_plain, values):
                if value in seen:
                    raise EnsError(f"the value {value} is given to '{seen[value]}' and to '{name}'; keep one")
                seen[value] = name

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that there are, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def indices(self) -> dict[Value, int]:
        """The number of the class of each value, from 0 in the order of the table; 255 for void."""
        table = {_plain(value): VOID for value in self.void}
        for index, values in enumerate((self.classes or {}).values()):
            table |= {_plain(value): index for value in values}
        return table

    @property
    def written(self) -> tuple[int, ...]:
        """The id that a prediction writes for each class: its first value, or its number if masks have colours."""
        if self.classes is None:
            return ()
        if self.coding == "colours":
            return tuple(range(len(self.classes)))
        return tuple(int(values[0]) for values in self.classes.values())

    @property
    def colours(self) -> tuple[str, ...]:
        """The colour of each class if masks have colours."""
        if self.classes is None or self.coding != "colours":
            return ()
        return tuple(str(_plain(values[0])) for values in self.classes.values())

    def to_toml(self, comments: Sequence[str] = ()) -> str:
        """Return the description as TOML, with only what differs from the defaults, after lines of comment."""
        content = self.model_dump(exclude_defaults=True)
        tables = {name: content.pop(name) for name in ("train", "val", "test", "classes") if content.get(name)}
        lines = [f"# {comment}" for comment in comments]
        lines += [f"{key} = {_toml(value)}" for key, value in content.items()]
        for name, table in tables.items():
            lines += ["", f"[{name}]"]
            lines += [f"{_key(key)} = {_toml(value)}" for key, value in table.items() if value is not None]
        return "\n".join(lines) + "\n"


def read_description(path: Path) -> Description:
    """Return the description in a TOML file.

    Raises:
        EnsError: the file cannot be read, or a setting does not fit; the text names the setting.
    """
    content = read_toml(path, "write one with `ens data describe FOLDER`")
    if not isinstance(content.get("train"), Mapping):
        raise EnsError(
            f"expected the description of a data set with a table [train] in {path}, found none; write one with"
            " `ens data describe FOLDER`"
        )
    _check_places(content, path)
    return load_settings(Description, content, path)


def _check_places(content: Mapping[str, Any], path: Path) -> None:
    """Raise an error if a setting stands in the wrong table: in TOML all that follows a table's head belongs to it."""
    own, of_parts = set(Description.model_fields), set(Part.model_fields)
    if moved := sorted(set(content) & of_parts - own):
        raise EnsError(f"'{moved[0]}' of {path} belongs below [train], [val] or [test]; move it there")
    for table in ("train", "val", "test", "classes"):
        wrong = _NEVER_CLASSES if table == "classes" else own - of_parts
        keys = content.get(table)
        if isinstance(keys, Mapping) and (moved := sorted(wrong.intersection(keys))):
            raise EnsError(f"'{moved[0]}' of {path} stands in [{table}]; move it above the first table")


def _plain(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else value


def check_group_pattern(pattern: str, name: str = "group_pattern", what: str = "group") -> None:
    """Raise an error unless a setting called ``name`` is a regular expression with one pair of brackets."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise EnsError(f"expected a regular expression as {name}, got {pattern} ({error})") from None
    if groups != 1:
        raise EnsError(
            f"expected one pair of brackets around the {what} in {name}, such as '(.*)_', got {groups} in {pattern}"
        )


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _toml(value: Any) -> str:
    """Return a text, number or list as TOML; a list of one is its element."""
    if isinstance(value, tuple | list):
        return _toml(value[0]) if len(value) == 1 else f"[{', '.join(map(_toml, value))}]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    """Return JSON, which TOML reads as the same text or number, except that it wants DEL escaped."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
