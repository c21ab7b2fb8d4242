"""Cascade: what the second network sees, what reaches the first, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ensemble.architectures import ARCHITECTURES
from ensemble.architectures.cascade import Cascade
from ensemble.core.errors import EnsError


def small(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    chosen = {"first": "unet(filters=2, depth=1)", "second": "unet(filters=3, depth=2)"} | options
    return ARCHITECTURES.create("cascade", 2, 3, **chosen)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def gradients(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


class Noting(nn.Module):
    """Logits from one weight, and a note of the input."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen = torch.empty(0)

    def forward(self, images_nchw: Tensor) -> Tensor:
        self.seen = images_nchw
        return torch.cat([self.weight * images_nchw[:, :1], 1 - images_nchw[:, :1]], dim=1)


def test_second_sees_the_image_and_the_probabilities_of_the_first() -> None:
    first, second = Noting(3.0), Noting(2.0)
    image_nchw = torch.tensor([[[[0.25]], [[0.7]]]])
    logits_nchw = Cascade(first, second, frozen=False)(image_nchw)
    odds = torch.tensor([0.75, 0.75]).exp()  # both logits are 0.75
    seen = torch.cat([torch.tensor([0.25, 0.7]), odds / odds.sum()])
    torch.testing.assert_close(second.seen[0, :, 0, 0], seen)
    torch.testing.assert_close(logits_nchw[0, :, 0, 0], torch.tensor([0.5, 0.75]))


@pytest.mark.parametrize("frozen", [False, True])
def test_training_supervises_both(frozen: bool) -> None:
    network, batch_nchw = small(frozen=frozen).eval(), images(2, 2, 33, 47)
    supervised = network.supervised(batch_nchw)  # type: ignore[operator]
    assert [tuple(logits.shape) for logits in supervised] == [(2, 3, 33, 47)] * 2
    assert torch.equal(supervised[0], network(batch_nchw))
    assert torch.equal(supervised[1], network.get_submodule("first")(batch_nchw))


def test_frozen_first_learns_from_its_own_loss_alone() -> None:
    network, batch_nchw = small(frozen=True), images(2, 2, 32, 32)
    labels_nhw = torch.randint(0, 3, (2, 32, 32), generator=torch.Generator().manual_seed(2))
    first, second = network.get_submodule("first"), network.get_submodule("second")
    second_nchw, first_nchw = network.supervised(batch_nchw)  # type: ignore[operator]
    F.cross_entropy(second_nchw, labels_nhw).backward(retain_graph=True)
    assert all(gradient is None for gradient in gradients(first))
    assert all(gradient is not None for gradient in gradients(second))
    F.cross_entropy(first_nchw, labels_nhw).backward()
    alone = small(frozen=True).get_submodule("first")
    F.cross_entropy(alone(batch_nchw), labels_nhw).backward()
    for own, expected in zip(gradients(first), gradients(alone), strict=True):
        assert own is not None
        assert expected is not None
        torch.testing.assert_close(own, expected)


def test_unfrozen_first_learns_from_the_second() -> None:
    network = small()
    network(images(2, 2, 32, 32)).square().mean().backward()
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients(network))


def test_freezing_changes_no_output() -> None:
    batch_nchw = images(1, 2, 40, 50)
    assert torch.equal(small().eval()(batch_nchw), small(frozen=True).eval()(batch_nchw))


class Deep(nn.Module):
    """A network with logits on the way."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, images_nchw: Tensor) -> Tensor:
        return images_nchw[:, :2] * 0 + self.value

    def supervised(self, images_nchw: Tensor) -> list[Tensor]:
        return [self(images_nchw), self(images_nchw) + 0.5]


def test_logits_on_the_way_are_supervised_after_both() -> None:
    outputs = Cascade(Deep(1.0), Deep(2.0), frozen=False).supervised(torch.zeros(1, 2, 1, 1))
    assert [logits.max().item() for logits in outputs] == [2.0, 1.0, 2.5, 1.5]


def test_stages_are_built_with_their_options() -> None:
    network = ARCHITECTURES.create(
        "cascade",
        1,
        2,
        first="deeplabv3(rates=[1, 2, 3], out_channels=8, depth=3)",
        second="linknet(depth=2)",
    )
    dilations = {m.dilation[0] for m in network.get_submodule("first").modules() if isinstance(m, nn.Conv2d)}
    assert {1, 2, 3} <= dilations
    assert network.eval()(images(1, 1, 33, 47)).shape == (1, 2, 33, 47)


def test_encoder_weights_reach_every_stage_with_an_encoder(tmp_path: Any) -> None:
    from timm import create_model

    state = create_model("test_resnet").state_dict()
    torch.save(state, tmp_path / "weights.pt")
    options = {"first": "unet(filters=2)", "second": "linknet(encoder=tu-test_resnet, depth=3)"}
    network = ARCHITECTURES.create("cascade", 1, 2, encoder_weights=str(tmp_path / "weights.pt"), **options)
    own = network.get_submodule("second.network.encoder.model").state_dict()
    assert torch.equal(own["layer2.0.conv1.weight"], state["layer2.0.conv1.weight"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"first": "cascade"}, "first network of the cascade: expected a single network, got another cascade"),
        ({"second": "cascade"}, "second network of the cascade: expected a single network, got another cascade"),
        ({"first": "unett"}, "first network .*: unknown architecture 'unett'; did you mean 'unet'"),
        ({"second": "unet(filters=0)"}, r"second network of the cascade: expected filters to be a whole number"),
        ({"first": "unet(filter=2)"}, "first network.*unknown option 'filter' of .*; did you mean 'filters'"),
        ({"first": "unet(8)"}, "first network.*expected the options of architecture 'unet' as name=value, got '8'"),
        ({"frozen": 3}, "frozen to be true or false, got 3"),
        ({"encoder_weights": "imagenet"}, "neither 'unet' nor 'unet' has an encoder to load weights into; leave"),
        (
            {"second": "linknet(encoder_weights=imagenet)"},
            "encoder_weights is an option of the cas",
        ),
    ],
)
def test_what_cannot_work_is_one_clear_error(options: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        ARCHITECTURES.create("cascade", 1, 2, **options)
