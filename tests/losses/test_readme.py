"""The README of the losses is true: its example works, its table is the measured one, it names every loss."""

from __future__ import annotations

import re
import runpy
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ensemble.losses import LOSSES, build_loss
from ensemble.testing.losses import check_loss

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "losses" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def brier(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The loss of the README, executed as the file that it names; the registry forgets it after the test."""
    monkeypatch.setattr(LOSSES, "_own", dict(LOSSES._own))  # pyright: ignore[reportPrivateUsage]
    blocks = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)]
    code = next(block for block in blocks if "LOSSES.register" in block)
    namespace: dict[str, Any] = {"__name__": "brier"}
    exec(compile(code, "losses/brier.py", "exec"), namespace)
    return LOSSES.create("brier", torch.ones(3))


def test_the_example_keeps_the_promises(brier: nn.Module) -> None:
    check_loss("brier")
    check_loss("0.5*brier + 0.5*dice")


def test_the_example_is_the_brier_score(brier: nn.Module) -> None:
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(size=(2, 3, 4, 5)).astype(np.float32))
    labels = generator.integers(0, 3, (2, 4, 5))
    labels[0, 0] = 255
    probs = torch.softmax(logits, 1).numpy().transpose(0, 2, 3, 1)
    known = labels != 255
    expected = ((probs[known] - np.eye(3)[labels[known]]) ** 2).sum(-1).mean()
    assert float(brier(logits, torch.from_numpy(labels))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "other", "same"),
    [
        ("tversky", {"alpha": 0.5, "beta": 0.5, "smooth": 0.0}, "dice", {"smooth": 0.0}),
        ("tversky", {"alpha": 1.0, "beta": 1.0}, "jaccard", {}),
        ("focal-tversky", {"gamma": 1.0}, "tversky", {}),
        ("focal", {"gamma": 0.0}, "ce", {}),
        ("poly", {"epsilon": 0.0, "scheme": "none"}, "ce", {}),
        ("ohem-ce", {"threshold": 1.0}, "weighted-ce", {"scheme": "none"}),
        ("weighted-ce", {"scheme": "none"}, "ce", {}),
    ],
)
def test_the_losses_that_it_calls_equal_are_equal(
    name: str, options: dict[str, Any], other: str, same: dict[str, Any]
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(3, 4, 5, 6, generator=generator), torch.randint(0, 4, (3, 5, 6), generator=generator)
    labels[0, 0] = 255
    counts = torch.tensor([500, 300, 150, 50])
    value = LOSSES.create(name, counts, **options)(logits, labels)
    torch.testing.assert_close(value, LOSSES.create(other, counts, **same)(logits, labels))


def test_the_table_is_the_measured_one() -> None:
    recipe = runpy.run_path(str(ROOT / "experiments" / "recipes" / "catalogue.py"))
    shown = README.split("<!-- catalogue -->")[1].split("<!-- /catalogue -->")[0]
    assert shown.strip() == recipe["tables"]().split("\n\n")[1].strip()


def test_every_loss_is_named_and_every_named_file_exists() -> None:
    assert not [name for name in LOSSES if f"`{name}`" not in README]
    files = set(re.findall(r"`(\w+\.py)`", README))
    assert len(files) >= 5
    assert not [name for name in files if not (ROOT / "losses" / name).is_file()]


def test_every_file_that_it_links_to_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert not [link for link in links if not (ROOT / "losses" / link).exists()]


def test_its_first_example_is_a_loss() -> None:
    loss = build_loss("0.5*dice + 0.5*weighted-ce", torch.tensor([9000, 1000]))
    assert loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])) > 0
