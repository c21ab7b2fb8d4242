"""Networks that supervise more than their last output: what training asks of them, and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ensemble
from ensemble.architectures import ARCHITECTURES
from ensemble.core.component_text import format_component
from ensemble.inference.network import Network, load_networks
from ensemble.runs.member import Member
from ensemble.training.checkpoint import save_weights
from ensemble.training.trainer import supervised_loss

Train = Callable[..., Member]


def test_the_loss_is_the_weighted_mean_of_all_outputs() -> None:
    def mean(logits: Tensor, labels: Tensor) -> Tensor:
        return logits.mean()

    outputs = [torch.full((1, 2, 1, 1), value) for value in (7.0, 3.0, 1.0)]
    labels = torch.zeros(1, 1, 1, dtype=torch.int64)
    assert supervised_loss(mean, outputs, labels) == pytest.approx((7 + 3 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4))  # pyright: ignore[reportArgumentType]
    assert supervised_loss(mean, outputs[:1], labels) == 7  # pyright: ignore[reportArgumentType]


def network(name: str, **options: Any) -> Network:
    torch.manual_seed(0)
    return Network(ARCHITECTURES.create(name, 1, 3, **options), torch.tensor([0.4]), torch.tensor([0.2])).eval()


def test_a_network_gives_all_it_supervises_on_standardised_images() -> None:
    images_nchw = torch.rand(2, 1, 33, 40)
    plain = network("unet-baseline", filters=2)
    assert len(plain.supervised(images_nchw)) == 1
    assert torch.equal(plain.supervised(images_nchw)[0], plain(images_nchw))
    deep = network("unet-baseline", filters=2, deep_supervision=True)
    outputs = deep.supervised(images_nchw)
    assert [tuple(output.shape) for output in outputs] == [(2, 3, 33, 40)] * 2
    assert torch.equal(outputs[0], deep(images_nchw))


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("unet", {"filters": 2, "depth": 2, "deep_supervision": True}),
        ("cascade", {"first": "unet(filters=2, depth=1)", "second": "unet(filters=2, depth=1)", "frozen": True}),
    ],
)
def test_every_weight_of_such_a_network_learns(
    train_tiny: Train, tmp_path: Path, tiny_arrays: dict[str, Any], arch: str, options: dict[str, Any]
) -> None:
    text = format_component(arch, options)
    first = train_tiny(tmp_path / "a", arch=text, epochs=1)
    longer = train_tiny(tmp_path / "b", arch=text, epochs=4)
    before, after = (dict(load_networks(member)[0].named_parameters()) for member in (first, longer))
    assert not [name for name in before if torch.equal(before[name], after[name])]
    assert ensemble.load(longer.path)(tiny_arrays["test_set"]).shape == (5, 3, 32, 32)


def test_a_member_starts_from_encoder_weights_and_needs_them_no_more(
    train_tiny: Train, tmp_path: Path, tiny_arrays: dict[str, Any]
) -> None:
    torch.manual_seed(99)
    encoder = ARCHITECTURES.create("linknet", 1, 3, depth=5).get_submodule("network.encoder")
    file = tmp_path / "encoder.safetensors"
    save_weights(file, encoder.state_dict())
    settings: dict[str, Any] = {"arch": "linknet(depth=2)", "epochs": 1, "lr": 1e-9}
    member = train_tiny(tmp_path / "runs", **settings | {"arch": f"linknet(depth=2, encoder_weights={file})"})
    file.unlink()
    kept = load_networks(member)[0].get_submodule("body.network.encoder").state_dict()
    given = encoder.state_dict()
    for name in ("conv1.weight", "layer1.0.conv1.weight"):
        torch.testing.assert_close(kept[name], given[name], rtol=0, atol=1e-6)
    random = train_tiny(tmp_path / "runs", **settings)
    assert random.name != member.name
    other = load_networks(random)[0].get_submodule("body.network.encoder").state_dict()
    assert not torch.allclose(other["conv1.weight"], given["conv1.weight"], atol=1e-3)
    probs = ensemble.load(member.path)(tiny_arrays["test_set"])
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
