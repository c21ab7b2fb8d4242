"""Check what every loss promises. Each check is a function of a loss expression and needs no pytest."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ensemble.core.void import VOID
from ensemble.losses import LOSSES, build_loss
from ensemble.losses.expression import parse_sum
from ensemble.testing.report import run_checks

Batch = tuple[Tensor, Tensor]
Check = Callable[[str], None]

COUNTS = torch.tensor([500, 300, 150, 50])  # labelled pixels of four classes; class 3 is the rare one
CASES = ("all void", "one image void", "class absent", "one class only", "one labelled pixel", "usual")


def check_loss(expression: str, leave_out: Collection[str] = ()) -> None:
    """Check a registered loss, or a sum of losses, against every promise of a loss.

    Args:
        expression: a loss or a sum, such as ``my-loss`` or ``0.5*my-loss + 0.5*dice``.
        leave_out: names in ``LOSS_CHECKS`` of promises that such a loss cannot keep.

    Raises:
        AssertionError: some promises do not hold; the message has the name and the first reason of each.
        UnknownName: there is no such loss, or no such check.

    >>> check_loss("0.5*dice + 0.5*ce")
    """
    run_checks(f"loss '{expression}'", expression, LOSS_CHECKS, leave_out)


def a_batch() -> Batch:
    """Return logits (3, 4, 5, 6) and labels with all four classes and about a quarter void."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    labels = torch.randint(0, 4, (3, 5, 6), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.25] = VOID
    return logits, labels


def value_and_gradient(loss: nn.Module, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its gradient with respect to the logits."""
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def degenerate_labels(case: str) -> Tensor:
    """Return labels (2, 5, 6) of one of ``CASES``."""
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


def is_a_positive_scalar_with_a_gradient_that_descends(expression: str) -> None:
    """Check that the loss is a positive scalar, and that a step along its gradient lowers it."""
    loss = build_loss(expression, COUNTS)
    value, gradient = value_and_gradient(loss, *a_batch())
    assert value.shape == (), f"expected a scalar, got {tuple(value.shape)}"
    assert value.dtype == torch.float32
    assert value > 0, f"the loss of random logits is {value}"
    after = loss(a_batch()[0] - 0.1 * gradient / gradient.norm(), a_batch()[1])
    assert after < value


def right_answers_cost_less_than_wrong_ones_and_nearly_nothing(expression: str) -> None:
    """Check that certain right answers cost nearly nothing, and wrong ones more than unsure ones."""
    loss = build_loss(expression, COUNTS)
    labels = a_batch()[1]
    right = 20.0 * (labels.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    assert loss(right, labels) < 1e-3
    assert loss(right, labels) < loss(a_batch()[0], labels) < loss(-right, labels)


def stays_finite_on_degenerate_batches(expression: str) -> None:
    """Check that value and gradient are finite if pixels or classes are missing, and 0 if all pixels are void."""
    loss = build_loss(expression, COUNTS)
    signs = torch.randint(0, 2, (2, 4, 5, 6), generator=torch.Generator().manual_seed(2)) * 2 - 1
    for case, scale, dtype in product(CASES, (0.0, 1.0, 1e4), (torch.float32, torch.bfloat16, torch.float64)):
        value, gradient = value_and_gradient(loss, (scale * signs).to(dtype), degenerate_labels(case))
        where = f"labels: {case}, logits of +-{scale:g} in {dtype}"
        assert value.isfinite(), f"the loss is {value}; {where}"
        assert gradient.isfinite().all(), f"the gradient is not finite; {where}"
        if case == "all void":
            assert value == 0, f"the loss is {value}, not 0; {where}"
            assert (gradient == 0).all(), f"the gradient is not 0; {where}"


def stays_finite_when_saturated_on_the_right_or_the_wrong_class(expression: str) -> None:
    """Check that the loss is finite at logits of 1e4, and 0 if all of them are right."""
    labels = a_batch()[1]
    for scale in (-1e4, 1e4):
        logits = scale * (labels.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
        value, gradient = value_and_gradient(build_loss(expression, COUNTS), logits, labels)
        assert value.isfinite(), f"the loss is {value} at logits of {scale:g}"
        assert gradient.isfinite().all(), f"the gradient is not finite at logits of {scale:g}"
        assert scale < 0 or value == 0, f"the loss of certain right answers is {value}, not 0"


def void_changes_nothing_and_gets_no_gradient(expression: str) -> None:
    """Check that logits of void pixels change nothing, even if they are NaN."""
    loss, (logits, labels) = build_loss(expression, COUNTS), a_batch()
    void = (labels == VOID).unsqueeze(1).expand_as(logits)
    value, gradient = value_and_gradient(loss, logits, labels)
    assert (gradient[void] == 0).all()
    for other in (-1e4, 1e4, float("inf"), float("nan")):
        changed, changed_gradient = value_and_gradient(loss, logits.masked_fill(void, other), labels)
        assert torch.equal(changed, value)
        assert torch.equal(changed_gradient, gradient)


def every_labelled_pixel_has_a_gradient(expression: str) -> None:
    """Check that every labelled pixel has a gradient (not for losses that leave easy pixels out)."""
    logits, labels = a_batch()
    _, gradient = value_and_gradient(build_loss(expression, COUNTS), logits, labels)
    assert (gradient[(labels != VOID).unsqueeze(1).expand_as(logits)] != 0).all()


def a_frame_of_void_changes_nothing(expression: str) -> None:
    """Check that padding with void changes nothing."""
    loss, (logits, labels) = build_loss(expression, COUNTS), a_batch()
    framed = F.pad(logits, (2, 1, 0, 3), value=9.0), F.pad(labels, (2, 1, 0, 3), value=VOID)
    torch.testing.assert_close(loss(*framed), loss(logits, labels))


def void_pixels_can_be_cut_away(expression: str) -> None:
    """Check that the labelled pixels alone have the same loss (not for losses that measure distances)."""
    loss, (logits, labels) = build_loss(expression, COUNTS), a_batch()
    labelled = labels != VOID
    kept_logits = logits.permute(1, 0, 2, 3)[:, labelled].view(1, 4, 1, -1)
    torch.testing.assert_close(loss(kept_logits, labels[labelled].view(1, 1, -1)), loss(logits, labels))


def gradient_is_the_derivative(expression: str) -> None:
    """Run torch's gradcheck in double precision."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 4, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[[0, 1, 2], [3, VOID, 0]], [[1, 1, VOID], [2, 0, 0]]])
    loss = build_loss(expression, COUNTS)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), (logits,), fast_mode=False)


def renaming_the_classes_changes_nothing(expression: str) -> None:
    """Check that the order of the classes does not matter."""
    logits, labels = a_batch()
    order = torch.tensor([2, 3, 1, 0])
    renamed = torch.full_like(labels, VOID)
    for new, old in enumerate(order.tolist()):
        renamed[labels == old] = new
    expected = build_loss(expression, COUNTS)(logits, labels)
    torch.testing.assert_close(build_loss(expression, COUNTS[order])(logits[:, order], renamed), expected)


def bfloat16_under_autocast_is_computed_in_float32(expression: str) -> None:
    """Check that bf16 logits give the same value as equal float32 logits."""
    loss, (logits, labels) = build_loss(expression, COUNTS), a_batch()
    narrow = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(loss, narrow, labels)
    expected, expected_gradient = value_and_gradient(loss, narrow.float(), labels)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient.bfloat16())


def double_stays_double(expression: str) -> None:
    """Check that double logits give a double loss of the same value."""
    value = build_loss(expression, COUNTS)(a_batch()[0].double(), a_batch()[1])
    assert value.dtype == torch.float64
    torch.testing.assert_close(value.float(), build_loss(expression, COUNTS)(*a_batch()))


def a_channel_that_is_never_a_label_only_joins_the_softmax(expression: str) -> None:
    """Check that an output that is never a label has no weight and no part in a mean."""
    logits, labels = a_batch()
    shifted = torch.where(labels == VOID, VOID, labels + 1)
    loss = build_loss(expression, torch.cat([torch.tensor([0]), COUNTS]))
    # With a probability of 0, the extra channel must count as absent.
    silent = torch.cat([torch.full_like(logits[:, :1], -1e4), logits], 1)
    torch.testing.assert_close(loss(silent, shifted), build_loss(expression, COUNTS)(logits, labels))
    # With a higher probability, it must be pushed down in sum (for Dice, background can be better than a wrong class).
    value, gradient = value_and_gradient(loss, torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), shifted)
    assert value > loss(silent, shifted)
    assert gradient[:, 0].sum() > 0


def shapes_do_not_depend_on_the_data(expression: str) -> None:
    """Check that the loss runs on the meta device: it has no boolean indexing and no branch on values."""
    # The meta device holds no values, so boolean indexing or a branch on a tensor raises there.
    loss = build_loss(expression, COUNTS).to("meta")
    logits = torch.empty(2, 4, 8, 8, device="meta", requires_grad=True)
    value = loss(logits, torch.empty(2, 8, 8, dtype=torch.int64, device="meta"))
    value.backward()
    assert value.shape == ()


def memory_format_does_not_matter(expression: str) -> None:
    """Check that channels_last gives the same numbers."""
    loss, (logits, labels) = build_loss(expression, COUNTS), a_batch()
    value, gradient = value_and_gradient(loss, logits, labels)
    last_value, last_gradient = value_and_gradient(loss, logits.contiguous(memory_format=torch.channels_last), labels)
    torch.testing.assert_close(last_value, value)
    torch.testing.assert_close(last_gradient, gradient)


def has_a_summary_and_typed_options_with_defaults(expression: str) -> None:
    """Check that every loss has a summary for `ens list losses`, and options that the command line can check."""
    for term in parse_sum(expression):
        assert LOSSES.summary(term.name).endswith("."), "the first line of the factory's docstring is no sentence"
        for key, option in LOSSES.options(term.name).items():
            assert option.default is not option.empty, f"the option {key} has no default"
            assert not isinstance(option.annotation, str), f"the option {key} has no type"


LOSS_CHECKS: dict[str, Check] = {
    check.__name__.replace("_", " "): check
    for check in (
        has_a_summary_and_typed_options_with_defaults,
        is_a_positive_scalar_with_a_gradient_that_descends,
        right_answers_cost_less_than_wrong_ones_and_nearly_nothing,
        stays_finite_on_degenerate_batches,
        stays_finite_when_saturated_on_the_right_or_the_wrong_class,
        void_changes_nothing_and_gets_no_gradient,
        every_labelled_pixel_has_a_gradient,
        a_frame_of_void_changes_nothing,
        void_pixels_can_be_cut_away,
        gradient_is_the_derivative,
        renaming_the_classes_changes_nothing,
        bfloat16_under_autocast_is_computed_in_float32,
        double_stays_double,
        a_channel_that_is_never_a_label_only_joins_the_softmax,
        shapes_do_not_depend_on_the_data,
        memory_format_does_not_matter,
    )
}
