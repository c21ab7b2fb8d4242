"""What every registered loss promises; a new loss is found here by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.registry import Registry
from ensemble.core.void import VOID
from ensemble.losses import LOSSES, build_loss
from ensemble.losses.module import LossModule
from ensemble.testing.losses import LOSS_CHECKS, check_loss, value_and_gradient

# What a loss cannot promise by its nature; what it promises instead is tested with its values.
EXCEPTIONS = {
    "ohem-ce": {"every labelled pixel has a gradient"},  # it leaves easy pixels out
    "boundary": {"void pixels can be cut away"},  # it measures distances, so moving pixels changes it
}


@pytest.mark.parametrize("check", LOSS_CHECKS)
def test_promise(check: str, expression: str) -> None:
    if check in EXCEPTIONS.get(expression, ()):
        with pytest.raises(AssertionError):
            LOSS_CHECKS[check](expression)
    else:
        LOSS_CHECKS[check](expression)


def test_a_loss_that_breaks_promises_is_told_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOSSES, "_own", dict(LOSSES._own))  # pyright: ignore[reportPrivateUsage]

    @LOSSES.register("leaky")
    def leaky(counts_c: Tensor) -> nn.Module:
        """Counts void."""
        return LossModule(lambda logits_nchw, labels_nhw: logits_nchw.square().mean())

    with pytest.raises(AssertionError, match=r"loss 'leaky' breaks .* promises") as caught:
        check_loss("leaky")
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == int(str(caught.value).split(" breaks ")[1].split()[0])
    assert any(line.startswith("  void changes nothing and gets no gradient: ") for line in lines)
    assert any("AssertionError at `assert (gradient[void] == 0).all()`" in line for line in lines)
    with pytest.raises(UnknownName, match="unknown check 'void change"):
        check_loss("leaky", ["void changes nothing"])


def test_one_channel_alone_costs_nothing(expression: str) -> None:
    labels = torch.tensor([[[0, VOID]]])
    value, gradient = value_and_gradient(build_loss(expression, torch.tensor([7])), torch.randn(1, 1, 1, 2), labels)
    assert value == 0
    assert (gradient == 0).all()


def test_a_label_that_is_no_channel_raises(expression: str, counts: Tensor) -> None:
    with pytest.raises((IndexError, RuntimeError), match=r"out of bounds|out of range"):
        build_loss(expression, counts)(torch.zeros(1, 4, 1, 2), torch.tensor([[[0, 4]]]))


@pytest.mark.parametrize(
    ("logits_shape", "labels"),
    [
        ((2, 4, 5, 6), torch.zeros(2, 6, 5, dtype=torch.int64)),
        ((2, 4, 5, 6), torch.zeros(2, 5, 6, dtype=torch.int32)),
        ((4, 5, 6), torch.zeros(5, 6, dtype=torch.int64)),
    ],
)
def test_shapes_that_do_not_fit_are_explained(
    expression: str, counts: Tensor, logits_shape: tuple[int, ...], labels: Tensor
) -> None:
    with pytest.raises(EnsError, match=r"expected logits \(n, c, h, w\) and int64 labels \(n, h, w\), got .*; resize"):
        build_loss(expression, counts)(torch.zeros(logits_shape), labels)


def test_module_says_what_it_is_and_saves_nothing(expression: str, counts: Tensor) -> None:
    loss = build_loss(expression, counts)
    assert "_" in repr(loss) or "coefficients" in repr(loss)
    assert not loss.state_dict()


def test_adding_a_loss_takes_one_registered_factory() -> None:
    registry: Registry[nn.Module] = Registry("loss")

    @registry.register("toy")
    def make_toy(counts_c: Tensor, *, power: float = 1.0) -> nn.Module:
        """Sum of the squared logits of the first channel."""

        class Toy(nn.Module):
            def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
                return (logits[:, 0] ** power).sum()

        return Toy()

    loss = build_loss("2*toy", torch.ones(2), {"power": "2"}, registry=registry)
    assert loss(torch.full((1, 2, 1, 1), 3.0), torch.zeros(1, 1, 1, dtype=torch.int64)) == 18
