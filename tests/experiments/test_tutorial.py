"""The tutorial runs from its first to its last cell, offline, and shows what it promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "experiments" / "tutorial.ipynb"

OFFLINE = """
import socket

def refuse(*arguments, **_):
    raise AssertionError(f"the tutorial reached for the network: {arguments}")

socket.getaddrinfo = socket.socket.connect = refuse
"""


def read() -> Any:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_small_and_without_outputs() -> None:
    cells = code_cells(read())
    assert NOTEBOOK.stat().st_size < 100_000
    assert len(cells) > 10
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.slow
def test_it_runs_offline_and_shows_what_it_promises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))  # the kernel takes over this process's environment
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for folder in ("temporary", "here"):
        (tmp_path / folder).mkdir()
    notebook = read()
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path / "here")}}
    ).execute()
    assert list((tmp_path / "here").iterdir()) == []

    text = ""
    _, _, *shown = code_cells(notebook)  # the first refuses the network, the second imports
    for cell in shown:
        outputs = [output.get("data", {}) for output in cell.outputs]
        streams = {output.name: output.text for output in cell.outputs if output.output_type == "stream"}
        assert cell.outputs, f"nothing shown by {cell.source}"
        assert "stderr" not in streams, f"{streams['stderr']} from {cell.source}"
        drawn = re.search(r"(?m)^(figures\.|picture_grid\(|Image\()", cell.source)
        assert bool(drawn) == any("image/png" in data for data in outputs), cell.source
        text += streams.get("stdout", "") + "".join(data.get("text/html", "") for data in outputs)
    assert re.search(r"240 labelled, 48 unlabelled images of \(64, 128\), \d+% void", text)
    assert re.search(r"Use .*roven, in points of mIoU", text)  # the verdict
    assert "learned of 3" in text
    assert "48 masks in " in text
