"""Encoders that are frozen or learn more slowly: what moves, what stays to the bit, and what is refused."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, MemberSettings, TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.progress import Progress
from ensemble.inference.network import Network, load_networks
from ensemble.runs.member import Member
from ensemble.training import plan as plan_module
from ensemble.training.checkpoint import save_weights
from ensemble.training.encoder import check_encoder, encoders, freeze, stages
from ensemble.training.optimiser import AdamW
from ensemble.training.plan import plan_member
from ensemble.training.trainer import Trainer, start_training

Train = Callable[..., Member]
LITE0 = "tu-tf_efficientnet_lite0"


def network_of(name: str, **options: Any) -> Network:
    torch.manual_seed(0)
    return Network(ARCHITECTURES.create(name, 1, 3, **options), torch.zeros(1), torch.ones(1))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an encoder of three bands, whose batch norms have statistics of their own."""
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    torch.manual_seed(99)
    encoder = ARCHITECTURES.create("linknet", 3, 3, depth=5).get_submodule("network.encoder")
    encoder.train()(torch.randn(4, 3, 64, 64))
    save_weights(path, encoder.state_dict())
    return path


@pytest.fixture
def start(tiny_npz: Path, tmp_path: Path, file: Path) -> Callable[..., Trainer]:
    """``start(**settings)`` returns the trainer of a member that starts from the file."""

    def trainer(epochs: int = 10, **settings: Any) -> Trainer:
        arch = f"linknet(depth=3, encoder_weights={file})"
        asked = TrainSettings(data=str(tiny_npz), arch=arch, loss="ce", device="cpu", batch_size=4, **settings)
        return start_training(plan_member(asked, tmp_path / "runs").job(0, epochs))

    return trainer


def steps(trainer: Trainer, numbers: range) -> None:
    generator = torch.Generator().manual_seed(3)
    trainer.prepare()
    for step in numbers:
        images_nchw = torch.rand(4, 1, 32, 32, generator=generator)
        trainer.step(images_nchw, torch.randint(0, 3, (4, 32, 32), generator=generator), step)


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def moved(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


# ---------------------------------------------------------------- what an encoder is, and its stages


def test_a_cascade_has_two_encoders_and_a_unet_has_a_list_of_blocks() -> None:
    cascade = network_of("cascade", first="unet(filters=2, depth=2)", second="linknet(depth=3)")
    names = {id(module): name for name, module in cascade.named_modules()}
    found = [names[id(encoder)] for encoder in encoders(cascade)]
    assert found == ["body.first.network.encoder", "body.second.network.encoder"]
    unet = network_of("unet", filters=2, depth=3)
    assert len(stages(unet, encoders(unet)[0])) == 3


def test_what_lies_in_an_encoder_is_no_second_one() -> None:
    inner = nn.ModuleDict({"encoder": nn.Linear(2, 2)})
    assert encoders(nn.ModuleDict({"encoder": nn.ModuleDict({"body": inner})})) != []
    assert len(encoders(nn.ModuleDict({"encoder": nn.ModuleDict({"body": inner})}))) == 1


RESNET = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)]
LITE = [
    ("conv_stem", "bn1", "blocks.0"),
    ("blocks.1",),
    ("blocks.2",),
    ("blocks.3", "blocks.4"),
    ("blocks.5", "blocks.6"),
]


@pytest.mark.parametrize(
    ("name", "encoder", "expected"),
    [("linknet", "resnet18", RESNET), ("linknet", LITE0, LITE), ("deeplabv3plus", LITE0, LITE)],
)
def test_stages_are_those_of_the_published_network(name: str, encoder: str, expected: list[tuple[str, ...]]) -> None:
    network = network_of(name, encoder=encoder, depth=5)
    before = snapshot(network)
    own = encoders(network)[0]
    names = {id(parameter): key.removeprefix("model.") for key, parameter in own.named_parameters()}
    found = [{names[id(parameter)] for parameter in stage} for stage in stages(network, own)]
    assert len(found) == 5
    for stage, prefixes in zip(found, expected, strict=True):
        assert stage == {key for key in names.values() if key.startswith(tuple(f"{prefix}." for prefix in prefixes))}
    assert sum(map(len, found)) == len(names)
    assert not moved(before, network)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


# ---------------------------------------------------------------- what moves


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("what", ["encoder", 2])
def test_what_is_frozen_stays_to_the_bit_and_the_rest_learns(
    start: Callable[..., Trainer], what: str | int, precision: str
) -> None:
    trainer = start(freeze=what, precision=precision)
    network = trainer.network
    encoder = "body.network.encoder."
    inside = [name for name, _ in network.named_parameters() if name.startswith(encoder)]
    parts = tuple(encoder + part for part in ("conv1", "bn1", "layer1")) if what == 2 else (encoder,)
    frozen = {name for name in inside if name.startswith(parts)}
    assert 0 < len(frozen) <= len(inside)
    assert (len(frozen) == len(inside)) == (what == "encoder")

    before, average = snapshot(network), snapshot(trainer.average)
    steps(trainer, range(3))
    changed = moved(before, network)
    assert not {name for name in changed if name.startswith(parts)}  # not the statistics of the norms either
    assert {name for name, _ in network.named_parameters()} - frozen <= changed
    assert not {name for name in moved(average, trainer.average) if name.startswith(parts)}
    own = dict(network.named_parameters())
    assert all(own[name].grad is None for name in frozen)
    assert isinstance(trainer.optimiser, AdamW)
    with_state = {id(parameter) for parameter in trainer.optimiser.state}
    assert with_state == {id(parameter) for name, parameter in own.items() if name not in frozen}


@pytest.mark.parametrize("settings", [{}, {"optimiser": "muon"}, {"freeze": "encoder"}, {"freeze": 2}], ids=str)
def test_memory_is_asked_for_what_training_keeps(
    start: Callable[..., Trainer], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = start(**settings)
    steps(trainer, range(1))
    state = trainer.optimiser.state_dict()
    states = [part["state"] for part in (state.values() if "muon" in state else [state])]
    moments = [value for part in states for one in part.values() for value in one.values() if value.ndim]
    weights = list(trainer.network.parameters())
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    kept = sum(tensor.nbytes for tensor in (*weights, *trainer.average.parameters(), *gradients, *moments))

    asked: list[int] = []
    built: list[weakref.ref[Network]] = []
    build = plan_module.build_network

    def note(*given: Any) -> Network:
        network = build(*given)
        built.append(weakref.ref(network))
        return network

    def check(*_: object, training: int) -> None:
        asked.append(training)
        assert all(network() is None for network in built)  # their memory is free again

    monkeypatch.setattr(plan_module, "build_network", note)
    monkeypatch.setattr(plan_module, "check_network_memory", check)
    start(**settings)
    assert len(built) == ("freeze" in settings)
    assert asked[0] <= kept < 1.1 * asked[0]  # of the weights that Muon leaves to AdamW, a second moment is not counted
    if settings.get("optimiser") != "muon":
        assert asked[0] == kept


def test_a_frozen_encoder_gives_the_features_of_its_weights(start: Callable[..., Trainer], file: Path) -> None:
    trainer = start(freeze="encoder")
    steps(trainer, range(2))
    weights = ARCHITECTURES.create("linknet", 1, 3, depth=3, encoder_weights=str(file)).get_submodule("network.encoder")
    images_nchw = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        found = trainer.network.get_submodule("body.network.encoder")(images_nchw)
        wanted = weights.eval()(images_nchw)
    for own_nchw, other_nchw in zip(found, wanted, strict=True):
        torch.testing.assert_close(own_nchw, other_nchw)


def test_dropout_of_frozen_parts_does_nothing() -> None:
    network = Network(
        nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(1, 2, 1), nn.Dropout())}), torch.zeros(1), torch.ones(1)
    )
    assert freeze(network, "encoder") == [network.get_submodule("body.encoder")]


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_the_first_step_of_the_encoder_is_as_many_times_as_long(start: Callable[..., Trainer], factor: float) -> None:
    lengths: list[dict[str, Tensor]] = []
    for encoder_lr in (1.0, factor):
        trainer = start(encoder_lr=encoder_lr, lr=1e-3)
        before = snapshot(trainer.network)
        steps(trainer, range(1))
        own = dict(trainer.network.named_parameters())
        lengths.append({name: parameter.detach() - before[name] for name, parameter in own.items()})
    assert any("encoder" in name for name in lengths[0])
    for name, usual in lengths[0].items():
        expected = usual * (factor if "encoder" in name else 1)
        torch.testing.assert_close(lengths[1][name], expected, rtol=1e-2, atol=1e-6)


def test_the_encoder_waits_while_the_head_warms_up(start: Callable[..., Trainer]) -> None:
    trainer = start(epochs=20, head_warmup=0.2)
    waiting = math.ceil(0.2 * 20 * trainer.job.steps) - 1
    before = snapshot(trainer.network)
    steps(trainer, range(waiting))
    learning = {name for name, _ in trainer.network.named_parameters()}
    assert moved(before, trainer.network) & learning == {name for name in learning if "encoder" not in name}
    steps(trainer, range(waiting, waiting + 2))
    assert moved(before, trainer.network) >= learning


def test_other_members_have_the_groups_that_they_had(start: Callable[..., Trainer]) -> None:
    groups = start().optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [1e-2, 0]
    assert all("part" not in group for group in groups)
    parts = [group.get("part") for group in start(encoder_lr=0.5).optimiser.param_groups]
    assert parts == [None, None, "encoder", "encoder"]


# ---------------------------------------------------------------- members


@pytest.mark.parametrize("settings", [{"freeze": "encoder"}, {"freeze": 1, "encoder_lr": 0.1, "head_warmup": 0.3}])
def test_an_interrupted_run_repeats_the_uninterrupted_one(
    train_tiny: Train,
    file: Path,
    tmp_path: Path,
    interrupt: Callable[[str, int], Progress],
    content_of: Callable[[Path], dict[str, object]],
    settings: dict[str, Any],
) -> None:
    arch = f"linknet(depth=2, encoder_weights={file})"
    whole = train_tiny(tmp_path / "whole", arch=arch, **settings)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "cut", arch=arch, progress=interrupt("training", 3), **settings)
    again = train_tiny(tmp_path / "cut", arch=arch, **settings)
    assert content_of(whole.path) == content_of(again.path)
    assert whole.name != train_tiny(tmp_path / "whole", arch=arch).name


def test_a_cascade_can_be_frozen_whole(train_tiny: Train, file: Path, tmp_path: Path) -> None:
    arch = f"cascade(first=unet(filters=2, depth=1), second=linknet(depth=2), encoder_weights={file})"
    frozen = train_tiny(tmp_path, arch=arch, freeze="encoder", epochs=1)
    longer = train_tiny(tmp_path, arch=arch, freeze="encoder", epochs=2)
    one, two = (load_networks(member)[0].get_submodule("body").state_dict() for member in (frozen, longer))
    assert {name for name in one if ".encoder." in name} == {name for name in one if torch.equal(one[name], two[name])}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"arch": "linknet", "freeze": "encoder"},
            "expected encoder weights to freeze, but the encoder starts from rand",
        ),
        ({"arch": "unet", "freeze": 1}, "expected encoder weights to freeze, but the encoder starts from random ones"),
        ({"freeze": 9}, "expected freeze to be encoder or 1 to 2, the number of its stages, got 9; change it"),
        (
            {"freeze": "decoder"},
            "freeze: expected none, encoder, or a number of its first stages of at least 1, got dec",
        ),
        ({"freeze": "0"}, "freeze: expected none, encoder, or a number of its first stages of at least 1, got 0"),
        ({"freeze": "encoder", "encoder_lr": 0.1}, "expected either freeze encoder or encoder_lr, got both"),
        ({"freeze": "encoder", "head_warmup": 0.1}, "expected either freeze encoder or head_warmup, got both"),
        ({"encoder_lr": 0}, "expected encoder_lr above 0, got 0"),
        ({"head_warmup": 1}, "expected head_warmup below 1, got 1"),
    ],
)
def test_what_cannot_be_is_found_before_training(
    tiny_npz: Path, file: Path, tmp_path: Path, settings: dict[str, Any], text: str
) -> None:
    asked: dict[str, Any] = {"data": str(tiny_npz), "arch": f"linknet(depth=2, encoder_weights={file})"} | settings
    with pytest.raises(EnsError, match=f"^{text}"):
        plan_member(TrainSettings(device="cpu", **asked), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("treated", [{"freeze": 1}, {"encoder_lr": 0.5}, {"head_warmup": 0.5}])
def test_an_architecture_without_an_encoder_is_refused(treated: dict[str, Any]) -> None:
    architecture = Component(name="mine", origin="mine.py 12345678")
    settings = MemberSettings(architecture=architecture, loss=Component(name="ce"), epochs=1, **treated)
    network = Network(nn.Conv2d(1, 3, 1), torch.zeros(1), torch.ones(1))
    with pytest.raises(
        EnsError, match=r"need an architecture with an encoder, and this one has none .*; choose another"
    ):
        check_encoder(settings, network)


class Opaque(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(1, 3, 1)

    def forward(self, images_nchw: Tensor) -> Tensor:
        return self.encoder(images_nchw)


def test_stages_that_are_unknown_are_refused() -> None:
    network = Network(Opaque(), torch.zeros(1), torch.ones(1))
    with pytest.raises(EnsError, match="it returns no list of maps; freeze it as a whole"):
        freeze(network, 1)
    assert freeze(network, "encoder") == [network.get_submodule("body.encoder")]
