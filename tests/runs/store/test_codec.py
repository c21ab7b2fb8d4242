"""Codes of probabilities, and frames of codes: what they keep, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ensemble.core.errors import EnsError
from ensemble.runs.store import Store, StoreWriter
from ensemble.runs.store.codec import decode, encode, pack, unpack

META = {"split": "validation", "split_hash": "s1", "data_hash": "d1"}
Floats = NDArray[np.float32]
Labels = NDArray[np.uint8]


def smooth(noise: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Neighbour averages, repeated: noise becomes the soft blobs of a segmentation."""
    for _ in range(times):
        for axis in (-1, -2):
            noise = (np.roll(noise, 1, axis) + noise + np.roll(noise, -1, axis)) / 3
    return noise / noise.std()


def member(images: int, sharpness: float = 3.0, seed: int = 0) -> tuple[Floats, Labels]:
    """Probabilities of a simulated network (soft blobs, pixel noise, a rare class) and labels it mostly predicts.

    The pixel noise is set so that the codes are as rough as those of a U-Net trained on Mars terrain (mean absolute
    second difference 0.83 there; 0.68 and 1.23 here at sharpness 1 and 3).
    """
    rng = np.random.default_rng(seed)
    shape = (images, 4, 64, 128)
    truth = smooth(rng.normal(size=shape), 40) - np.array([0, 0, 0, 2.5]).reshape(4, 1, 1)
    errors, noise = smooth(rng.normal(size=shape), 24), smooth(rng.normal(size=shape), 1)
    logits = sharpness * (truth + 0.5 * errors) + 0.03 * noise
    probs = np.exp(logits - logits.max(axis=1, keepdims=True))
    probs /= probs.sum(axis=1, keepdims=True)
    labels = truth.argmax(axis=1).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.05] = 255
    return probs.astype(np.float32), labels


def small(images: int, classes: int = 4, size: tuple[int, int] = (3, 5), seed: int = 0) -> tuple[Floats, Labels]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(classes, 0.3), size=(images, *size)).astype(np.float32).transpose(0, 3, 1, 2)
    return probs, rng.integers(0, classes, (images, *size)).astype(np.uint8)


def log_loss(probs: Floats, labels: Labels) -> float:
    known = np.where(labels == 255, 0, labels)[:, None].astype(np.intp)
    picked = np.take_along_axis(probs, known, axis=1)[:, 0][labels != 255].astype(np.float64)
    return float(-np.log(np.maximum(picked, 1e-12)).mean())


@settings(deadline=None, max_examples=150)
@given(
    arrays(
        np.float32, st.tuples(st.just(2), st.integers(1, 6), st.just(2), st.just(3)), elements=st.floats(0, 1, width=32)
    ),
    st.sampled_from([0.0, 1e-7, 1e-6, 1e-4, 1e-3]),
)
def test_argmax_survives_near_ties(noise: Floats, spread: float) -> None:
    # Nearly equal values, exact ties (spread 0) and differences far below one step of the code.
    probs = (1 + spread * noise) / (1 + spread * noise).sum(axis=1, keepdims=True)
    codes = encode(probs)
    ordered = np.sort(codes, axis=1)
    assert (codes.argmax(1) == probs.argmax(1)).all()
    assert codes.shape[1] == 1 or (ordered[:, -1] > ordered[:, -2]).all()
    assert (decode(codes).argmax(1) == probs.argmax(1)).all()


@pytest.mark.parametrize("classes", [1, 2, 150, 255])
def test_uniform_probabilities_keep_their_first_class(classes: int) -> None:
    codes = encode(np.full((1, classes, 2, 2), 1 / classes, np.float32))
    assert (codes[:, 1:] == codes[:, :1] - 1).all()
    assert (codes[:, 0] == round(127 * classes**-0.5)).all()


def test_codes_are_rounded_roots_and_decode_to_their_squares() -> None:
    probs = np.array([1.0, 0.9, 0.1, 0.0625, 0.9375, 0.0, 1e-6, 0.999999], np.float64)
    pairs = np.stack([probs, 1 - probs])[None, :, None]
    assert (encode(pairs) == np.round(127 * np.sqrt(pairs))).all()
    assert decode(np.array([127, 0], np.uint8).reshape(1, 2, 1, 1)).ravel() == pytest.approx(
        [1, 0.05 / 127**2], rel=1e-4
    )
    assert decode(np.array([90, 89], np.uint8).reshape(1, 2, 1, 1)).ravel() == pytest.approx(
        [8100 / 16021, 7921 / 16021]
    )


def test_decoding_into_the_place_of_one_member_among_others() -> None:
    codes = np.random.default_rng(0).integers(0, 128, (9, 2, 100, 300)).astype(np.uint8)  # blocks of 4, 4 and 1 images
    squares = np.where(codes == 0, 0.05, codes.astype(np.float64) ** 2)
    probs_mnchw = np.full((3, *codes.shape), -1, np.float32)
    decode(codes, out=probs_mnchw[1])
    np.testing.assert_allclose(probs_mnchw[1], squares / squares.sum(1, keepdims=True), rtol=1e-6)
    assert (probs_mnchw[[0, 2]] == -1).all()
    assert (probs_mnchw[1] == decode(codes)).all()
    assert decode(codes[:0]).shape == (0, 2, 100, 300)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_log_loss_and_argmax_of_a_realistic_member(sharpness: float) -> None:
    probs, labels = member(24, sharpness)
    back = decode(encode(probs))
    assert (back.argmax(1) != probs.argmax(1)).sum() == 0
    assert abs(log_loss(back, labels) - log_loss(probs, labels)) < 0.0005
    assert np.abs(back.sum(axis=1) - 1).max() < 1e-6
    assert np.abs(back - probs).max() < 0.02
    assert back.min() > 0


def test_one_changed_member_value_is_told_from_zero() -> None:
    # The reason for the square root: linear 8-bit codes would make both of these 0.
    assert encode(np.array([0.9999, 0.0001]).reshape(1, 2, 1, 1))[0, 1, 0, 0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: np.where(p == p[3, 1, 0, 2], np.nan, p), "nan.* in image 3 at row 0, column 2"),
        (lambda p: np.log(p + 1e-9), "not logits"),
        (lambda p: p * 1.002, "summing to 1"),
        (lambda p: p - np.array([0.6, -0.6, 0, 0]).reshape(4, 1, 1), ">= 0"),
        (lambda p: p * np.inf, "summing to 1"),
        (lambda p: p[0], r"images, classes, height, width.*\(4, 3, 5\)"),
        (lambda p: (p * 255).astype(np.uint8), "uint8"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")  # 0 * inf, on purpose
def test_what_are_not_probabilities_is_refused(change: Callable[[Floats], Floats], message: str) -> None:
    with pytest.raises(EnsError, match=message):
        encode(change(small(5)[0]))


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 1, 7), (3, 2, 5, 1), (2, 5, 33, 130)])
def test_packing_is_lossless_for_any_codes(shape: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    labels = rng.integers(0, 256, (shape[0], *shape[2:])).astype(np.uint8)
    sizes = [shape[2:]] * shape[0]
    back, back_labels = unpack(pack(list(codes), list(labels)), shape[1], sizes, True)
    assert back_labels is not None
    assert (np.stack(back) == codes).all()
    assert (np.stack(back_labels) == labels).all()
    assert (np.stack(unpack(pack(list(codes), None), shape[1], sizes, False)[0]) == codes).all()


def test_packing_is_lossless_where_sums_exceed_32_bits() -> None:
    rows, columns = np.arange(1, 3001), np.arange(1, 3001)
    codes = (-np.multiply.outer(rows, columns)).astype(np.uint8).reshape(1, 1, 3000, 3000)  # every difference is 255
    assert (unpack(pack(list(codes), None), 1, [(3000, 3000)], False)[0][0] == codes[0]).all()


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_size_of_a_realistic_member(tmp_path: Path, sharpness: float) -> None:
    probs, labels = member(24, sharpness)
    stores = list[Store]()
    for name, kept in (("with", labels), ("without", None)):
        with StoreWriter(tmp_path / name, classes=("a", "b", "c", "d"), meta=META) as writer:
            writer.append([str(row) for row in range(24)], probs, kept)
        stores.append(Store.open(tmp_path / name))
    with_labels, store = stores
    assert with_labels.nbytes == sum(file.stat().st_size for file in with_labels.path.iterdir())
    assert with_labels.bytes_per_value == pytest.approx(with_labels.nbytes / (24 * 4 * 64 * 128))
    assert store.bytes_per_value < 0.4
    plain = zstandard.compress(encode(probs).tobytes(), level=3)
    assert store.nbytes < 0.8 * len(plain)  # what the differences are for


@pytest.mark.parametrize("content", [zstandard.compress(bytes(10_000_000)), b"not a frame at all", b""])
def test_forged_frames_are_refused_before_they_are_unpacked(content: bytes) -> None:
    with pytest.raises(EnsError, match="frame"):
        unpack(content, 4, [(3, 5)] * 2, True)


def test_truncated_frame_is_refused() -> None:
    codes = encode(small(5)[0])
    with pytest.raises(EnsError, match="damaged bytes"):
        unpack(pack(list(codes), None)[:-6], 4, [(3, 5)] * 5, False)
