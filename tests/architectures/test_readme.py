"""The README of the architectures is true: its example works, its table is the measured one, it names every network."""

from __future__ import annotations

import re
import runpy
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from ensemble import architectures, plugins
from ensemble.architectures import ARCHITECTURES
from ensemble.cli import app
from ensemble.core.registry import Registry
from ensemble.data.formats.registry import FORMATS
from ensemble.losses import LOSSES
from ensemble.runs.member import Member
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


def test_the_plugin_comes_in_with_weights_that_were_trained_elsewhere(
    tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_loaded", {})
    for registry in (ARCHITECTURES, LOSSES, FORMATS):
        monkeypatch.setattr(registry, "_own", dict(registry._own))  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(registry, "_origins", dict(registry._origins))  # pyright: ignore[reportPrivateUsage]
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    code = next(block for block in blocks if '"mynet"' in block)
    (tmp_path / "mynet.py").write_text(code, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "elsewhere"}
    bare: Registry[nn.Module] = Registry("architecture")
    with monkeypatch.context() as patch:  # the author's network, without this toolkit's registry
        patch.setattr(architectures, "ARCHITECTURES", bare)
        exec(compile(code, "mynet.py", "exec"), names)
    torch.save(names["mynet"](1, 3).network.state_dict(), tmp_path / "mynet.pth")
    lines = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "mynet" in block).splitlines()
    monkeypatch.chdir(tmp_path)
    more = {"train": ["--epochs", "1", "--batch-size", "4"], "import-member": ["--like", "mynet"]}
    for line in lines:
        words = [str(tiny_npz) if word == "street/" else word for word in shlex.split(line)[1:]]
        result = CliRunner().invoke(app, [*words, *more[words[0]]])
        assert result.exit_code == 0, f"{line}\n{result.output}"
    check_architecture("mynet", leave_out=[SLOW])
    members = [Member.open(path) for path in sorted((tmp_path / "runs" / "members").iterdir())]
    assert sorted(member.scores["protocol"] for member in members) == ["hold-out", "hold-out, claimed"]
    assert {member.settings.architecture.options["width"] for member in members} == {16, 24}


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
