"""The embedded sample: what it holds, that it is drawn the same every time, that texture tells its classes apart."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from ensemble.core.errors import EnsError
from ensemble.data.formats.sample.terrain import BIG_ROCK, CLASSES, Terrain, draw_sample


@pytest.fixture(scope="module")
def sample() -> Terrain:
    return draw_sample()


def outliers(masks_nhw: np.ndarray) -> np.ndarray:
    """Indices of the tiles whose mask is the commonest one, byte for byte."""
    keys = [mask.tobytes() for mask in masks_nhw]
    commonest = Counter(keys).most_common(1)[0][0]
    return np.flatnonzero([key == commonest for key in keys])


def blobs(mask_hw: np.ndarray) -> int:
    labels = np.zeros(mask_hw.shape, np.int32)
    ndimage.label(mask_hw, output=labels)
    return int(labels.max())


def separation(values_nhw: np.ndarray, masks_nhw: np.ndarray) -> float:
    """Mean over pairs of grounds of |AUC - 1/2|: how well one number per tile and class tells the grounds apart."""
    means = {
        ground: np.array(
            [v[m == ground].mean() for v, m in zip(values_nhw, masks_nhw, strict=True) if (m == ground).sum() > 400]
        )
        for ground in (1, 2, 3)
    }
    return float(np.mean([abs((means[a][:, None] > means[b]).mean() - 0.5) for a, b in combinations(means, 2)]))


def test_sample_has_the_homework_layout(sample: Terrain) -> None:
    assert sample.training_set.shape == (240, 2, 64, 128)
    assert sample.test_set.shape == (48, 64, 128)
    assert sample.training_groups.shape == (240,)
    assert sample.training_set.dtype == sample.test_set.dtype == np.uint8
    assert sample.training_groups.dtype.kind == "U"
    assert sample.classes == CLASSES == ("soil", "bedrock", "sand", "big rock")
    assert set(np.unique(sample.training_set[:, 1])) == {0, 1, 2, 3, 4}


def test_same_seed_same_bytes_other_seed_other_terrain() -> None:
    first, again, other = (draw_sample(seed, n_train=12, n_test=3) for seed in (3, 3, 4))
    assert first.training_set.tobytes() == again.training_set.tobytes()
    assert first.test_set.tobytes() == again.test_set.tobytes()
    assert first.training_groups.tolist() == again.training_groups.tolist()
    assert (first.training_set[:, 0] != other.training_set[:, 0]).mean() > 0.9


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_those_of_an_imbalanced_problem(seed: int, sample: Terrain) -> None:
    masks = (draw_sample(seed, n_test=0) if seed else sample).training_set[:, 1]
    void, soil, bedrock, sand, rock = np.bincount(masks.ravel(), minlength=5) / masks.size
    assert 0.15 < void < 0.35
    labelled = 1 - void
    assert 0.28 < soil / labelled < 0.48
    assert 0.26 < bedrock / labelled < 0.46
    assert 0.18 < sand / labelled < 0.38
    assert 0.002 < rock < 0.01
    assert 0.10 <= (masks == BIG_ROCK).any((1, 2)).mean() <= 0.15


def test_groups_are_scenes_of_two_to_five_tiles(sample: Terrain) -> None:
    counts = Counter(sample.training_groups.tolist())
    assert 70 <= len(counts) <= 95
    assert set(counts.values()) == {2, 3, 4, 5}


def test_every_class_is_in_many_groups(sample: Terrain) -> None:
    masks, groups = sample.training_set[:, 1], sample.training_groups
    found = {c: len(set(groups[(masks == c).any((1, 2))].tolist())) for c in (1, 2, 3, 4)}
    assert min(found[c] for c in (1, 2, 3)) >= 40
    assert found[BIG_ROCK] >= 12


def test_tiles_of_a_scene_share_their_light(sample: Terrain) -> None:
    clean = np.setdiff1d(np.arange(240), outliers(sample.training_set[:, 1]))
    median = np.median(sample.training_set[clean, 0], axis=(1, 2))
    groups = sample.training_groups[clean]
    within = np.mean([median[groups == g].std() for g in set(groups.tolist()) if (groups == g).sum() > 1])
    assert within < 0.5 * median.std()


def test_five_outliers_share_one_mask_and_a_figure(sample: Terrain) -> None:
    images, masks = sample.training_set[:, 0], sample.training_set[:, 1]
    odd = outliers(masks)
    assert len(odd) == 5
    drawn = np.ptp(images[odd].astype(int), axis=0) == 0
    assert 0.1 < drawn.mean() < 0.3  # the figure is the same, the terrain around it is not
    assert set(np.unique(masks[odd])) == {0, 1, 2, 3}
    rest = np.delete(masks, odd, axis=0)
    assert Counter(mask.tobytes() for mask in rest if mask.any()).most_common(1)[0][1] == 1


def test_texture_tells_grounds_apart_better_than_brightness(sample: Terrain) -> None:
    clean = np.setdiff1d(np.arange(240), outliers(sample.training_set[:, 1]))
    images, masks = sample.training_set[clean, 0].astype(np.float32), sample.training_set[clean, 1]
    bands = [ndimage.gaussian_filter(images, (0, sigma, sigma)) for sigma in (0.8, 3.0)]
    roughness = np.abs(bands[0] - bands[1]) / bands[1].mean((1, 2), keepdims=True)  # relative: exposure cancels
    assert separation(roughness, masks) > 0.25
    assert separation(roughness, masks) > separation(images, masks)


def test_brightness_alone_decides_no_class(sample: Terrain) -> None:
    images, masks = sample.training_set[:, 0], sample.training_set[:, 1]
    low, high = np.array([np.percentile(images[masks == c], (10, 90)) for c in (1, 2, 3, 4)]).T
    assert low[:3].max() < high[:3].min()  # the grounds have grey values that all three share
    assert low[3] < high[:3].max()  # big rock is bright, but so is the brightest ground


def test_brightness_is_a_hint_that_quick_members_can_use(sample: Terrain) -> None:
    """Three members of a minute must pass 0.5 mIoU: the tuned grounds differ in mean brightness, rock most."""
    clean = np.setdiff1d(np.arange(240), outliers(sample.training_set[:, 1]))
    images, masks = sample.training_set[clean, 0], sample.training_set[clean, 1]
    soil, bedrock, sand, rock = (images[masks == c].mean() for c in (1, 2, 3, 4))
    assert min(soil, sand) + 10 < bedrock < rock - 10
    assert separation(images.astype(np.float32), masks) > 0.15


def test_terrain_uses_the_grey_scale_without_clipping(sample: Terrain) -> None:
    images = np.concatenate([sample.training_set[:, 0], sample.test_set])
    assert (images == 255).mean() < 0.002
    assert (images == 0).mean() < 0.002
    assert images.std((1, 2)).min() > 1.5  # no flat tile
    assert np.median(images, axis=(1, 2)).std() > 8  # exposure differs between tiles


def test_big_rock_is_one_or_two_blobs_with_a_void_rim(sample: Terrain) -> None:
    for mask in sample.training_set[:, 1]:
        rock = mask == BIG_ROCK
        rim = ndimage.binary_dilation(rock) & ~rock
        assert blobs(rock) <= 4
        assert set(np.unique(mask[rim])) <= {0}


def test_a_larger_tile_shows_the_same_ground_finer() -> None:
    small, large = draw_sample(n_train=4, n_test=0), draw_sample(n_train=4, n_test=0, height=128, width=256)
    assert large.training_set.shape == (4, 2, 128, 256)
    shrunk = large.training_set[:, 0].reshape(4, 64, 2, 128, 2).mean((2, 4))
    for coarse, fine in zip(small.training_set[:, 0], shrunk, strict=True):
        assert np.abs(coarse - fine).mean() < 0.1 * coarse.mean()
    agree = small.training_set[:, 1] == large.training_set[:, 1, ::2, ::2]
    assert agree.mean() > 0.9


def test_no_test_images_and_few_training_images_are_fine() -> None:
    few = draw_sample(n_train=2, n_test=0)
    assert few.test_set.shape == (0, 64, 128)
    assert len(set(few.training_groups.tolist())) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"n_train": 1}, "n_train must be 2 or more, got 1"),
        ({"n_test": -2}, "n_test must be 0 or more, got -2"),
        ({"height": 16}, "height must be 32 or more, got 16"),
        ({"width": 31}, "width must be 32 or more, got 31"),
    ],
)
def test_too_small_arguments_are_refused(arguments: dict[str, int], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        draw_sample(**arguments)
