"""Test-time augmentation: groups of views that can be undone, and the mean over them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import correlate
from torch import Tensor, nn

from ensemble.config import Component, MemberSettings, Tta
from ensemble.core.errors import UnknownName
from ensemble.inference.network import infer
from ensemble.inference.tta import VIEWS, View, check_tta, mean_over_views
from ensemble.study import read_recipe

Array = NDArray[np.floating[Any]]
EVERY: tuple[Tta, ...] = get_args(Tta)
SEVERAL: tuple[Tta, ...] = ("hflip", "vflip", "flips", "d4")
sizes = st.tuples(st.integers(1, 5), st.integers(1, 5))


def numbered(size: tuple[int, int]) -> Tensor:
    """Images of which every pixel is another number."""
    return torch.arange(2.0 * size[0] * size[1]).reshape(2, 1, *size)


def member(tta: Tta) -> MemberSettings:
    return MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"), tta=tta)


# ---------------------------------------------------------------- views


@given(sizes, st.sampled_from(VIEWS["d4"]))
def test_undoing_a_view_gives_the_image_back(size: tuple[int, int], view: View) -> None:
    images = numbered(size)
    seen = view.of(images)
    assert seen.shape[2:] == (size[::-1] if view.transposed else size)
    assert torch.equal(view.undo(seen), images)
    assert torch.equal(view.of(view.undo(seen)), seen)


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("hflip", 2), ("vflip", 2), ("flips", 4), ("d4", 8)])
def test_the_views_of_each_name_are_a_group(tta: Tta, count: int) -> None:
    images = numbered((3, 3))
    seen = [view.of(images) for view in VIEWS[tta]]
    assert torch.equal(seen[0], images)
    assert len({str(each.tolist()) for each in seen}) == count
    for one in VIEWS[tta]:
        for other in VIEWS[tta]:
            assert sum(torch.equal(one.of(other.of(images)), each) for each in seen) == 1


def test_names_are_those_of_the_settings_and_mistakes_are_reported() -> None:
    assert tuple(VIEWS) == EVERY
    assert [check_tta(name) for name in EVERY] == list(EVERY)
    with pytest.raises(UnknownName, match=r"unknown test-time augmentation 'flip'; did you mean 'flips'\?"):
        check_tta("flip")


# ---------------------------------------------------------------- the mean


def test_the_mean_of_a_worked_example() -> None:
    def leftmost(images: Tensor) -> Tensor:
        return images[..., :1].expand_as(images)

    images = torch.tensor([[[[0.0, 1.0, 2.0], [3.0, 4.0, 9.0]]]])
    assert torch.equal(mean_over_views(leftmost, images, "none"), leftmost(images))
    # Flipped, the leftmost is the rightmost: (0 + 2) / 2 and (3 + 9) / 2 in every column.
    assert mean_over_views(leftmost, images, "flips").tolist() == [[[[1, 1, 1], [6, 6, 6]]]]
    assert mean_over_views(leftmost, images, "hflip").tolist() == [[[[1, 1, 1], [6, 6, 6]]]]
    assert torch.equal(mean_over_views(leftmost, images, "vflip"), leftmost(images))
    # Transposed, it is the topmost or lowest of the column: (0 + 3) / 2, (1 + 4) / 2, (2 + 9) / 2; the mean of both.
    assert mean_over_views(leftmost, images, "d4").tolist() == [[[[1.25, 1.75, 3.25], [3.75, 4.25, 5.75]]]]


def reference(images_nhw: Array, kernels_kij: Array, tta: str) -> Array:
    """Softmax of correlations with 2x2 kernels, averaged over quarter turns and their mirror images by NumPy."""

    def predict(image_hw: Array) -> Array:
        logits = np.stack([correlate(image_hw, kernel, mode="constant", origin=-1) for kernel in kernels_kij])
        exp = np.exp(logits - logits.max(0))
        return exp / exp.sum(0)

    turned = {
        "none": [(0, False)],
        "hflip": [(0, False), (0, True)],
        "vflip": [(0, False), (2, True)],  # a mirror image, turned by half, is upside down
        "flips": [(turn, mirror) for turn in (0, 2) for mirror in (False, True)],
        "d4": [(turn, mirror) for turn in range(4) for mirror in (False, True)],
    }[tta]
    done: list[Array] = []
    for image in images_nhw:
        each: list[Array] = []
        for turn, mirror in turned:
            seen = np.rot90(np.fliplr(image) if mirror else image, turn)
            back = [np.rot90(channel, -turn) for channel in predict(seen)]
            each.append(np.stack([np.fliplr(channel) if mirror else channel for channel in back]))
        done.append(np.mean(each, axis=0))
    return np.stack(done)


@pytest.mark.parametrize("tta", EVERY)
@pytest.mark.parametrize("size", [(6, 6), (5, 8)], ids=["square", "wide"])
def test_inference_is_the_mean_that_numpy_finds(tta: Tta, size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    images = generator.random((3, *size, 1), np.float32)
    conv = nn.Conv2d(1, 3, 2, bias=False)
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv)
    kernels = conv.weight.detach().mul_(4).numpy()[:, 0].astype(np.float64)
    found = infer(network, images, member(tta), "cpu")
    assert (found.dtype, found.shape) == (torch.float32, (3, 3, *size))
    expected = reference(images[..., 0].astype(np.float64), kernels, tta)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    if tta != "none":
        assert np.abs(expected - reference(images[..., 0].astype(np.float64), kernels, "none")).max() > 0.05


@settings(max_examples=20, deadline=None)
@given(size=sizes, tta=st.sampled_from(SEVERAL), seed=st.integers(0, 99), place=st.integers(0, 7))
def test_the_mean_turns_with_the_image_whatever_the_network(
    size: tuple[int, int], tta: Tta, seed: int, place: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(1, 3, 3, padding=1).requires_grad_(False)
    view, images = VIEWS[tta][place % len(VIEWS[tta])], torch.rand(2, 1, *size)

    def predict(images_nchw: Tensor) -> Tensor:
        height, width = images_nchw.shape[2:]  # also where the prediction depends on the place
        return (conv(images_nchw) + torch.arange(height * width).reshape(height, width)).softmax(1)

    mean = mean_over_views(predict, images, tta)
    torch.testing.assert_close(mean_over_views(predict, view.of(images), tta), view.of(mean))
    torch.testing.assert_close(mean.sum(1), torch.ones(2, *size))


@pytest.mark.parametrize("tta", SEVERAL)
def test_a_network_that_sees_single_pixels_predicts_the_same(tta: Tta) -> None:
    images, network = np.random.default_rng(1).random((2, 5, 7, 3), np.float32), nn.Conv2d(3, 4, 1)
    plain = infer(network, images, member("none"), "cpu")
    torch.testing.assert_close(infer(network, images, member(tta), "cpu"), plain)


def test_views_are_predicted_one_after_the_other() -> None:
    alive = weakref.WeakSet[Tensor]()
    counts: list[int] = []

    def predict(images_nchw: Tensor) -> Tensor:
        counts.append(len(alive))
        made = images_nchw * 2
        alive.add(made)
        return made

    assert torch.equal(mean_over_views(predict, numbered((3, 4)), "d4"), numbered((3, 4)) * 2)
    assert len(counts) == 8
    assert max(counts) <= 1  # the first one is the sum until the second is added


# ---------------------------------------------------------------- studies


def test_a_recipe_can_vary_it(tmp_path: Path) -> None:
    recipe = tmp_path / "views.toml"
    recipe.write_text(
        'name = "views"\n[[grid]]\narch = "unet"\nloss = "ce"\ntta = ["none", "hflip", "vflip", "flips", "d4"]\n'
    )
    entries = read_recipe(recipe).entries
    assert [entry.label for entry in entries] == [f"unet x ce, tta={tta}" for tta in EVERY]
    assert [entry.arguments["tta"] for entry in entries] == list(EVERY)


# ---------------------------------------------------------------- predicting


def test_a_prediction_is_made_as_the_member_was_or_as_asked(
    train_tiny: Callable[..., Any], tiny_runs: Path, tiny_arrays: dict[str, Any]
) -> None:
    from ensemble import load

    images = tiny_arrays["test_set"]
    path = train_tiny(tiny_runs).path
    predictor = load(path, tta="flips")
    (network,), (of,) = predictor.networks.members[0].networks, predictor.members
    wanted = infer(network, images[..., None], of.settings.model_copy(update={"tta": "flips"}), "cpu").numpy()
    np.testing.assert_allclose(predictor(images), wanted, atol=1e-6)
    plain = load(path)(images)
    np.testing.assert_array_equal(load(path, tta="none")(images), plain)
    assert np.abs(wanted - plain).max() > 1e-3
    with pytest.raises(UnknownName, match="unknown test-time augmentation 'fluips'"):
        load(path, tta="fluips")
