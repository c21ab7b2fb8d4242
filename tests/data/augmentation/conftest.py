"""Batches of noise for the steps that mix images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from ensemble.data import VOID

RARE = 2
BATCHES = st.tuples(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.tuples(st.integers(12, 24), st.integers(12, 30)),
    st.integers(1, 4),
    st.sampled_from([np.uint8, np.float32]),
)


def pairs_of_noise(seed: int, images: int, size: tuple[int, int], bands: int, dtype: Any) -> tuple[Any, Any]:
    """Noise, with labels in blocks: void, two common classes, and the rare one (2) in some images."""
    generator = np.random.default_rng(seed)
    blocks = generator.choice(
        [0, 1, RARE, VOID], (images, -(-size[0] // 4), -(-size[1] // 4)), p=[0.4, 0.4, 0.05, 0.15]
    )
    labels = blocks.astype(np.uint8).repeat(4, 1).repeat(4, 2)[:, : size[0], : size[1]]
    labels[0, :3, :5] = RARE  # in one image at least
    noise = generator.random((images, *size, bands))
    return (noise.astype(np.float32) if dtype == np.float32 else (noise * 255).astype(np.uint8)), labels


@pytest.fixture(scope="session")
def random_pairs() -> Callable[..., tuple[Any, Any]]:
    """Factory of images and labels: see ``pairs_of_noise``."""
    return pairs_of_noise


@pytest.fixture(scope="session")
def draw_pairs() -> Callable[[st.DataObject], tuple[int, Any, Any]]:
    """Function from hypothesis's ``st.data()`` to a seed, and to images and labels of a size and type that it draws."""

    def draw(drawn: st.DataObject) -> tuple[int, Any, Any]:
        seed, images, size, bands, dtype = drawn.draw(BATCHES)
        return seed, *pairs_of_noise(seed, images, size, bands, dtype)

    return draw
