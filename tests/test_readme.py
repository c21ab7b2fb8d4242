"""What the README shows is true: its example of a loss works, its commands exist, its pictures are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from ensemble.architectures import ARCHITECTURES
from ensemble.cli import app
from ensemble.core.registry import Registry
from ensemble.losses import LOSSES
from ensemble.losses import registry as loss_registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def example_loss(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The loss of the README, executed as the file it says it is, in a registry of its own."""
    own: Registry[nn.Module] = Registry("loss")
    monkeypatch.setattr(loss_registry, "LOSSES", own)
    code = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "LOSSES.register" in block)
    namespace: dict[str, Any] = {}
    exec(compile(code, "losses/brier.py", "exec"), namespace)
    return own.create("brier", torch.ones(3))


def test_the_example_loss_is_the_brier_score(example_loss: nn.Module) -> None:
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(size=(2, 3, 4, 5)).astype(np.float32))
    labels = generator.integers(0, 3, (2, 4, 5))
    labels[0, 0] = 255
    probs = torch.softmax(logits, 1).numpy().transpose(0, 2, 3, 1)
    known = labels != 255
    expected = ((probs[known] - np.eye(3)[labels[known]]) ** 2).sum(-1).mean()
    assert float(example_loss(logits, torch.from_numpy(labels))) == pytest.approx(expected, abs=1e-6)


def test_the_example_loss_ignores_void(example_loss: nn.Module) -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = example_loss(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_every_command_of_the_readme_exists() -> None:
    commands = set(re.findall(r"\bens ([a-z-]+)(?: (summary|check|preview))?", README))
    assert len(commands) >= 8
    for name, sub in commands:
        result = CliRunner().invoke(app, [name, *([sub] if sub else []), "--help"])
        assert result.exit_code == 0, f"ens {name} {sub}: {result.output}"


def test_the_catalogue_is_the_measured_one() -> None:
    recipe = runpy.run_path(str(ROOT / "experiments" / "recipes" / "catalogue.py"))
    assert recipe["OUT"].is_file()
    shown = README.split("<!-- catalogue -->")[1].split("<!-- /catalogue -->")[0]
    assert recipe["tables"]().strip() in shown


def test_every_architecture_and_loss_is_named() -> None:
    missing = [name for name in (*ARCHITECTURES, *LOSSES) if not re.search(rf"(?<![\w-]){name}(?![\w-])", README)]
    assert not missing


def test_every_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing
