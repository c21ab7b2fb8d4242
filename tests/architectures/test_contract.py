"""What every registered architecture promises; a new one is found here by itself."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.errors import EnsError, UnknownName

NAMES = list(ARCHITECTURES)

every_architecture = pytest.mark.parametrize("name", NAMES)


def build(name: str, in_channels: int = 1, classes: int = 5, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES.create(name, in_channels, classes, **options)


@cache
def built(name: str) -> nn.Module:
    """One network per name for the whole file; tests may change its mode, batch statistics and gradients."""
    return build(name)


@pytest.fixture(scope="module", autouse=True)
def _forget_the_networks() -> Iterator[None]:
    yield
    built.cache_clear()


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@every_architecture
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_logits_have_the_size_of_the_images(name: str, size: tuple[int, int]) -> None:
    network, batch_nchw = built(name), images(2, 1, *size)
    for training in (True, False):
        network.train(training)
        logits_nchw = network(batch_nchw)
        assert logits_nchw.shape == (2, 5, *size)
        assert logits_nchw.isfinite().all()
    if hasattr(network, "supervised"):
        outputs = supervised(network, batch_nchw)
        assert len(outputs) > 1
        assert [output.shape for output in outputs] == [logits_nchw.shape] * len(outputs)
        assert torch.equal(outputs[0], network(batch_nchw))


def supervised(network: nn.Module, batch_nchw: Tensor) -> list[Tensor]:
    return typing.cast(Any, network).supervised(batch_nchw)


@every_architecture
def test_bands_and_classes_as_asked(name: str) -> None:
    with torch.no_grad():
        assert build(name, 3, 2).eval()(images(1, 3, 40, 100)).shape == (1, 2, 40, 100)


@given(data=st.data())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_size_in_evaluation(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    height, width = data.draw(st.integers(32, 90)), data.draw(st.integers(32, 90))
    with torch.no_grad():
        assert built(name).eval()(images(1, 1, height, width)).shape == (1, 5, height, width)


@every_architecture
def test_every_parameter_gets_a_gradient(name: str) -> None:
    silent, seed = without_gradient(built(name)), 0
    # A small layer before a ReLU may be dead by chance; what is silent for four seeds is so by construction.
    while silent and seed < 3:
        torch.manual_seed(seed := seed + 1)
        silent &= without_gradient(ARCHITECTURES.create(name, 1, 5))
    assert not silent, "these learn nothing"


def without_gradient(network: nn.Module) -> set[str]:
    """Names of the parameters that one training step leaves as they are."""
    network.train().zero_grad()
    labels_nhw = torch.randint(0, 5, (2, 64, 128), generator=torch.Generator().manual_seed(2))
    F.cross_entropy(network(images(2, 1, 64, 128)), labels_nhw).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
    return {key for key, p in network.named_parameters() if p.grad is not None and not p.grad.any()}


@every_architecture
def test_evaluation_is_repeatable_and_treats_images_alone(name: str) -> None:
    network, batch_nchw = built(name).eval(), images(3, 1, 40, 100)
    with torch.no_grad():
        logits_nchw = network(batch_nchw)
        assert torch.equal(logits_nchw, network(batch_nchw))
        torch.testing.assert_close(network(batch_nchw[1:2]), logits_nchw[1:2], rtol=1e-4, atol=1e-4)


@every_architecture
def test_bfloat16_and_channels_last(name: str) -> None:
    network = deepcopy(built(name)).to(memory_format=torch.channels_last)
    network.zero_grad()
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
def test_a_seed_gives_the_weights_and_a_state_dict_gives_them_back(name: str) -> None:
    fresh, trained = build(name), deepcopy(built(name))
    assert fresh.training
    for (key, own), (other_key, other) in zip(fresh.named_parameters(), trained.named_parameters(), strict=True):
        assert key == other_key
        assert torch.equal(own, other)
        other.data += 0.05
    batch_nchw = images(2, 1, 32, 64)
    with torch.no_grad():
        trained.train()(batch_nchw)  # batch statistics differ from their defaults now
        assert not torch.equal(fresh.eval()(batch_nchw), trained.eval()(batch_nchw))
        fresh.load_state_dict(trained.state_dict())
        assert torch.equal(fresh(batch_nchw), trained(batch_nchw))


@every_architecture
def test_wrong_images_are_named(name: str) -> None:
    network = built(name).eval()
    with pytest.raises(EnsError, match="at least 32x32 pixels, got 31x64"):
        network(images(1, 1, 31, 64))
    with pytest.raises(EnsError, match=r"shape \(n, 1, h, w\), got \(1, 3, 64, 64\)"):
        network(images(1, 3, 64, 64))
    with pytest.raises(EnsError, match="shape"):
        network(images(1, 64, 64))


def bad_values(annotation: Any) -> list[Any]:
    """Values that no option of this type takes; none for a type such as str, which may hold anything."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ["no-such-kind"]
    if origin in (typing.Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        return bad_values(inner[0]) if len(inner) == 1 else []
    bad = {bool: ["perhaps"], int: [-4, 2.5, True, "many"], float: [-0.1, float("nan"), "much"]}
    return bad.get(annotation, [])


@every_architecture
def test_wrong_options_are_named(name: str) -> None:
    with pytest.raises(EnsError, match="in_channels"):
        build(name, 0)
    with pytest.raises(EnsError, match="classes"):
        build(name, 1, 1)
    for option, parameter in ARCHITECTURES.options(name).items():
        for value in bad_values(parameter.annotation):
            with pytest.raises(EnsError, match=option):
                build(name, **{option: value})


@every_architecture
def test_defaults_have_the_types_the_options_ask_for(name: str) -> None:
    for option, parameter in ARCHITECTURES.options(name).items():
        assert parameter.default is not parameter.empty, option
        if parameter.default is not None:
            text = (
                ",".join(map(str, parameter.default))
                if isinstance(parameter.default, tuple)
                else str(parameter.default)
            )
            assert ARCHITECTURES.parse_options(name, [f"{option}={text}"]) == {option: parameter.default}


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
    accuracy, steps = 0.0, 0
    while accuracy < 0.95 and steps <= 60:
        logits_nchw = network.train()(batch_nchw)
        # Batch statistics of training: the running ones lag behind so few quick steps.
        accuracy, steps = (logits_nchw.argmax(1) == labels_nhw).float().mean().item(), steps + 1
        optimiser.zero_grad()
        F.cross_entropy(logits_nchw, labels_nhw).backward()
        optimiser.step()
    assert accuracy >= 0.95, f"{accuracy:.3f} of the pixels after {steps} steps"


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
