"""Pretrained encoders: real ImageNet weights offline, files of every kind, the hub's cache, no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES, pretrained
from ensemble.architectures.packaged import find_package
from ensemble.architectures.pretrained import fit_weights, load_encoder_weights, read_weights
from ensemble.core.component_text import parse_given
from ensemble.core.errors import EnsError

State = dict[str, Tensor]
LITE0 = "tu-tf_efficientnet_lite0"

# ---------------------------------------------------------------- real ImageNet weights


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    """Timm's complete network with the real weights; `test_packaged` compares it with a reference."""
    from timm import create_model

    package = find_package("package:efficientnet-lite0")
    network = create_model(LITE0.removeprefix("tu-"))
    network.load_state_dict(package.timm_names(read_weights(str(package.find()))))
    return network.eval()


@pytest.fixture(scope="module")
def lite0_file(lite0: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(dict(lite0.state_dict()), path)
    return path


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def encoder_of(name: str, bands: int, weights: Path | str | None, encoder: str = LITE0, **options: Any) -> nn.Module:
    network = ARCHITECTURES.create(name, bands, 2, encoder=encoder, encoder_weights=weights and str(weights), **options)
    return network.get_submodule("network.encoder").eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["linknet", "smp-unet"])
def test_encoder_from_a_file_equals_timm_to_the_bit(name: str, lite0: nn.Module, lite0_file: Path) -> None:
    encoder, images_nchw = encoder_of(name, 3, lite0_file), noise(1, 3, 64, 96)
    maps_nchw: Tensor = lite0.get_submodule("bn1")(lite0.get_submodule("conv_stem")(images_nchw))
    stages = [maps_nchw := stage(maps_nchw) for stage in lite0.get_submodule("blocks").children()]
    ends = [stages[index] for index in (0, 1, 2, 4)]  # the last map of each size
    for own_nchw, timm_nchw in zip(encoder(images_nchw)[1:], ends, strict=True):
        assert torch.equal(own_nchw, timm_nchw)


@torch.no_grad()
def test_grey_image_is_seen_as_three_equal_bands(lite0_file: Path) -> None:
    of_one, of_three = encoder_of("linknet", 1, lite0_file), encoder_of("linknet", 3, lite0_file)
    grey_nchw = noise(1, 1, 64, 96)
    pairs = zip(of_one(grey_nchw)[1:], of_three(grey_nchw.expand(-1, 3, -1, -1))[1:], strict=True)
    for one_nchw, three_nchw in pairs:
        torch.testing.assert_close(one_nchw, three_nchw, rtol=1e-4, atol=1e-4)


def test_weights_change_the_encoder_alone(lite0_file: Path) -> None:
    networks: list[nn.Module] = []
    for weights in (None, str(lite0_file)):
        torch.manual_seed(0)
        networks.append(ARCHITECTURES.create("linknet", 1, 2, encoder=LITE0, encoder_weights=weights))
    first, second = (network.state_dict() for network in networks)
    same = {key.split(".")[1] for key in first if torch.equal(first[key], second[key]) and first[key].numel() > 1}
    changed = {key.split(".")[1] for key in first if not torch.equal(first[key], second[key])}
    assert changed == {"encoder"}
    assert {"decoder", "segmentation_head"} <= same


def test_vision_transformer_from_a_file(tmp_path: Path) -> None:
    from timm import create_model

    state = create_model("test_vit").state_dict()
    save_file({f"model.{key}": tensor for key, tensor in state.items()}, tmp_path / "vit.safetensors")
    own = encoder_of("dpt", 3, tmp_path / "vit.safetensors", "tu-test_vit").state_dict()
    assert len(own) > 50
    assert all(torch.equal(tensor, state[key.removeprefix("model.")]) for key, tensor in own.items())


# ---------------------------------------------------------------- files


def small_encoder(bands: int = 3) -> nn.Sequential:
    torch.manual_seed(bands)
    return nn.Sequential(nn.Conv2d(bands, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3))


def load(encoder: nn.Module, path: Path, bands: int = 3) -> None:
    load_encoder_weights(encoder, "small", str(path), bands)


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "with a head": lambda state: state | {"fc.weight": torch.zeros(2, 2), "epoch": 3},
    "a checkpoint": lambda state: {"epoch": 3, "state_dict": state},
    "a checkpoint of a trainer": lambda state: {"model": state, "optimiser": {"lr": 0.1}},
    "before counters": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "encoder.", "module.encoder.model."])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_state_dicts_of_all_makes(wrapper: str, prefix: str, tmp_path: Path) -> None:
    torch.manual_seed(9)
    source, target = small_encoder(), small_encoder()
    nn.init.normal_(source[0].weight)  # type: ignore[arg-type]
    state = {prefix + key: value for key, value in source.state_dict().items()}
    torch.save(WRAPPERS[wrapper](state), tmp_path / "weights.pth")
    load(target, tmp_path / "weights.pth")
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_names_that_timm_joined() -> None:
    given = {"stages.0.a_b.weight": torch.ones(2), "features.norm0.weight": torch.zeros(2)}
    wanted = {"model.stages_0.a_b.weight": torch.rand(2), "model.features_norm0.weight": torch.rand(2)}
    fitted = fit_weights(wanted, given, 3, "it")
    assert [value.tolist() for value in fitted.values()] == [[1, 1], [0, 0]]


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_other_numbers_of_bands_equal_smp(bands: int, tmp_path: Path) -> None:
    from segmentation_models_pytorch.encoders._utils import patch_first_conv

    source, target = small_encoder(), small_encoder(bands)
    torch.save(source.state_dict(), tmp_path / "weights.pt")
    load(target, tmp_path / "weights.pt", bands)
    patch_first_conv(source, bands, pretrained=True)
    for own, theirs in zip(target.parameters(), source.parameters(), strict=True):
        torch.testing.assert_close(own, theirs)


class Malicious:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": small_encoder().state_dict(), "hyper": Malicious(tmp_path / "made")}, tmp_path / "evil.pt"
    )
    with pytest.raises(EnsError, match=r"evil\.pt cannot be read \(it holds Python objects besides tensors"):
        load(small_encoder(), tmp_path / "evil.pt")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("gone.pt", None, "'imagenet', package:NAME or an existing file .*, got '.*gone.pt'"),
        ("weights.npz", b"", "expected encoder_weights to be 'imagenet', package:NAME or an existing file"),
        ("imagenet1k", None, "got '.*imagenet1k'"),
        ("broken.pt", b"not a file of torch", "broken.pt cannot be read"),
        ("broken.safetensors", b"123456789", "broken.safetensors cannot be read"),
    ],
)
def test_unreadable_files_are_one_sentence(name: str, content: bytes | None, text: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EnsError, match=text) as caught:
        load(small_encoder(), tmp_path / name)
    assert "\n" not in str(caught.value)


def test_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(EnsError, match="it holds no tensors"):
        load(small_encoder(), tmp_path / "weights.pt")


def test_weights_of_another_encoder_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    state = small_encoder().state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("1.")}, path)
    with pytest.raises(EnsError, match=r"expected a tensor '1.weight' in .*weights.pt, got no such tensor; give"):
        load(small_encoder(), path)
    torch.save(state | {"2.weight": torch.zeros(3, 4, 5, 5)}, path)
    with pytest.raises(EnsError, match=r"expected '2.weight' of shape \(3, 4, 3, 3\) in .*, got \(3, 4, 5, 5\)"):
        load(small_encoder(), path)


def test_no_weights_on_the_command_line() -> None:
    assert parse_given("linknet(encoder_weights=none)", ARCHITECTURES).options == {"encoder_weights": None}


# ---------------------------------------------------------------- the hub and its cache


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no way to it but a port that nobody listens to."""
    from huggingface_hub import constants

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


def put(hub: Path, repository: str, revision: str, state: State) -> None:
    folder = hub / f"models--{repository.replace('/', '--')}"
    (snapshot := folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    (snapshot / "config.json").write_text("{}")
    save_file(state, snapshot / "model.safetensors")


@pytest.mark.parametrize("encoder", ["resnet18", "tu-resnet18"])
def test_no_network_and_no_cache_is_one_sentence(hub: Path, encoder: str) -> None:
    from huggingface_hub import constants

    with pytest.raises(EnsError) as caught:
        ARCHITECTURES.create("linknet", 1, 2, encoder=encoder, encoder_weights="imagenet")
    assert str(caught.value) == (
        f"encoder_weights: the ImageNet weights of '{encoder}' could not be fetched (the hub does not answer, and its "
        "local cache lacks them); give the path of a file, or leave encoder_weights out"
    )
    assert constants.HF_HUB_OFFLINE is False


def test_smp_weights_from_the_cache(hub: Path) -> None:
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    setting = encoders["resnet18"]["pretrained_settings"]["imagenet"]
    source = get_encoder("resnet18", weights=None)
    put(hub, setting["repo_id"], setting["revision"], dict(source.state_dict()))
    encoder = encoder_of("linknet", 1, "imagenet", "resnet18")
    own, theirs = encoder.state_dict(), source.state_dict()
    torch.testing.assert_close(own["conv1.weight"], theirs["conv1.weight"].sum(1, keepdim=True))
    assert all(torch.equal(own[key], theirs[key]) for key in own if key != "conv1.weight")


def test_timm_weights_from_the_cache(hub: Path, lite0: nn.Module) -> None:
    put(hub, "timm/tf_efficientnet_lite0.in1k", "0" * 40, dict(lite0.state_dict()))
    encoder = encoder_of("linknet", 3, "imagenet")
    assert torch.equal(encoder.state_dict()["model.conv_stem.weight"], lite0.state_dict()["conv_stem.weight"])


class Answering(BaseHTTPRequestHandler):
    """Refuses everything, quickly."""

    def do_HEAD(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *_: object) -> None:
        pass


def test_a_hub_that_answers_and_fails_gives_its_reason(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> nn.Module:
        raise RuntimeError(f"no weights for {name}\nand more lines")

    monkeypatch.setattr(pretrained, "_published", refuse)
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(EnsError, match=r"could not be fetched \(no weights for resnet18\); give"):
            pretrained.imagenet_weights("resnet18")
        server.shutdown()
