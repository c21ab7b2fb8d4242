"""What holds for every format in the registry: each has drawings in ``layouts.py``, found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import LAYOUTS

from ensemble.config import DataSettings
from ensemble.core.reading import is_folder
from ensemble.data import open_dataset
from ensemble.data.description import read_description
from ensemble.data.formats.registry import FORMATS, recognise
from ensemble.data.open_source import open_source, understand
from ensemble.training.train import train

CASES = [(name, form) for name in FORMATS for form in LAYOUTS.get(name, {"missing": None})]
SIZE = (32, 32)


@pytest.fixture(params=CASES, ids="-".join)
def drawn(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of a format, and data of that format."""
    name, form = request.param
    assert name in LAYOUTS, f"add a drawing of the format {name} to tests/data/formats/layouts.py"
    path = tmp_path / f"data{Path(form).suffix}"
    LAYOUTS[name][form](path)
    return name, path


def test_a_layout_is_recognised_by_its_own_format_first(drawn: tuple[str, Path]) -> None:
    name, root = drawn
    found = recognise(root)
    assert found is not None
    assert found[0] == name


def test_a_folder_around_a_layout_changes_nothing(drawn: tuple[str, Path]) -> None:
    _, root = drawn
    outer = root.parent / "unpacked"
    (outer / "inner").mkdir(parents=True)
    moved = root.rename(outer / "inner" / root.name)
    if not is_folder(moved):
        pytest.skip("a file of arrays is given by its name")
    (outer / "__MACOSX").mkdir()
    one, other = understand(moved), understand(outer)
    assert (one.format, one.completed.description) == (other.format, other.completed.description)
    assert other.root == moved
    assert open_source(str(outer)).fingerprint == open_source(str(moved)).fingerprint


def test_special_formats_do_not_know_the_layouts_of_others(drawn: tuple[str, Path]) -> None:
    name, root = drawn
    order = list(FORMATS)
    for other in order[: order.index(name)]:
        assert FORMATS.create(other, root) is None, other


@pytest.mark.parametrize("kind", ["empty", "file", "texts"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_data_set_is_not_known(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("text")
    else:
        path.mkdir()
    if kind == "texts":
        (path / "src").mkdir()
        (path / "src" / "main.py").write_text("pass")
        (path / "notes.csv").write_text("a,b\n1,2\n")
        (path / "settings.json").write_text("{}")
    assert FORMATS.create(name, path) is None


def test_the_written_description_gives_the_same_data(drawn: tuple[str, Path]) -> None:
    _, root = drawn
    description = understand(root).completed.description.model_copy(update={"root": root.name})
    (root.parent / "data.toml").write_text(description.to_toml(["comment"]))
    assert read_description(root.parent / "data.toml") == description
    one, other = open_source(str(root)), open_source(str(root.parent / "data.toml"))
    assert (one.ids, one.test_ids, one.parts, one.groups) == (other.ids, other.test_ids, other.parts, other.groups)
    assert (one.names, one.written, one.colours) == (other.names, other.written, other.colours)
    assert one.fingerprint == other.fingerprint
    assert (one.sizes, one.test_sizes) == (other.sizes, other.test_sizes)
    for row in range(len(one.ids)):
        np.testing.assert_array_equal(one.mask(row), other.mask(row))
        np.testing.assert_array_equal(one.image(row), other.image(row))


def test_every_file_is_read_or_named(drawn: tuple[str, Path]) -> None:
    _, root = drawn
    found = understand(root)
    description, samples = found.completed.description, found.samples
    if samples is None:
        pytest.skip("arrays are named by the tests of their format")
    used = {path for each in (*samples.labelled, *samples.test) for path in (*each.images, *each.masks)}
    used |= {root / text for part in description.parts.values() for text in (part.ids, part.masks) if text}
    used |= {root / text for text in (description.names, description.groups, description.split) if text}
    used |= {root / found.completed.names.file, root / "dataset.json"}
    named = [root / name for note in found.completed.notes for name in _listed(note, "not read")]
    rest = {path for path in root.rglob("*") if not is_folder(path)} - used
    rest = {path for path in rest if not any(path == each or each in path.parents for each in named)}
    assert len(rest) == sum(int(note.split(": ")[1].split()[0]) for note in samples.notes)


def _listed(note: str, beginning: str) -> list[str]:
    """Return what stands in the brackets of a note."""
    return note.partition("(")[2].removesuffix(")").split(", ") if note.startswith(beginning) else []


def test_a_member_is_trained_on_it(drawn: tuple[str, Path]) -> None:
    _, root = drawn
    settings = DataSettings(source=str(root))
    dataset = open_dataset(settings)
    member = train(
        data=root,
        crop="32x32",
        arch="unet-baseline(filters=2, depth=1)",
        loss="ce",
        epochs=1,
        batch_size=2,
        device="cpu",
        precision="fp32",
        out=root.parent / "runs",
    )
    assert member.facts.classes == dataset.classes
