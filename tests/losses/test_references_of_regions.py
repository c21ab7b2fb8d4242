"""Dice and its relatives, Lovasz and boundary against independent implementations: MONAI, smp, keras, torchmetrics."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ensemble.core.void import VOID
from ensemble.losses import build_loss, class_weights

Batch = tuple[Tensor, Tensor]


@pytest.mark.parametrize("name", ["dice", "jaccard"])
@pytest.mark.parametrize("smooth", [0.0, 1e-5, 1.0])
@pytest.mark.parametrize("scheme", ["none", "inverse"])
def test_dice_and_jaccard_are_monai_over_the_batch(
    counts: Tensor, batch: Batch, labelled: Batch, name: str, smooth: float, scheme: str
) -> None:
    from monai.losses.dice import DiceLoss

    weights = class_weights(counts, scheme)  # pyright: ignore[reportArgumentType]
    # MONAI doubles intersection and union of Jaccard, so its smoothing is half of ours.
    same = smooth if name == "dice" else 2 * smooth
    reference = DiceLoss(
        softmax=True,
        to_onehot_y=True,
        batch=True,
        jaccard=name == "jaccard",
        weight=weights,
        smooth_nr=same,
        smooth_dr=same,
    )
    logits, labels = labelled
    expected = reference(logits, labels.unsqueeze(1))
    torch.testing.assert_close(build_loss(name, counts, {"smooth": smooth, "scheme": scheme})(*batch), expected)


def test_jaccard_is_smp_jaccard(counts: Tensor, batch: Batch) -> None:
    from segmentation_models_pytorch.losses import JaccardLoss

    expected = JaccardLoss("multiclass", smooth=1e-7, ignore_index=VOID)(*batch)
    torch.testing.assert_close(build_loss("jaccard", counts)(*batch), expected)


def test_lovasz_is_smp_lovasz(counts: Tensor, batch: Batch) -> None:
    from segmentation_models_pytorch.losses import LovaszLoss

    ours, theirs = batch[0].clone().requires_grad_(), batch[0].clone().requires_grad_()
    value = build_loss("lovasz", counts)(ours, batch[1])
    expected = LovaszLoss("multiclass", per_image=False, ignore_index=VOID)(theirs, batch[1])
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(("power", "kind"), [(2.0, "square"), (1.0, "simple"), (0.0, "uniform")])
def test_generalized_dice_is_monai_over_the_batch(
    counts: Tensor, batch: Batch, labelled: Batch, power: float, kind: str
) -> None:
    from monai.losses.dice import GeneralizedDiceLoss

    reference = GeneralizedDiceLoss(
        softmax=True, to_onehot_y=True, batch=True, w_type=kind, smooth_nr=0.0, smooth_dr=0.0
    )
    logits, labels = labelled
    expected = reference(logits, labels.unsqueeze(1))
    torch.testing.assert_close(build_loss("generalized-dice", counts, {"power": power})(*batch), expected)


def test_log_cosh_dice_is_keras_log_cosh_of_keras_dice(
    counts: Tensor, batch: Batch, labelled: Batch, one_hot: Tensor
) -> None:
    import keras

    probs = labelled[0].softmax(1).permute(0, 2, 3, 1)
    dice = torch.as_tensor(keras.losses.dice(one_hot, probs, axis=(0, 1, 2))).mean()
    torch.testing.assert_close(build_loss("dice", counts)(*batch), dice, atol=1e-6, rtol=1e-5)
    expected = torch.as_tensor(keras.losses.log_cosh(torch.zeros(1), dice.view(1)))
    torch.testing.assert_close(build_loss("log-cosh-dice", counts)(*batch), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5), (1.0, 0.2)])
def test_tversky_is_monai_tversky_over_the_batch(
    counts: Tensor, batch: Batch, labelled: Batch, alpha: float, beta: float
) -> None:
    from monai.losses.tversky import TverskyLoss

    reference = TverskyLoss(
        softmax=True, to_onehot_y=True, batch=True, alpha=alpha, beta=beta, smooth_nr=1e-7, smooth_dr=1e-7
    )
    logits, labels = labelled
    expected = reference(logits, labels.unsqueeze(1))
    torch.testing.assert_close(build_loss("tversky", counts, {"alpha": alpha, "beta": beta})(*batch), expected)


@pytest.mark.parametrize("gamma", [1.0, 4 / 3, 3.0])
def test_focal_tversky_is_the_power_of_each_monai_tversky_term(
    counts: Tensor, batch: Batch, labelled: Batch, gamma: float
) -> None:
    from monai.losses.tversky import TverskyLoss

    reference = TverskyLoss(
        softmax=True,
        to_onehot_y=True,
        batch=True,
        alpha=0.3,
        beta=0.7,
        smooth_nr=1e-7,
        smooth_dr=1e-7,
        reduction="none",
    )
    logits, labels = labelled
    terms = reference(logits, labels.unsqueeze(1)).flatten()
    assert terms.shape == (4,)
    torch.testing.assert_close(
        build_loss("focal-tversky", counts, {"gamma": gamma})(*batch), (terms ** (1 / gamma)).mean()
    )


def test_boundary_is_monai_boundary_less_the_right_answer(counts: Tensor) -> None:
    from monai.losses.boundary_loss import BoundaryLoss

    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(2, 4, 12, 9, generator=generator)
    labels = torch.randint(0, 4, (2, 6, 3), generator=generator).repeat_interleave(2, 1).repeat_interleave(3, 2)
    assert all(set(image.unique().tolist()) == {0, 1, 2, 3} for image in labels)
    reference = BoundaryLoss(softmax=True, to_onehot_y=True)
    right = 1e4 * torch.nn.functional.one_hot(labels, 4).movedim(-1, 1)
    # MONAI takes the mean over the four classes, ours the sum; no distance in these images reaches 100.
    expected = 4 * (reference(logits, labels) - reference(right, labels)) / 100
    torch.testing.assert_close(build_loss("boundary", counts, {"reach": 100})(logits, labels), expected)


def test_tversky_is_keras_tversky_whose_alpha_is_our_beta(
    counts: Tensor, batch: Batch, labelled: Batch, one_hot: Tensor
) -> None:
    import keras

    probs = labelled[0].softmax(1).permute(0, 2, 3, 1)
    per_class = keras.losses.tversky(one_hot, probs, alpha=0.7, beta=0.3, axis=(0, 1, 2))
    expected = torch.as_tensor(per_class).mean()
    torch.testing.assert_close(build_loss("tversky", counts)(*batch), expected, atol=1e-6, rtol=1e-5)


def test_dice_of_certain_predictions_is_the_dice_score(counts: Tensor, batch: Batch, labelled: Batch) -> None:
    from torchmetrics.functional.segmentation import dice_score

    logits, labels = labelled
    predicted = logits.argmax(1)
    score = dice_score(predicted, labels, num_classes=4, average="macro", input_format="index")
    certain = 1e4 * (predicted.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    torch.testing.assert_close(build_loss("dice", counts)(certain, labels), 1 - score.squeeze())


@pytest.mark.parametrize("name", ["jaccard", "lovasz"])
def test_jaccard_of_certain_predictions_is_the_iou(counts: Tensor, batch: Batch, name: str) -> None:
    from torchmetrics.functional.classification import multiclass_jaccard_index

    predicted = batch[0].argmax(1)
    score = multiclass_jaccard_index(predicted, batch[1], num_classes=4, average="macro", ignore_index=VOID)
    certain = 1e4 * (predicted.unsqueeze(1) == torch.arange(4).view(1, 4, 1, 1))
    torch.testing.assert_close(build_loss(name, counts)(certain, batch[1]), 1 - score)
