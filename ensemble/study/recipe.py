"""Read a recipe: the members and ensembles of a study, as TOML. Single members come before those of grids.

name = "losses"
question = "Which loss makes the best member, and do different losses make the better ensemble?"

[defaults]                      # settings of every member, named as in `ensemble.train`
epochs = 10

[[members]]                     # one member; what it does not name is as in `ens train`
label = "plain"
arch = "unet"
loss = "ce"

[[grid]]                        # one member for every combination of the lists
group = "seeds"
arch = ["unet", "linknet"]
loss = "weighted-ce"
seed = [0, 1, 2]

[[ensembles]]                   # of all members, or of some groups and labels
of = ["seeds"]
method = "learned"
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from ensemble.combining.pipeline import Pipeline
from ensemble.config import Calibrate, Decide, DecideFrom, SmallestObject, TrainSettings
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.reading import is_file, is_folder
from ensemble.core.settings import Settings, load_settings
from ensemble.core.texts import read_toml

FOLDER = Path(__file__).resolve().parents[1] / "experiments" / "recipes"
SUSPECTS = "{check}"
"""Placeholder in ``exclude`` for the list that ``check = true`` writes."""

SETTINGS = tuple(name for name in TrainSettings.model_fields if name != "data")
"""What a member of a recipe may set: the fields of `ensemble.config.TrainSettings`, except the data."""


class EnsembleEntry(Settings):
    """One ensemble of a study."""

    label: str | None = None
    of: tuple[str, ...] = Field(default=(), description="groups and labels of members; empty for all")
    method: str = "learned"
    calibrate: Calibrate = "none"
    decide: Decide = "argmax"
    decide_from: DecideFrom = "validation"
    smallest_object: SmallestObject = None
    top: int | None = Field(default=None, ge=1)

    @property
    def pipeline(self) -> Pipeline:
        """The choices as `ensemble.combine` takes them.

        Raises:
            EnsError: an unknown method, a wrong option, or what cannot go together.
        """
        return Pipeline(self.method, self.calibrate, self.decide, self.top, self.decide_from, self.smallest_object)

    def title(self, members: int) -> str:
        """Return the label, or a text such as ``learned of all 3, decide=offsets, top=2``.

        Args:
            members: number of its members.
        """
        if self.label is not None:
            return self.label
        names = ("calibrate", "decide", "decide_from", "smallest_object", "top")
        chosen = {name: getattr(self, name) for name in names}
        steps = [f"{name}={value}" for name, value in chosen.items() if value != type(self).model_fields[name].default]
        of = " + ".join(self.of) if self.of else f"all {members}"
        return ", ".join([f"{self.method} of {of}", *steps])


class RecipeFile(Settings):
    """The tables of a recipe file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    question: str = ""
    data: str = "sample"
    check: bool = Field(default=False, description="run `ens data check` first; {check} in exclude is its list")
    defaults: dict[str, Any] = Field(default={})
    members: tuple[dict[str, Any], ...] = ()
    grid: tuple[dict[str, Any], ...] = ()
    ensembles: tuple[EnsembleEntry, ...] = ()


@dataclass(frozen=True)
class Entry:
    """One member of a study: its label, its group, and the arguments of ``ensemble.train``."""

    label: str
    group: str
    arguments: Mapping[str, Any]

    def is_one_of(self, names: Sequence[str]) -> bool:
        """Report whether its label or its group is among the names."""
        return self.label in names or self.group in names


@dataclass(frozen=True)
class Recipe:
    """A recipe whose grids are expanded into members."""

    file: RecipeFile
    entries: tuple[Entry, ...]

    def members_of(self, ensemble: EnsembleEntry) -> tuple[Entry, ...]:
        """Return the members of one ensemble, in the order of the recipe."""
        return tuple(entry for entry in self.entries if not ensemble.of or entry.is_one_of(ensemble.of))

    def only(self, names: Sequence[str]) -> Recipe:
        """Return a recipe with only the members of these groups and labels, and the ensembles that need no others.

        Its name is the name of the recipe followed by ``names``.

        Raises:
            UnknownName: a name that is neither a group nor a label.
        """
        for name in names:
            if name not in self.names:
                raise UnknownName("group or label of members", name, self.names)
        kept = tuple(entry for entry in self.entries if entry.is_one_of(names))
        whole = tuple(one for one in self.file.ensembles if all(entry in kept for entry in self.members_of(one)))
        suffix = re.sub(r"[^\w.]+", "-", "-".join(names)).strip("-")
        file = self.file.model_copy(update={"name": f"{self.file.name}-{suffix}"[:100], "ensembles": whole})
        return Recipe(file, kept)

    @property
    def names(self) -> set[str]:
        """Labels and groups of the members."""
        return {name for entry in self.entries for name in (entry.label, entry.group) if name}


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with the toolkit, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def read_recipe(recipe: str | Path, data: str | None = None) -> Recipe:
    """Read a shipped recipe by name, or another one by path, and expand its grids.

    Args:
        recipe: ``ladder``, or ``mine.toml``.
        data: data to use in place of the recipe's data.

    Raises:
        EnsError: no such recipe, no TOML, unknown settings, a member listed twice, or an ensemble of unknown members.
    """
    path = shipped_recipes().get(str(recipe), Path(recipe))
    if not is_file(path):
        raise UnknownName("recipe", str(recipe), shipped_recipes())
    file = load_settings(RecipeFile, read_toml(path, "correct the recipe"), path)
    if data is not None:
        file = file.model_copy(update={"data": data})
    elif is_file(near := path.parent / file.data) or is_folder(near):
        file = file.model_copy(update={"data": str(near)})
    expanded = Recipe(file, tuple(_entries(file, path)))
    _check(expanded, path)
    return expanded


def _entries(file: RecipeFile, path: Path) -> Iterator[Entry]:
    for table in file.members:
        yield _entry(file, table, {}, path)
    for table in file.grid:
        axes = {key: value for key, value in table.items() if isinstance(value, list)}
        if empty := next((key for key, value in axes.items() if not value), None):
            raise EnsError(f"expected values for '{empty}' in a [[grid]] of {path.name}, got an empty list; give one")
        fixed = {key: value for key, value in table.items() if key not in axes}
        for values in itertools.product(*axes.values()):
            yield _entry(file, fixed, dict(zip(axes, values, strict=True)), path)


def _entry(file: RecipeFile, table: Mapping[str, Any], varied: Mapping[str, Any], path: Path) -> Entry:
    given = {**file.defaults, **table, **varied}
    label, group = given.pop("label", None), given.pop("group", "")
    for key in given:
        if key not in SETTINGS:
            raise UnknownName("setting", key, [*SETTINGS, "label", "group"], where=f"in {path.name}")
    if not given:
        raise EnsError(
            f"expected settings of each member in {path.name}, found an empty table; name `arch`, or remove it"
        )
    given = {key: TrainSettings.model_fields[key].default for key in ("arch", "loss")} | given
    return Entry(str(label or _label(given, file.defaults)), str(group), given)


def _label(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return ``unet x ce``, followed by the settings that differ from the defaults of the recipe."""
    more = [
        _words(key, value) for key, value in given.items() if key not in ("arch", "loss") and defaults.get(key) != value
    ]
    return ", ".join([f"{given['arch']} x {given['loss']}", *more])


def _words(key: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={one}" for name, one in value.items())
    return f"{key}={value}"


def _check(recipe: Recipe, path: Path) -> None:
    if not recipe.entries:
        raise EnsError(f"expected [[members]] or a [[grid]] in {path}, found neither; add a member")
    labels = [entry.label for entry in recipe.entries]
    for label in _repeated(labels):
        raise EnsError(f"{path.name} has two members called '{label}'; give them labels, or drop one")
    for ensemble in recipe.file.ensembles:
        for name in ensemble.of:
            if name not in recipe.names:
                raise UnknownName("group or label of members", name, recipe.names)
        if (count := len(recipe.members_of(ensemble))) < 2:
            raise EnsError(f"expected at least two members in the ensemble of {list(ensemble.of)}, got {count}")
        try:
            _ = ensemble.pipeline
        except EnsError as error:
            raise EnsError(f"ensemble '{ensemble.title(count)}' of {path.name}: {error}") from None
    titles = [ensemble.title(len(recipe.members_of(ensemble))) for ensemble in recipe.file.ensembles]
    for title in _repeated([*labels, *titles]):
        raise EnsError(f"{path.name} has an ensemble called '{title}' as another row is; give it another label")
    if not recipe.file.check:
        for entry in recipe.entries:
            if SUSPECTS in str(entry.arguments.get("exclude", "")):
                raise EnsError(f"'{entry.label}' excludes {SUSPECTS}, the list of a check; add `check = true`")


def _repeated(labels: Sequence[str]) -> list[str]:
    return [label for place, label in enumerate(labels) if label in labels[:place]]
