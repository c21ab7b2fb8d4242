"""What one member says about native images: whole, in tiles, at its input size and scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from ensemble.config import Component, DataFacts, MemberSettings, Tta
from ensemble.inference import batching, member_network
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import build_network
from ensemble.inference.pooled_networks import PooledNetworks

CLASSES = ("soil", "rock", "sand")
SMALL = Component(name="unet-baseline", options={"depth": 2, "filters": 4})
GLOBAL = Component(name="pspnet")


def member(architecture: Component = SMALL, size: tuple[int, int] = (64, 64), **more: Any) -> MemberNetwork:
    """A member of random weights, which are the same for the same architecture."""
    facts = DataFacts(
        name="none", data_hash="0", split_hash="1", background="class", classes=CLASSES, values=(0, 1, 2), bands=1,
        height=size[0], width=size[1],
    )  # fmt: skip
    given = MemberSettings(architecture=architecture, loss=Component(name="ce"), **more)
    torch.manual_seed(0)
    return MemberNetwork((build_network(given, facts).eval(),), given, facts, "cpu")


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 1), dtype=np.uint8)


SETTINGS: list[dict[str, Any]] = [
    {}, {"input_scale": 2}, {"input_scale": 0.5}, {"input_scale": 0.375}, {"input_size": (48, 80)},
]  # fmt: skip


@pytest.mark.parametrize("more", SETTINGS, ids=str)
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_probabilities_have_native_pixels_for_any_size(more: dict[str, Any], tta: Tta) -> None:
    one = member(tta=tta, **more)

    @given(height=st.integers(1, 90), width=st.integers(1, 90))
    @settings(max_examples=12, deadline=None)
    def check(height: int, width: int) -> None:
        probs = one.of(noise(height, width))
        assert probs.shape == (1, 3, height, width)
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)

    check()


@pytest.mark.parametrize("more", SETTINGS, ids=str)
def test_views_commute_with_resizing(more: dict[str, Any]) -> None:
    one, image = member(tta="d4", **more), noise(60, 60)
    turned = np.ascontiguousarray(image.transpose(0, 2, 1, 3))
    np.testing.assert_allclose(one.of(turned), one.of(image).transpose(0, 1, 3, 2), atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2, 0.5, 0.75])
def test_tiles_are_the_whole_image_at_every_scale(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    one, image = PooledNetworks.of_one(member(input_scale=scale)), noise(577, 1101)
    whole = one.of(image)
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1)
    assert len(one.tiling.spans(1101)) > 1
    np.testing.assert_allclose(one.of(image), whole, atol=1e-4)


@pytest.mark.parametrize("tta", ["none", "d4"])
@pytest.mark.parametrize("size", [(1100, 700), (300, 1300)])
def test_a_member_with_an_input_size_sees_a_large_image_as_a_whole(
    size: tuple[int, int], tta: Tta, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, image = PooledNetworks.of_one(member(input_size=(64, 96), tta=tta)), noise(*size)
    whole = one.of(image)
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1)
    tiled = one.of(image)
    if tta == "none":
        np.testing.assert_allclose(tiled, whole, atol=1e-4)
    else:  # views are averaged before they are enlarged
        assert np.abs(tiled - whole).mean() < 0.02


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes of all images that networks are given."""
    sizes: list[tuple[int, ...]] = []
    infer: Callable[..., Tensor] = member_network.infer

    def noted(network: nn.Module, images: NDArray[Any], *rest: Any) -> Tensor:
        sizes.append(images.shape[1:3])
        return infer(network, images, *rest)

    monkeypatch.setattr(member_network, "infer", noted)
    return sizes


def test_a_network_that_looks_at_whole_images_sees_crops_if_it_was_trained_on_them(seen: list[tuple[int, ...]]) -> None:
    probs = member(GLOBAL, size=(400, 400), crop=(96, 70)).of(noise(250, 170))
    assert max(max(size) for size in seen) == 64
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert probs.shape == (1, 3, 250, 170)


def test_other_networks_see_whole_images(seen: list[tuple[int, ...]]) -> None:
    member(SMALL, crop=(96, 96)).of(noise(250, 170))
    member(GLOBAL, size=(400, 400)).of(noise(250, 170))
    assert set(seen) == {(250, 170)}


def test_tiles_are_as_large_as_the_images_of_training(
    seen: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = PooledNetworks.of_one(member(GLOBAL, size=(640, 700)))
    assert one.tiling.tile == 640
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1)
    one.of(noise(700, 650))
    assert max(max(size) for size in seen) == 640


def test_the_receptive_field_is_remembered_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keyed, wide = replace(member(), key="a" * 32), replace(member(GLOBAL), key="b" * 32)
    reaches = keyed.reach, wide.reach
    assert reaches[0] is not None
    assert reaches[1] is None
    again = replace(keyed), replace(wide)
    monkeypatch.setattr(member_network, "receptive_radius", lambda *_: 1 / 0)
    assert (again[0].reach, again[1].reach) == reaches


def test_the_reach_is_in_native_pixels() -> None:
    plain, doubled, halved = (member(input_scale=scale).reach for scale in (1, 2, 0.5))
    assert plain is not None
    assert doubled is not None
    assert halved is not None
    assert doubled < plain < halved


def test_a_member_with_an_input_size_has_no_reach() -> None:
    assert member(input_size=(64, 64)).reach is None


@pytest.mark.parametrize("size", [(50, 60), (200, 90), (130, 1400)])
@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        (SMALL, {}),
        (GLOBAL, {}),
        (SMALL, {"crop": (64, 64)}),
        (GLOBAL, {"crop": (64, 64)}),
        (GLOBAL, {"crop": (96, 128)}),
    ],
    ids=str,
)
def test_the_pixels_that_networks_see_are_foretold(
    architecture: Component, more: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, infer = [0], member_network.infer

    def counted(network: nn.Module, images: NDArray[Any], *rest: Any) -> Tensor:
        pixels[0] += math.prod(images.shape[:3])
        return infer(network, images, *rest)

    monkeypatch.setattr(batching, "WHOLE_PIXELS", 100_000)
    monkeypatch.setattr(member_network, "infer", counted)
    one = PooledNetworks.of_one(member(architecture, **more))
    one.of(noise(*size))
    assert one.seen(size) == pixels[0]
