"""What every registered loss promises; a new loss is found here by itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ensemble.errors import EnsError
from ensemble.losses import LOSSES, build_loss
from ensemble.losses.masking import VOID
from ensemble.registry import Registry

Batch = tuple[Tensor, Tensor]

# What a loss cannot promise by its nature; what it promises instead is tested with its values.
LEAVES_EASY_PIXELS_OUT = {"ohem-ce"}  # so some labelled pixels have a gradient of 0
MEASURES_DISTANCES = {"boundary"}  # so moving pixels changes it


def value_and_gradient(loss: nn.Module, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def test_is_a_positive_scalar_with_a_gradient_that_descends(expression: str, counts: Tensor, batch: Batch) -> None:
    loss = build_loss(expression, counts)
    value, gradient = value_and_gradient(loss, *batch)
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value > 0
    after = loss(batch[0] - 0.1 * gradient / gradient.norm(), batch[1])
    assert after < value


def test_right_answers_cost_less_than_wrong_ones_and_nearly_nothing(
    expression: str, counts: Tensor, batch: Batch
) -> None:
    loss = build_loss(expression, counts)
    labels = batch[1]
    right = 20.0 * (labels.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    assert loss(right, labels) < 1e-3
    assert loss(right, labels) < loss(batch[0], labels) < loss(-right, labels)


def degenerate_labels(case: str) -> Tensor:
    labels = torch.randint(0, 4, (2, 5, 6), generator=torch.Generator().manual_seed(1))
    if case == "all void":
        return torch.full_like(labels, VOID)
    if case == "one image void":
        labels[0] = VOID
    if case == "class absent":
        labels[labels == 3] = VOID
    if case == "one class only":
        labels[:] = 1
    if case == "one labelled pixel":
        labels[:] = VOID
        labels[1, 2, 3] = 3
    return labels


@pytest.mark.parametrize(
    "case", ["all void", "one image void", "class absent", "one class only", "one labelled pixel", "usual"]
)
def test_stays_finite_on_degenerate_batches(expression: str, counts: Tensor, case: str) -> None:
    loss, labels = build_loss(expression, counts), degenerate_labels(case)
    signs = torch.randint(0, 2, (2, 4, 5, 6), generator=torch.Generator().manual_seed(2)) * 2 - 1
    for scale in (0.0, 1.0, 1e4):
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            value, gradient = value_and_gradient(loss, (scale * signs).to(dtype), labels)
            assert value.isfinite(), (scale, dtype)
            assert gradient.isfinite().all(), (scale, dtype)
            if case == "all void":
                assert value == 0
                assert (gradient == 0).all()


@pytest.mark.parametrize("scale", [-1e4, 1e4])
def test_stays_finite_when_saturated_on_the_right_or_the_wrong_class(
    expression: str, counts: Tensor, batch: Batch, scale: float
) -> None:
    labels = batch[1]
    logits = scale * (labels.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    value, gradient = value_and_gradient(build_loss(expression, counts), logits, labels)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if scale > 0:
        assert value == 0


def test_void_changes_nothing_and_gets_no_gradient(expression: str, counts: Tensor, batch: Batch) -> None:
    loss, (logits, labels) = build_loss(expression, counts), batch
    void = (labels == VOID).unsqueeze(1).expand_as(logits)
    value, gradient = value_and_gradient(loss, logits, labels)
    assert (gradient[void] == 0).all()
    assert expression in LEAVES_EASY_PIXELS_OUT or (gradient[~void] != 0).all()
    for other in (-1e4, 1e4, float("inf"), float("nan")):
        changed, changed_gradient = value_and_gradient(loss, logits.masked_fill(void, other), labels)
        assert torch.equal(changed, value)
        assert torch.equal(changed_gradient, gradient)


def test_a_frame_of_void_changes_nothing(expression: str, counts: Tensor, batch: Batch) -> None:
    loss, (logits, labels) = build_loss(expression, counts), batch
    framed = F.pad(logits, (2, 1, 0, 3), value=9.0), F.pad(labels, (2, 1, 0, 3), value=VOID)
    torch.testing.assert_close(loss(*framed), loss(logits, labels))


def test_void_pixels_can_be_cut_away(expression: str, counts: Tensor, batch: Batch) -> None:
    if expression in MEASURES_DISTANCES:
        pytest.skip("the loss depends on where pixels are")
    loss, (logits, labels) = build_loss(expression, counts), batch
    labelled = labels != VOID
    kept_logits = logits.permute(1, 0, 2, 3)[:, labelled].view(1, 4, 1, -1)
    torch.testing.assert_close(loss(kept_logits, labels[labelled].view(1, 1, -1)), loss(logits, labels))


def test_gradient_is_the_derivative(expression: str, counts: Tensor) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1, 2], [3, VOID, 0]], [[1, 1, VOID], [2, 0, 0]]])
    loss = build_loss(expression, counts)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,), fast_mode=False)


def test_renaming_the_classes_changes_nothing(expression: str, counts: Tensor, batch: Batch) -> None:
    logits, labels = batch
    order = torch.tensor([2, 3, 1, 0])
    renamed = torch.full_like(labels, VOID)
    for new, old in enumerate(order.tolist()):
        renamed[labels == old] = new
    expected = build_loss(expression, counts)(logits, labels)
    torch.testing.assert_close(build_loss(expression, counts[order])(logits[:, order], renamed), expected)


def test_bfloat16_under_autocast_is_computed_in_float32(expression: str, counts: Tensor, batch: Batch) -> None:
    loss, (logits, labels) = build_loss(expression, counts), batch
    narrow = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, narrow, labels)
    expected, expected_gradient = value_and_gradient(loss, narrow.float(), labels)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient.bfloat16())


def test_double_stays_double(expression: str, counts: Tensor, batch: Batch) -> None:
    value = build_loss(expression, counts)(batch[0].double(), batch[1])
    assert value.dtype == torch.float64
    torch.testing.assert_close(value.float(), build_loss(expression, counts)(*batch))


def test_a_channel_that_is_never_a_label_only_joins_the_softmax(expression: str, counts: Tensor, batch: Batch) -> None:
    logits, labels = batch
    shifted = torch.where(labels == VOID, VOID, labels + 1)
    loss = build_loss(expression, torch.cat([torch.tensor([0]), counts]))
    # Where the extra channel has probability 0 it is as if it were not there: no weight, no share in any mean.
    silent = torch.cat([torch.full_like(logits[:, :1], -1e4), logits], 1)
    torch.testing.assert_close(loss(silent, shifted), build_loss(expression, counts)(logits, labels))
    # Where it has some, it is pushed down on the whole (for Dice, background can be better than a wrong class).
    value, gradient = value_and_gradient(loss, torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), shifted)
    assert value > loss(silent, shifted)
    assert gradient[:, 0].sum() > 0


def test_one_channel_alone_costs_nothing(expression: str) -> None:
    labels = torch.tensor([[[0, VOID]]])
    value, gradient = value_and_gradient(build_loss(expression, torch.tensor([7])), torch.randn(1, 1, 1, 2), labels)
    assert value == 0
    assert (gradient == 0).all()


def test_shapes_do_not_depend_on_the_data(expression: str, counts: Tensor) -> None:
    # The meta device holds no values, so boolean indexing or a branch on a tensor raises there.
    loss = build_loss(expression, counts).to("meta")
    logits = torch.empty(2, 4, 8, 8, device="meta", requires_grad=True)
    value = loss(logits, torch.empty(2, 8, 8, dtype=torch.int64, device="meta"))
    value.backward()
    assert value.shape == ()


def test_memory_format_does_not_matter(expression: str, counts: Tensor, batch: Batch) -> None:
    loss, (logits, labels) = build_loss(expression, counts), batch
    value, gradient = value_and_gradient(loss, logits, labels)
    last_value, last_gradient = value_and_gradient(loss, logits.contiguous(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(last_value, value)
    torch.testing.assert_close(last_gradient, gradient)


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


@pytest.mark.parametrize("name", list(LOSSES))
def test_has_a_summary_and_typed_options_with_defaults(name: str) -> None:
    assert LOSSES.summary(name).endswith(".")
    for option in LOSSES.options(name).values():
        assert option.default is not option.empty
        assert not isinstance(option.annotation, str)


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
