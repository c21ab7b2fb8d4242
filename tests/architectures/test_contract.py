"""What every registered architecture promises; a new one is found here by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.errors import EnsError, UnknownName

NAMES = list(ARCHITECTURES)
SIZES = [(32, 32), (33, 47), (64, 128), (40, 100)]

every_architecture = pytest.mark.parametrize("name", NAMES)


def build(name: str, in_channels: int = 1, classes: int = 5, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES.create(name, in_channels, classes, **options)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@every_architecture
@pytest.mark.parametrize(("in_channels", "classes"), [(1, 5), (3, 2)])
def test_logits_have_the_size_of_the_images(name: str, in_channels: int, classes: int) -> None:
    network = build(name, in_channels, classes)
    for height, width in SIZES:
        for training in (True, False):
            network.train(training)
            logits_nchw = network(images(2, in_channels, height, width))
            assert logits_nchw.shape == (2, classes, height, width)
            assert logits_nchw.isfinite().all()


@given(data=st.data())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_size_in_evaluation(small_networks: dict[str, nn.Module], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    height, width = data.draw(st.integers(32, 90)), data.draw(st.integers(32, 90))
    with torch.no_grad():
        assert small_networks[name](images(1, 1, height, width)).shape == (1, 2, height, width)


@pytest.fixture(scope="module")
def small_networks() -> dict[str, nn.Module]:
    return {name: build(name, 1, 2).eval() for name in NAMES}


@every_architecture
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network = build(name).train()
    labels_nhw = torch.randint(0, 5, (2, 64, 128), generator=torch.Generator().manual_seed(2))
    F.cross_entropy(network(images(2, 1, 64, 128)), labels_nhw).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().max() > 0, f"{key} learns nothing"


@every_architecture
def test_evaluation_is_repeatable_and_treats_images_alone(name: str) -> None:
    network, batch_nchw = build(name).eval(), images(3, 1, 40, 100)
    with torch.no_grad():
        logits_nchw = network(batch_nchw)
        assert torch.equal(logits_nchw, network(batch_nchw))
        torch.testing.assert_close(network(batch_nchw[1:2]), logits_nchw[1:2], rtol=1e-4, atol=1e-4)


@every_architecture
def test_bfloat16_and_channels_last(name: str) -> None:
    network = build(name).to(memory_format=torch.channels_last)
    batch_nchw = images(2, 1, 33, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits_nchw = network.train()(batch_nchw)
    assert logits_nchw.shape == (2, 5, 33, 64)
    logits_nchw.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    network.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half_nchw = network(batch_nchw).float()
    with torch.no_grad():
        full_nchw = network(batch_nchw)
    assert (half_nchw - full_nchw).abs().max() < 0.1 * full_nchw.abs().max()


@every_architecture
def test_state_dict_makes_an_equal_network(name: str) -> None:
    first = build(name)
    first.train()(images(2, 1, 32, 64))  # batch statistics differ from their defaults now
    torch.manual_seed(9)
    second = ARCHITECTURES.create(name, 1, 5)
    batch_nchw = images(1, 1, 32, 64)
    with torch.no_grad():
        assert not torch.equal(first.eval()(batch_nchw), second.eval()(batch_nchw))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(batch_nchw), second(batch_nchw))


@every_architecture
def test_same_seed_same_weights(name: str) -> None:
    first, second = build(name).state_dict(), build(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert build(name).training


@every_architecture
def test_wrong_images_are_named(name: str) -> None:
    network = build(name, 1).eval()
    with pytest.raises(EnsError, match="at least 32x32 pixels, got 31x64"):
        network(images(1, 1, 31, 64))
    with pytest.raises(EnsError, match=r"shape \(n, 1, h, w\), got \(1, 3, 64, 64\)"):
        network(images(1, 3, 64, 64))
    with pytest.raises(EnsError, match="shape"):
        network(images(1, 64, 64))


@every_architecture
def test_wrong_options_are_named(name: str) -> None:
    with pytest.raises(EnsError, match="in_channels"):
        build(name, 0)
    with pytest.raises(EnsError, match="classes"):
        build(name, 1, 1)
    bad: dict[str, list[Any]] = {
        "filters": [0, -4, 2.5, True],
        "depth": [0, 9, 1.5],
        "dropout": [1, -0.1, float("nan"), "much"],
        "out_channels": [0],
        "encoder": ["resnet18x"],
        "up": ["nearest"],
    }
    for option in ARCHITECTURES.options(name):
        for value in bad[option]:
            with pytest.raises(EnsError, match=option):
                build(name, **{option: value})


def test_options_have_types_for_the_command_line() -> None:
    assert ARCHITECTURES.parse_options("unet", ["filters=8", "dropout=0.1", "up=bilinear"]) == {
        "filters": 8,
        "dropout": 0.1,
        "up": "bilinear",
    }
    with pytest.raises(UnknownName, match="did you mean 'bilinear'"):
        ARCHITECTURES.parse_options("unet", ["up=bilinera"])


@pytest.mark.slow
@every_architecture
def test_learns_eight_images_by_heart(name: str) -> None:
    network = build(name, 1, 3)
    batch_nchw, labels_nhw = textured_images()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        loss = F.cross_entropy(network.train()(batch_nchw), labels_nhw)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Batch statistics of training: the running ones lag behind sixty quick steps.
    accuracy = (network(batch_nchw).argmax(1) == labels_nhw).float().mean().item()
    assert accuracy >= 0.95, f"{accuracy:.3f}"


def textured_images() -> tuple[Tensor, Tensor]:
    """Eight 32x64 images of three textures of one mean grey: flat, stripes along y, checkerboard, in upright bands."""
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.arange(32)[:, None], torch.arange(64)[None, :]
    stripes_hw, checks_hw = (rows // 2 % 2).expand(32, 64), (rows // 4 + columns // 4) % 2
    textures_khw = torch.stack([torch.full((32, 64), 0.5), stripes_hw.float(), checks_hw.float()])
    edges_n = torch.randint(1, 5, (8, 2), generator=generator).mul(8).sort(dim=1).values + torch.tensor([0, 16])
    labels_nhw = (columns[None] >= edges_n[:, 0, None, None]).long() + (columns[None] >= edges_n[:, 1, None, None])
    labels_nhw = labels_nhw.expand(8, 32, 64).contiguous()
    images_nhw = textures_khw.permute(1, 2, 0).expand(8, -1, -1, -1).gather(3, labels_nhw[..., None])[..., 0]
    return (images_nhw + 0.1 * torch.randn(8, 32, 64, generator=generator))[:, None], labels_nhw
