"""A format of a plug-in: the example of the README, asked before the built-in formats, listed and used by commands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ensemble
from ensemble import plugins
from ensemble.cli import app
from ensemble.core.errors import EnsError
from ensemble.core.registry import BUILT_IN
from ensemble.data.formats.registry import FORMATS, recognise
from ensemble.data.open_source import open_source

README = Path(__file__).resolve().parents[3] / "ensemble" / "data" / "README.md"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The README's example as a file; the registry forgets it after the test."""
    monkeypatch.setattr(plugins, "_loaded", {})
    for name in ("_own", "_origins"):
        monkeypatch.setattr(FORMATS, name, dict(getattr(FORMATS, name)))
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    file = tmp_path / "field_camera.py"
    file.write_text(next(block for block in blocks if "FORMATS.register" in block), encoding="utf-8")
    return file


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two photographs of each of two sites."""
    root = tmp_path / "camera"
    for number, (site, name) in enumerate((site, name) for site in ("north", "south") for name in "ab"):
        for folder, highest in (("shots", 256), ("truth", 3)):
            pixels = np.random.default_rng(number).integers(1, highest, (32, 40), dtype=np.uint8)
            pixels[0, 0] = 9
            pixels[0, 1] = 4
            (root / folder / site).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / site / f"{site}-{name}.png")
    return root


def test_the_example_of_the_readme_reads_its_data(plugin: Path, photographs: Path) -> None:
    ensemble.load_plugin(plugin)
    source = open_source(str(photographs))
    assert source.ids == ("north-a", "north-b", "south-a", "south-b")
    assert source.groups == ("north", "north", "south", "south")
    assert source.masks([0])[0, 0, :2].tolist() == [255, 1]
    assert any(note.startswith("recognised as field-camera (images ") for note in source.notes)


def test_a_plugin_is_asked_first(plugin: Path, photographs: Path) -> None:
    for old, new in (("shots", "images"), ("truth", "masks")):
        (photographs / old).rename(photographs / new)
    before = recognise(photographs)
    plugin.write_text(plugin.read_text().replace('"shots/', '"images/').replace('"shots"', '"images"'))
    ensemble.load_plugin(plugin)
    found = recognise(photographs)
    assert found is not None
    assert found[0] == "field-camera"
    assert before is None or before[0] != "field-camera"


def test_commands_know_formats(plugin: Path, photographs: Path) -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["list", "formats", "--plugin", str(plugin), "--json"]).stdout)
    origins = {row["name"]: row["origin"] for row in listed}
    assert origins.pop("field-camera").startswith("field_camera.py ")
    assert set(origins.values()) == {BUILT_IN}
    assert {"coco", "run-lengths", "arrays", "images-and-masks"} <= set(origins)
    described = run(app, ["data", "describe", str(photographs), "--plugin", str(plugin)])
    assert 'group_pattern = "^(.+)-"' in described.stdout
    assert run(app, ["data", "summary", str(photographs), "--plugin", str(plugin)]).exit_code == 0


def test_unknown_data_are_described_by_no_format(tmp_path: Path) -> None:
    assert recognise(tmp_path) is None
    with pytest.raises(EnsError, match="unknown format 'x'"):
        FORMATS.create("x", tmp_path)
