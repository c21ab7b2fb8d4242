"""The soup of the benchmark is the mean of the weights, with batch norms that know the training images."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from ensemble.config import TrainSettings
from ensemble.inference.network import build_network, to_tensor
from ensemble.training.plan import plan_member

BENCHMARK = Path(__file__).parents[2] / "experiments" / "benchmarks" / "soup.py"


@pytest.fixture(scope="module")
def soup() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARK.parent))
        return runpy.run_path(str(BENCHMARK))


def test_weights_are_averaged_and_statistics_are_those_of_the_training_images(
    soup: dict[str, Any], tiny_npz: Path, tmp_path: Path
) -> None:
    asked = TrainSettings(
        data=str(tiny_npz), arch="unet-baseline(filters=2, depth=1)", device="cpu", precision="fp32", epochs=1
    )
    plan = plan_member(asked, tmp_path)
    soup["soup_of"].__globals__["BATCH"] = 6  # of 18 training images: equal batches, so their mean is that of all
    networks = [build_network(plan.settings, plan.facts) for _ in range(3)]
    made = soup["soup_of"](networks, plan)
    first = next(name for name in made.state_dict() if name.endswith("running_mean")).removesuffix("running_mean")
    kernel = next(name for name, tensor in made.state_dict().items() if tensor.ndim == 4 and "body" in name)
    mean = torch.stack([network.state_dict()[kernel] for network in networks]).mean(0)
    torch.testing.assert_close(made.state_dict()[kernel], mean)
    rows = plan.training_rows(0).tolist()
    assert len(rows) == 18
    maps = functional.conv2d(to_tensor(plan.dataset.images(rows), "cpu"), mean, padding="same")
    torch.testing.assert_close(made.state_dict()[f"{first}running_mean"], maps.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
    assert not made.training


def test_a_network_continues_from_the_weights_of_another(soup: dict[str, Any], tiny_npz: Path, tmp_path: Path) -> None:
    asked = TrainSettings(
        data=str(tiny_npz), arch="unet-baseline(filters=2, depth=1)", device="cpu", precision="fp32", epochs=1, lr=1e-9
    )
    plan = plan_member(asked, tmp_path)
    start = build_network(plan.settings, plan.facts)
    again = soup["trained"](plan, soup["varied"](plan.settings, 7, "dice", "hflip"), 1, start)
    for name, weights in start.named_parameters():
        torch.testing.assert_close(dict(again.named_parameters())[name], weights, atol=1e-6, rtol=0)
