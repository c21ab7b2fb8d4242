"""The README of the architectures is true: its example works, its table is the measured one, it names every network."""

from __future__ import annotations

import re
import runpy
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ensemble.architectures import ARCHITECTURES
from ensemble.testing.architectures import SLOW, check_architecture

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "architectures" / "README.md").read_text(encoding="utf-8")


def test_the_example_keeps_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_own", dict(ARCHITECTURES._own))  # pyright: ignore[reportPrivateUsage]
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
    code = next(block for block in blocks if "ARCHITECTURES.register" in block)
    namespace: dict[str, Any] = {"__name__": "dilated"}
    exec(compile(code, "architectures/dilated.py", "exec"), namespace)
    check_architecture("dilated", leave_out=[SLOW])
    assert list(ARCHITECTURES.options("dilated")) == ["filters", "layers"]
    assert list(ARCHITECTURES.space("dilated")) == ["filters"]


def test_the_table_is_the_measured_one() -> None:
    recipe = runpy.run_path(str(ROOT / "experiments" / "recipes" / "catalogue.py"))
    shown = README.split("<!-- catalogue -->")[1].split("<!-- /catalogue -->")[0]
    assert shown.strip() == recipe["tables"]().split("\n\n")[0].strip()


def test_every_architecture_and_every_file_is_named() -> None:
    names = [*ARCHITECTURES, *(path.name for path in (ROOT / "architectures").glob("*.py"))]
    assert not [name for name in names if f"`{name}`" not in README and name != "__init__.py"]
    assert not [name for name in re.findall(r"`(\w+\.py)`", README) if not (ROOT / "architectures" / name).exists()]


def test_every_file_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / "architectures" / link).exists()]
