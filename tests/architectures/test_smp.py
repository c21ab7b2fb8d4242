"""The decoders of segmentation-models-pytorch: every depth, any encoder, any size, no dead weight."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import ensemble.architectures
from ensemble.architectures import ARCHITECTURES, known_encoders
from ensemble.core.errors import EnsError, UnknownName

ATROUS = {"decoder_channels": 32, "decoder_atrous_rates": (2, 4, 6), "decoder_aspp_dropout": 0.2}


@dataclass(frozen=True)
class Kind:
    """Smp's class, its arguments at a depth, ours that give the same, the depths it can use."""

    smp: str
    arguments: Callable[[int], dict[str, Any]]
    options: dict[str, Any]
    depths: Sequence[int] = (2, 3, 4, 5)


def unet_arguments(depth: int) -> dict[str, Any]:
    return {"decoder_channels": (128, 64, 32, 16, 8)[-depth:]}


def scse_arguments(depth: int) -> dict[str, Any]:
    return {"decoder_channels": (256, 128, 64, 32, 16)[-depth:], "decoder_attention_type": "scse"}


# What the published examples of smp set by hand for each depth stands here as numbers.
KINDS = {
    "smp-unet": Kind("Unet", unet_arguments, {"filters": 8}),
    "unetplusplus": Kind("UnetPlusPlus", scse_arguments, {"attention": "scse"}),
    "manet": Kind("MAnet", unet_arguments, {"filters": 8}),
    "linknet": Kind("Linknet", lambda _: {}, {}),
    "fpn": Kind(
        "FPN",
        lambda depth: {
            "decoder_pyramid_channels": 16,
            "decoder_segmentation_channels": 32,
            "upsampling": {3: 1, 4: 2, 5: 4}[depth],
        },
        {"pyramid_channels": 16, "out_channels": 32},
        (3, 4, 5),
    ),
    "pspnet": Kind(
        "PSPNet",
        lambda depth: {"psp_out_channels": 32, "upsampling": {2: 4, 3: 8, 4: 16, 5: 32}[depth]},
        {"out_channels": 32},
    ),
    "deeplabv3": Kind("DeepLabV3", lambda _: ATROUS | {"encoder_output_stride": 8}, {"out_channels": 32}, (3, 4, 5)),
    "deeplabv3plus": Kind(
        "DeepLabV3Plus",
        lambda _: ATROUS | {"encoder_output_stride": 16},
        {"out_channels": 32, "output_stride": 16},
        (3, 4, 5),
    ),
    "pan": Kind("PAN", lambda _: {"decoder_channels": 16}, {"out_channels": 16}, (3, 4, 5)),
    "upernet": Kind("UPerNet", lambda _: {"decoder_channels": 16}, {"out_channels": 16}, (3, 4, 5)),
    "segformer": Kind(
        "Segformer",
        lambda _: {"decoder_segmentation_channels": 16},
        {"out_channels": 16, "encoder": "resnet18"},
        (3, 4, 5),
    ),
    "dpt": Kind(
        "DPT",
        lambda depth: {
            "decoder_intermediate_channels": (16,) * depth,
            "decoder_fusion_channels": 16,
            "dynamic_img_size": True,
        },
        {"out_channels": 16, "encoder": "tu-test_vit"},
    ),
}


def reference(name: str, depth: int) -> nn.Module:
    """The network as smp builds it, unpruned."""
    import segmentation_models_pytorch as smp

    kind = KINDS[name]
    encoder = kind.options.get("encoder", "resnet18")
    arguments = {"encoder_depth": depth, "encoder_weights": None, "in_channels": 1, "classes": 3}
    return getattr(smp, kind.smp)(encoder, **arguments, **kind.arguments(depth))


@pytest.mark.parametrize(("name", "depth"), [(name, depth) for name, kind in KINDS.items() for depth in kind.depths])
def test_every_depth_equals_smp_without_its_dead_weight(name: str, depth: int) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES.create(name, 1, 3, depth=depth, **KINDS[name].options)
    torch.manual_seed(0)
    whole = reference(name, depth)
    own, theirs = network.state_dict(), whole.state_dict()
    # Equal weights without any copying: building and pruning drew nothing else from the random state.
    assert all(torch.equal(value, theirs[key.removeprefix("network.")]) for key, value in own.items())
    images_nchw = torch.rand(2, 1, 128, 128) if name == "pan" else torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(images_nchw), whole.eval()(images_nchw))
    logits_nchw = network.train()(torch.rand(2, 1, 33, 47))
    assert logits_nchw.shape == (2, 3, 33, 47)
    logits_nchw.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet18_at_depth_3_loses_nine_tenths_of_its_weights() -> None:
    encoder = ARCHITECTURES.create("linknet", 1, 5, depth=3).get_submodule("network.encoder")
    assert parameters(encoder) < 0.07 * parameters(reference("linknet", 3).get_submodule("encoder"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("linknet", {"encoder": "mobilenet_v2"}),
        ("linknet", {"encoder": "tu-mobilenetv3_small_050.lamb_in1k"}),
        ("pspnet", {"encoder": "efficientnet-b0"}),
        ("smp-unet", {"encoder": "vgg11_bn"}),
        ("unetplusplus", {"encoder": "tu-pvt_v2_b0", "depth": 3}),  # has no map at half the size
        ("fpn", {"encoder": "tu-regnetx_002"}),
        ("upernet", {"encoder": "tu-convnext_atto"}),
        ("pan", {"encoder": "densenet121"}),  # cannot be dilated, and need not be at depth 3
        ("segformer", {}),
        ("dpt", {"encoder": "tu-vit_wee_patch16_reg1_gap_256", "out_channels": 16}),  # no class token
    ],
)
def test_other_encoders(name: str, options: dict[str, Any]) -> None:
    network = ARCHITECTURES.create(name, 1, 2, **options)
    network.train()(torch.rand(2, 1, 40, 50)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("linknet", {"encoder": "mit_b0"}, "an encoder that Linknet can use at depth 4, got 'mit_b0'.*choose another"),
        ("deeplabv3", {"encoder": "densenet121"}, "DeepLabV3 can use at depth 4, got 'densenet121' .*"),
        ("dpt", {"encoder": "resnet18"}, "DPT can use .*, got 'resnet18' .*for example tu-vit_tiny_patch16_224"),
        ("fpn", {"encoder": "tu-convnext_atto"}, r"got 'tu-convnext_atto' \(The size of tensor .*"),  # a map is empty
        ("smp-unet", {"encoder": "tu-test_vit"}, "Unet can use at depth 4, got 'tu-test_vit'"),
        ("fpn", {"depth": 2}, "depth to be a whole number from 3 to 5, got 2"),
        ("upernet", {"depth": 2}, "depth to be a whole number from 3 to 5, got 2"),
        ("fpn", {"out_channels": 48}, "out_channels to be a multiple of 32, got 48"),
        ("smp-unet", {"filters": 8, "attention": "scse"}, r"filters \(with attention scse\) .* at least 16, got 8"),
        ("unetplusplus", {"attention": "cbam"}, "'cbam' for option attention of architecture.*none, scse"),
        ("deeplabv3", {"rates": (1, 2)}, "rates to be three whole numbers, got 2"),
        ("deeplabv3", {"rates": (1, 2, 0)}, "rates to be a whole number of at least 1, got 0"),
        ("deeplabv3plus", {"output_stride": 4}, "output_stride to be 8 or 16, got 4"),
    ],
)
def test_what_cannot_work_is_one_clear_error(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError, match=text) as caught:
        ARCHITECTURES.create(name, 1, 2, **options)
    assert "\n" not in str(caught.value)


def test_scse_recalibrates_every_block_of_the_decoder() -> None:
    from segmentation_models_pytorch.base import modules

    network = ARCHITECTURES.create("smp-unet", 1, 2, attention="scse", depth=3)
    assert sum(isinstance(module, modules.SCSEModule) for module in network.modules()) == 5  # two a block; one unused


def test_vision_transformer_sees_where_things_are() -> None:
    """The position embeddings are interpolated to the grid of the image, not cut off."""
    network = ARCHITECTURES.create("dpt", 1, 2, encoder="tu-test_vit", out_channels=16).eval()
    with torch.no_grad():
        logits_nchw = network(torch.zeros(1, 1, 96, 160))
        network.get_submodule("network.encoder.model").get_parameter("pos_embed").zero_()
        assert not torch.allclose(logits_nchw, network(torch.zeros(1, 1, 96, 160)))


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        ("resnet81", "unknown encoder 'resnet81'; did you mean 'resnet18'"),
        ("tu-resnet18x", "did you mean 'tu-resnet18'"),
        ("timm-efficientnet_b0", "did you mean 'tu-efficientnet_b0'"),
        ("tu-hf-hub:someone/model", "unknown encoder"),
    ],
)
def test_unknown_encoder_gets_a_suggestion(encoder: str, text: str) -> None:
    with pytest.raises(UnknownName, match=text) as caught:
        ARCHITECTURES.create("linknet", 1, 2, encoder=encoder)
    assert len(str(caught.value)) < 2500


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("depth", [1, 6])
def test_depth_out_of_range(name: str, depth: int) -> None:
    low = KINDS[name].depths[0]
    with pytest.raises(EnsError, match=f"expected depth to be a whole number from {low} to 5, got {depth}"):
        ARCHITECTURES.create(name, 1, 2, depth=depth)


def test_known_encoders_are_sorted_and_not_deprecated() -> None:
    names = known_encoders()
    assert names == sorted(names)
    assert {"resnet18", "vgg16_bn", "mobilenet_v2"} <= set(names)
    assert not [name for name in names if name.startswith("timm-")]


def test_import_leaves_the_slow_libraries_alone() -> None:
    code = (
        "import sys, ensemble.architectures\n"
        "heavy = {'segmentation_models_pytorch', 'timm', 'torchvision', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_bare_import_of_the_folder_is_refused() -> None:
    assert ensemble.architectures.__file__
    spec = spec_from_file_location("architectures", ensemble.architectures.__file__)
    assert spec
    assert spec.loader
    with pytest.raises(ImportError, match=r"write `import ensemble\.architectures`"):
        spec.loader.exec_module(module_from_spec(spec))
