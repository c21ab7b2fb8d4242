"""Check what every architecture promises. Each check is a function of a registered name and needs no pytest."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection
from copy import deepcopy
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.core.component_text import format_component, parse_given
from ensemble.testing.report import run_checks

Check = Callable[[str], None]

SIZES = ((32, 32), (33, 47), (1, 5))  # a small size, one that cannot be halved, and less than networks need


def check_architecture(name: str, leave_out: Collection[str] = ()) -> None:
    """Check a registered architecture, at its defaults, against every promise of an architecture.

    Args:
        name: name of the architecture.
        leave_out: names in ``ARCHITECTURE_CHECKS`` of promises that such an architecture cannot keep.

    Raises:
        AssertionError: some promises do not hold; the message has the name and the first reason of each.
        UnknownName: there is no such architecture, or no such check.

    >>> check_architecture("unet-baseline")
    """
    try:
        run_checks(f"architecture '{name}'", name, ARCHITECTURE_CHECKS, leave_out)
    finally:
        forget_networks()


def build(name: str, in_channels: int = 1, classes: int = 5, **options: Any) -> nn.Module:
    """Return the architecture with the random weights of seed 0."""
    torch.manual_seed(0)
    return ARCHITECTURES.create(name, in_channels, classes, **options)


@cache
def built(name: str) -> nn.Module:
    """Return one network per name for all checks; the checks may change its mode, batch statistics and gradients."""
    return build(name)


def forget_networks() -> None:
    """Free the networks that the checks shared."""
    built.cache_clear()


def images(*shape: int) -> Tensor:
    """Return random images in 0..1, the same for every call."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def logits_have_the_size_of_the_images(name: str) -> None:
    """Check that logits have the size of images of any size, in training (two images) and evaluation.

    The outputs of `supervised`, if there is one, have that size too.
    """
    for size in SIZES:
        network, batch_nchw = built(name), images(2, 1, *size)
        logits_nchw = batch_nchw
        for training in (True, False):
            network.train(training)
            logits_nchw = network(batch_nchw)
            assert logits_nchw.shape == (2, 5, *size), f"images of {size} give logits {tuple(logits_nchw.shape)}"
            assert logits_nchw.isfinite().all()
        if hasattr(network, "supervised"):
            outputs: list[Tensor] = typing.cast(Any, network).supervised(batch_nchw)
            assert len(outputs) > 1
            assert [output.shape for output in outputs] == [logits_nchw.shape] * len(outputs)
            assert torch.equal(outputs[0], network(batch_nchw))


def bands_and_classes_are_as_asked(name: str) -> None:
    """Check that an architecture takes three bands and gives two classes if asked to."""
    with torch.no_grad():
        assert build(name, 3, 2).eval()(images(1, 3, 40, 100)).shape == (1, 2, 40, 100)


def every_parameter_gets_a_gradient(name: str) -> None:
    """Check that every weight learns: none is only stored, averaged and decayed."""
    silent, seed = without_gradient(built(name)), 0
    # A small layer before a ReLU may be dead by chance. A weight without a gradient for four seeds is dead by design.
    while silent and seed < 3:
        torch.manual_seed(seed := seed + 1)
        silent &= without_gradient(ARCHITECTURES.create(name, 1, 5))
    assert not silent, f"these learn nothing: {', '.join(sorted(silent))}"


def without_gradient(network: nn.Module) -> set[str]:
    """Return the names of the parameters that have no gradient in one training step."""
    network.train().zero_grad()
    labels_nhw = torch.randint(0, 5, (2, 64, 128), generator=torch.Generator().manual_seed(2))
    F.cross_entropy(network(images(2, 1, 64, 128)), labels_nhw).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
    return {key for key, p in network.named_parameters() if p.grad is not None and not p.grad.any()}


def evaluation_is_repeatable_and_treats_images_alone(name: str) -> None:
    """Check that an image gives the same logits, whatever else is in its batch."""
    network, batch_nchw = built(name).eval(), images(3, 1, 40, 100)
    with torch.no_grad():
        logits_nchw = network(batch_nchw)
        assert torch.equal(logits_nchw, network(batch_nchw))
        torch.testing.assert_close(network(batch_nchw[1:2]), logits_nchw[1:2], rtol=1e-4, atol=1e-4)


def bfloat16_and_channels_last_work(name: str) -> None:
    """Check that training works under autocast to bf16, and that predictions are close to those of float32."""
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


def a_seed_gives_the_weights_and_a_state_dict_gives_them_back(name: str) -> None:
    """Check that the weights depend on torch's seed only, and that a state dict restores them."""
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


def options_have_types_and_defaults_of_them(name: str) -> None:
    """Check that the command line can check every option."""
    for option, parameter in ARCHITECTURES.options(name).items():
        assert parameter.default is not parameter.empty, option
        if parameter.default is not None:
            text = format_component(name, {option: parameter.default})
            assert parse_given(text, ARCHITECTURES).options == {option: parameter.default}


def learns_eight_images_by_heart(name: str) -> None:
    """Check that 60 steps are enough to fit 95 % of the pixels of eight textured images (the slowest check)."""
    network = build(name, 1, 3)
    batch_nchw, labels_nhw = textured_images()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    accuracy, steps = 0.0, 0
    while accuracy < 0.95 and steps <= 60:
        logits_nchw = network.train()(batch_nchw)
        # These are the batch statistics of training, because running statistics lag behind after few steps.
        accuracy, steps = (logits_nchw.argmax(1) == labels_nhw).float().mean().item(), steps + 1
        optimiser.zero_grad()
        F.cross_entropy(logits_nchw, labels_nhw).backward()
        optimiser.step()
    assert accuracy >= 0.95, f"{accuracy:.3f} of the pixels after {steps} steps"


def textured_images() -> tuple[Tensor, Tensor]:
    """Return eight 32x64 images and their labels: upright bands of three textures with the same mean grey.

    The textures are flat, stripes along y, and a checkerboard.
    """
    generator = torch.Generator().manual_seed(3)
    rows, columns = torch.arange(32)[:, None], torch.arange(64)[None, :]
    stripes_hw, checks_hw = (rows // 2 % 2).expand(32, 64), (rows // 4 + columns // 4) % 2
    textures_khw = torch.stack([torch.full((32, 64), 0.5), stripes_hw.float(), checks_hw.float()])
    edges_n = torch.randint(1, 5, (8, 2), generator=generator).mul(8).sort(dim=1).values + torch.tensor([0, 16])
    labels_nhw = (columns[None] >= edges_n[:, 0, None, None]).long() + (columns[None] >= edges_n[:, 1, None, None])
    labels_nhw = labels_nhw.expand(8, 32, 64).contiguous()
    images_nhw = textures_khw.permute(1, 2, 0).expand(8, -1, -1, -1).gather(3, labels_nhw[..., None])[..., 0]
    return (images_nhw + 0.1 * torch.randn(8, 32, 64, generator=generator))[:, None], labels_nhw


ARCHITECTURE_CHECKS: dict[str, Check] = {
    check.__name__.replace("_", " "): check
    for check in (
        options_have_types_and_defaults_of_them,
        logits_have_the_size_of_the_images,
        bands_and_classes_are_as_asked,
        every_parameter_gets_a_gradient,
        evaluation_is_repeatable_and_treats_images_alone,
        bfloat16_and_channels_last_work,
        a_seed_gives_the_weights_and_a_state_dict_gives_them_back,
        learns_eight_images_by_heart,
    )
}
SLOW = "learns eight images by heart"
