"""The recipes that ask whether a change of training pays: Muon, and a head that sees the whole tile."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ensemble import plugins
from ensemble.architectures import ARCHITECTURES
from ensemble.study.recipe import read_recipe

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def muon() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXPERIMENTS / "recipes")
        return runpy.run_path(str(EXPERIMENTS / "recipes" / "muon.py"))


def test_both_optimisers_are_compared(
    muon: Any, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "muon.csv"
    options = [
        "--arch",
        "unet(filters=16, depth=2)",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--threads",
        "1",
        "--rates",
        "0.01",
    ]
    monkeypatch.setattr(sys, "argv", ["muon.py", str(tiny_npz), "--out", str(out), "--runs", str(tmp_path), *options])
    muon["main"]()
    table = pd.read_csv(out)
    assert list(zip(table.optimiser, table.lr, strict=True)) == [
        ("adamw", 0.002),
        ("muon", 0.015),
        ("adamw", 0.01),
        ("muon", 0.01),
    ]
    found = table[:2].set_index("optimiser")
    assert found.d_log_loss["muon"] == pytest.approx(found.log_loss["muon"] - found.log_loss["adamw"], abs=1e-5)
    assert found.d_common["muon"] == pytest.approx(found.common["muon"] - found.common["adamw"], abs=1e-5)
    assert found.log_loss["muon"] != found.log_loss["adamw"]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(plugins, "_loaded", {})
    for kind in ("_own", "_origins"):
        monkeypatch.setattr(ARCHITECTURES, kind, dict(getattr(ARCHITECTURES, kind)))
    plugins.load_plugin(EXPERIMENTS / "benchmarks" / "context.py")
    return "context"


@pytest.mark.parametrize("branch", [False, True])
def test_the_head_is_supervised_and_its_branch_adds_to_every_pixel(context: str, branch: bool) -> None:
    torch.manual_seed(0)
    network: Any = ARCHITECTURES.create(context, 1, 4, encoder="resnet18", branch=branch).eval()
    images = torch.rand(2, 1, 40, 70)
    with torch.no_grad():
        network.head.weight.copy_(torch.randn_like(network.head.weight))
        pixels, tile = network.supervised(images)
        alone = network.body(images)
        assert torch.equal(network(images), pixels)
    assert pixels.shape == tile.shape == (2, 4, 40, 70)
    assert torch.equal(tile, tile[..., :1, :1].expand_as(tile))
    assert not torch.equal(tile[0], tile[1])
    torch.testing.assert_close(pixels, alone + tile if branch else alone)


def test_its_study_can_be_read() -> None:
    recipe = read_recipe(EXPERIMENTS / "benchmarks" / "context.toml")
    assert len(recipe.entries) == 9
    assert np.unique([entry.group for entry in recipe.entries], return_counts=True)[1].tolist() == [3, 3, 3]
