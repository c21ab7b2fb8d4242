"""The U-Net as a whole: every combination of kinds, deep supervision, presets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.architectures.attention import Attention, AttentionGate
from ensemble.architectures.blocks import Block, ResidualBlock
from ensemble.architectures.bottlenecks import Bottleneck
from ensemble.architectures.norms import Norm
from ensemble.architectures.padding import Padded
from ensemble.architectures.unet import MAX_DEPTH, UNet
from ensemble.architectures.unet_family import PARAMETERS
from ensemble.architectures.upsampling import Up
from ensemble.core.component_text import parse_given
from ensemble.core.errors import EnsError, UnknownName

PRESETS = [name for name in ARCHITECTURES if "bottleneck" in ARCHITECTURES.options(name)]

options = st.fixed_dictionaries(
    {
        "filters": st.integers(1, 4),
        "depth": st.integers(1, 3),
        "block": st.sampled_from(get_args(Block)),
        "attention": st.sampled_from(get_args(Attention)),
        "bottleneck": st.sampled_from(get_args(Bottleneck)),
        "up": st.sampled_from(get_args(Up)),
        "norm": st.sampled_from(get_args(Norm)),
        "dropout": st.sampled_from([0.0, 0.2]),
        "deep_supervision": st.booleans(),
    }
)


def create(name: str, in_channels: int = 1, classes: int = 2, **options: Any) -> Any:
    torch.manual_seed(0)
    return ARCHITECTURES.create(name, in_channels, classes, **options)


@given(name=st.sampled_from(PRESETS), options=options)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_every_combination_trains_one_step(name: str, options: dict[str, Any]) -> None:
    network = create(name, 2, 3, **options)
    images_nchw, labels_nhw = torch.rand(2, 2, 32, 33), torch.randint(0, 3, (2, 32, 33))
    supervised = hasattr(network, "supervised")
    assert supervised == (options["deep_supervision"] and options["depth"] > 1)
    outputs = network.supervised(images_nchw) if supervised else [network(images_nchw)]
    assert len(outputs) == (options["depth"] if supervised else 1)
    before = [parameter.detach().clone() for parameter in network.parameters()]
    torch.stack([F.cross_entropy(output, labels_nhw) for output in outputs]).sum().backward()
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    for (key, parameter), old in zip(network.named_parameters(), before, strict=True):
        assert parameter.grad is not None, f"{key} is not used"
        assert parameter.grad.isfinite().all(), key
        torch.testing.assert_close(parameter, old - 0.1 * parameter.grad)
    assert network.eval()(images_nchw[:1]).isfinite().all()


@pytest.mark.parametrize("depth", range(1, MAX_DEPTH + 1))
def test_every_depth_trains_on_the_smallest_images(depth: int) -> None:
    network = create("unet", filters=2, depth=depth)
    network(torch.rand(2, 1, 32, 33)).sum().backward()


@pytest.mark.parametrize("option", ["block", "attention", "bottleneck", "up", "norm"])
def test_unknown_kind_is_named(option: str) -> None:
    kinds: dict[str, Any] = {option: "plian"}
    with pytest.raises(UnknownName, match=f"unknown {option} 'plian' of the U-Net"):
        UNet(1, 2, **kinds)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("depth", 6, "expected depth to be a whole number from 1 to 5, got 6"),
        ("depth", 0, "expected depth to be a whole number from 1 to 5, got 0"),
        ("filters", 0, "expected filters to be a whole number of at least 1, got 0"),
        ("dropout", 1, r"expected dropout to be a number in \[0, 1\), got 1"),
    ],
)
def test_number_out_of_range_is_refused(option: str, value: int, expected: str) -> None:
    numbers: dict[str, Any] = {option: value}
    with pytest.raises(EnsError, match=expected):
        UNet(1, 2, **numbers)


def test_widths_double_and_sizes_halve() -> None:
    network = UNet(1, 4, filters=3, depth=3)
    shapes: dict[str, tuple[int, ...]] = {}

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        shapes[names[module]] = tuple(output.shape[1:])

    names = {module: name for name, module in network.named_modules()}
    for module in [*network.encoder, network.bottleneck, *network.decoder]:
        module.register_forward_hook(note)
    network(torch.rand(1, 1, 32, 64))
    assert shapes["encoder.0"] == shapes["decoder.0"] == (3, 32, 64)
    assert shapes["encoder.2"] == shapes["decoder.2"] == (12, 8, 16)
    assert shapes["bottleneck"] == (24, 4, 8)


def test_convolutions_before_a_norm_have_no_bias() -> None:
    network = UNet(1, 5, filters=2, block="residual", attention="gate", bottleneck="residual", up="bilinear")
    biased = [name for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert biased == ["head"]


def test_dropout_acts_in_training_only() -> None:
    network = create("unet", filters=4, depth=2, dropout=0.5)
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout2d)]
    assert [module.p for module in dropouts] == [0.5]
    images_nchw = torch.rand(2, 1, 32, 32)
    assert not torch.equal(network(images_nchw), network(images_nchw))
    network.eval()
    assert torch.equal(network(images_nchw), network(images_nchw))


# ---------------------------------------------------------------- deep supervision


def test_supervised_logits_are_the_decoders_maps_through_their_heads() -> None:
    network = create("unet", 1, 3, filters=2, depth=3, deep_supervision=True).eval()
    inner = network.network
    maps: dict[int, Tensor] = {}
    for level in range(3):
        inner.decoder[level].register_forward_hook(lambda _, __, output, level=level: maps.update({level: output}))
    images_nchw = torch.rand(2, 1, 37, 50)
    logits = network.supervised(images_nchw)
    assert [tuple(output.shape) for output in logits] == [(2, 3, 37, 50)] * 3
    assert torch.equal(logits[0], network(images_nchw))
    for level in (1, 2):
        head = inner.side_heads[level - 1]
        side_nchw = torch.einsum("nchw,kc->nkhw", maps[level], head.weight[:, :, 0, 0]) + head.bias[:, None, None]
        expected_nchw = nn.Upsample(scale_factor=2**level, mode="bilinear")(side_nchw)[..., :37, :50]
        torch.testing.assert_close(logits[level], expected_nchw)


def test_forward_leaves_the_side_heads_alone() -> None:
    network = create("unet", filters=2, depth=3, deep_supervision=True)
    for head in network.network.side_heads:
        head.register_forward_hook(lambda *_: pytest.fail("computed for nothing"))
    for mode in (True, False):
        network.train(mode)(torch.rand(2, 1, 32, 32))


def test_only_a_network_with_side_heads_is_supervised() -> None:
    network = create("unet", filters=2, depth=2)
    assert not hasattr(network, "supervised")
    assert not any("side_heads" in key for key in network.state_dict())
    with pytest.raises(AttributeError, match="'Padded' object has no attribute 'supervised'"):
        _ = network.supervised
    assert not hasattr(create("unet", filters=2, depth=1, deep_supervision=True), "supervised")


def test_a_copy_supervises_with_its_own_weights() -> None:
    network = create("unet", filters=2, depth=2, deep_supervision=True).eval()
    twin, images_nchw = deepcopy(network), torch.rand(1, 1, 32, 32)
    nn.init.zeros_(twin.network.side_heads[0].weight)
    assert torch.equal(twin.supervised(images_nchw)[0], network.supervised(images_nchw)[0])
    assert twin.supervised(images_nchw)[1].abs().max() == 0
    assert network.supervised(images_nchw)[1].abs().max() > 0
    assert [tuple(logits.shape) for logits in network.supervised(images_nchw[..., :3])] == [(1, 2, 32, 3)] * 2


# ---------------------------------------------------------------- presets


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("unet-baseline", {"depth": 2}),
        ("unet", {}),
        ("attention-unet", {"attention": "wide-gate"}),
        ("channel-attention-unet", {"attention": "se"}),
        ("scag-unet", {"attention": "spatial-channel"}),
        ("se-unet", {"bottleneck": "se"}),
        ("residual-unet", {"bottleneck": "residual"}),
        ("se-residual-unet", {"bottleneck": "se-residual"}),
    ],
)
def test_presets_are_the_unet_with_other_defaults(name: str, changed: dict[str, Any]) -> None:
    own, plain = create(name).state_dict(), create("unet", **changed).state_dict()
    assert own.keys() == plain.keys()
    assert all(torch.equal(own[key], plain[key]) for key in own)
    torch.manual_seed(0)
    direct = UNet(1, 2, **changed).state_dict()
    assert all(torch.equal(own[f"network.{key}"], direct[key]) for key in direct)


def test_every_preset_takes_every_option_and_differs_from_the_others() -> None:
    assert len(PRESETS) >= 12
    known = set(PARAMETERS) - {"in_channels", "classes"}
    defaults: dict[tuple[Any, ...], str] = {}
    for name in PRESETS:
        own = ARCHITECTURES.options(name)
        assert set(own) == known
        defaults[tuple(parameter.default for parameter in own.values())] = name
    assert len(defaults) == len(PRESETS)


def test_options_override_the_preset() -> None:
    chosen = parse_given("attention-unet(attention=scse, filters=2, deep_supervision=true)", ARCHITECTURES).options
    assert chosen == {"attention": "scse", "filters": 2, "deep_supervision": True}
    network = create("attention-unet", **chosen)
    assert isinstance(network, Padded)
    assert not any(isinstance(module, AttentionGate) for module in network.modules())
    with pytest.raises(UnknownName, match="did you mean 'scse'"):
        create("attention-unet", attention="scs")


def test_presets_explain_themselves() -> None:
    assert ARCHITECTURES.summary("unet") == "U-Net: encoder and decoder joined by skips, with batch norm."
    documentation = ARCHITECTURES["scag-unet"].__doc__
    assert documentation is not None
    assert "{'attention': 'spatial-channel'}" in documentation
    assert "Khanh et al." in documentation


def test_sizes_of_presets() -> None:
    def parameters(network: nn.Module) -> int:
        return sum(parameter.numel() for parameter in network.parameters())

    plain = parameters(create("unet", filters=4, depth=3))
    assert parameters(create("se-unet", filters=4, depth=3)) - plain == 32 * 8 + 8 + 8 * 32 + 32  # SE on 4 * 2**3
    residual = create("residual-unet", filters=4, depth=3)
    assert parameters(residual) - plain == 16 * 32 + 2 * 32  # the shortcut's convolution and norm
    assert sum(isinstance(module, ResidualBlock) for module in residual.modules()) == 1
    assert sum(isinstance(m, AttentionGate) for m in create("attention-unet", filters=4, depth=3).modules()) == 3
    assert parameters(create("unet-baseline", 1, 5)) < 150_000
