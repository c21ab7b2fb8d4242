"""Linknet and PSPNet: every depth, any encoder, no dead weight."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import nn

import ensemble.architectures
from ensemble.architectures import ARCHITECTURES, known_encoders
from ensemble.errors import EnsError, UnknownName

KINDS = {"linknet": "Linknet", "pspnet": "PSPNet"}


def reference(name: str, depth: int) -> nn.Module:
    """The network as smp builds it, unpruned."""
    import segmentation_models_pytorch as smp

    options = {"psp_out_channels": 32, "upsampling": 2**depth} if name == "pspnet" else {}
    return getattr(smp, KINDS[name])(
        "resnet18", encoder_depth=depth, encoder_weights=None, in_channels=1, classes=3, **options
    )


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_every_depth_equals_smp_without_its_dead_weight(name: str, depth: int) -> None:
    options = {"out_channels": 32} if name == "pspnet" else {}
    torch.manual_seed(0)
    network = ARCHITECTURES.create(name, 1, 3, depth=depth, **options)
    torch.manual_seed(0)
    whole = reference(name, depth)
    own, theirs = network.state_dict(), whole.state_dict()
    # Equal weights without any copying: building and pruning drew nothing else from the random state.
    assert all(torch.equal(value, theirs[key.removeprefix("network.")]) for key, value in own.items())
    assert (len(own) < len(theirs)) == (depth < 5)
    images_nchw = torch.rand(2, 1, 32, 64)
    with torch.no_grad():
        assert torch.equal(network.eval()(images_nchw), whole.eval()(images_nchw))
    logits_nchw = network.train()(torch.rand(2, 1, 33, 47))
    assert logits_nchw.shape == (2, 3, 33, 47)
    logits_nchw.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_resnet18_at_depth_3_loses_nine_tenths_of_its_weights() -> None:
    encoder = ARCHITECTURES.create("linknet", 1, 5, depth=3).get_submodule("network.encoder")
    whole = reference("linknet", 3).get_submodule("encoder")
    counts = [sum(parameter.numel() for parameter in module.parameters()) for module in (encoder, whole)]
    assert counts[0] < 0.07 * counts[1]


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "efficientnet-b0", "tu-mobilenetv3_small_050.lamb_in1k"])
@pytest.mark.parametrize("name", KINDS)
def test_other_encoders(name: str, encoder: str) -> None:
    network = ARCHITECTURES.create(name, 1, 2, encoder=encoder)
    network.train()(torch.rand(2, 1, 40, 50)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        ("resnet81", "unknown encoder 'resnet81'; did you mean 'resnet18'"),
        ("tu-resnet18x", "did you mean 'tu-resnet18'"),
        ("timm-efficientnet_b0", "did you mean 'tu-efficientnet_b0'"),
        ("tu-hf-hub:someone/model", "unknown encoder"),
    ],
)
def test_unknown_encoder_gets_a_suggestion(name: str, encoder: str, text: str) -> None:
    with pytest.raises(UnknownName, match=text) as caught:
        ARCHITECTURES.create(name, 1, 2, encoder=encoder)
    assert len(str(caught.value)) < 2500


def test_encoder_that_does_not_fit_is_one_clear_error() -> None:
    with pytest.raises(EnsError, match=r"an encoder that Linknet can use at depth 4, got 'mit_b0'.*choose another"):
        ARCHITECTURES.create("linknet", 1, 2, encoder="mit_b0")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("depth", [1, 6])
def test_depth_out_of_range(name: str, depth: int) -> None:
    with pytest.raises(EnsError, match=f"expected depth to be a whole number from 2 to 5, got {depth}"):
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
