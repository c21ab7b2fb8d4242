"""The map in ``ensemble/README.md`` is true: it names every module, no dead one, and the real imports."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "ensemble"  # of the checkout: a wheel holds no READMEs
TEXT = (PACKAGE / "README.md").read_text(encoding="utf-8")
OWN_README = {"architectures", "losses"}  # their own READMEs name their files, and their own tests check it
TOP = "the top of the package"


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Return the imports of the package, those for type hints included."""
    return grimp.build_graph("ensemble")


def section(title: str) -> str:
    """Return the text under a heading of the second level."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def arrows() -> dict[str, set[str]]:
    """Return the table of rooms in the order of its rows: room -> the rooms that it imports."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", section("Rooms and arrows"), re.MULTILINE)
    return {room: set(re.findall(r"`(\w+)`", imports)) for room, imports in rows}


def room_of(module: str) -> str:
    """Return the room of a module; `ensemble` is the public table in ``__init__.py``."""
    return module.split(".")[1] if "." in module else module


def rooms(graph: grimp.ImportGraph) -> set[str]:
    """Return the children of the package that have imports of ours or are imported."""
    return {room_of(module) for module in graph.modules}


def named_files() -> dict[str, list[str]]:
    """Return the names that the lists of the files give: room -> modules and folders, relative to the room."""
    names: dict[str, list[str]] = {}
    for block in re.split(r"^### ", section("Files, room by room"), flags=re.MULTILINE)[1:]:
        title, _, body = block.partition("\n")
        lines = re.findall(r"^- (.*)$", body, re.MULTILINE)
        own = [name for line in lines for part in line.split("; ") for name in _leading_names(part)]
        for room in re.findall(r"`(\w+)`", title) or [TOP]:
            names[room] = own
    return names


def _leading_names(text: str) -> list[str]:
    """Return the names in backticks that stand before a colon."""
    match = re.match(r"((?:`[\w/]+`(?:, )?)+):", text)
    return re.findall(r"`([\w/]+)`", match[1]) if match else []


def modules_of(room: str) -> set[str]:
    """Return the modules of a room as the map writes them; ``__init__`` files need no line."""
    folder = PACKAGE if room == TOP else PACKAGE / room
    files = folder.glob("*.py") if room == TOP else folder.rglob("*.py")
    return {file.relative_to(folder).with_suffix("").as_posix() for file in files if file.name != "__init__.py"}


def test_every_room_has_a_row_and_a_list_of_files(graph: grimp.ImportGraph) -> None:
    assert set(arrows()) == rooms(graph)
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(named_files()) - {TOP}


def test_the_arrows_are_the_real_imports(graph: grimp.ImportGraph) -> None:
    real: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        imported = {room_of(name) for name in graph.find_modules_directly_imported_by(module)}
        real[room_of(module)] |= imported - {room_of(module)}
    assert arrows() == {room: real[room] for room in arrows()}


def test_arrows_point_down() -> None:
    order = list(arrows())
    assert not [
        f"{room} -> {other}"
        for room, imports in arrows().items()
        for other in imports
        if order.index(other) <= order.index(room)
    ]


@pytest.mark.parametrize("room", sorted(set(named_files()) - OWN_README))
def test_every_module_is_named_and_no_name_is_dead(room: str) -> None:
    names = named_files()[room]
    folder = PACKAGE if room == TOP else PACKAGE / room
    assert len(names) == len(set(names)), f"a name of {room} stands twice"
    assert not [name for name in names if not (folder / name).is_dir() and not (folder / f"{name}.py").is_file()]
    assert modules_of(room) <= set(names)


def test_every_path_that_the_map_names_exists() -> None:
    paths = {
        path for path in re.findall(r"`([a-z_]+/[\w/]+(?:\.py)?)`", TEXT) if "NAME" not in path and "ROOM" not in path
    }
    links = set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))
    assert len(paths) > 20
    rooms = [path for path in PACKAGE.iterdir() if path.is_dir()]
    places = (PACKAGE, PACKAGE.parent, *rooms)
    missing = [p for p in paths if not any((place / p).exists() or (place / f"{p}.py").exists() for place in places)]
    assert not missing
    assert not [link for link in links if not (PACKAGE / link).exists()]
