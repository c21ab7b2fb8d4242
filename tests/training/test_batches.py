"""Batches of an epoch: sampled and augmented by the seed, prepared ahead in order; statistics as NumPy has them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ensemble.config import DataSettings
from ensemble.data import Dataset, open_dataset
from ensemble.data.windows import TrainingImages
from ensemble.training.batches import derive_seed, epoch_batches, pixel_statistics, prefetch, steps_per_epoch

ROWS = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23])


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path) -> Dataset:
    return open_dataset(DataSettings(source=str(tiny_npz)))


MIXED = "copy-paste(count=30) + cutmix(p=1)"


def epoch(dataset: Dataset, seed: int, augmentation: str = "none", batch_size: int = 3) -> list[tuple[Tensor, Tensor]]:
    return list(epoch_batches(TrainingImages(dataset, ROWS), batch_size, augmentation, seed, "cpu"))


def rows_of(batches: list[tuple[Tensor, Tensor]], dataset: Dataset) -> list[int]:
    """Rows of the data set that these unaugmented images are."""
    all_images = dataset.images(range(24))[..., 0].astype(np.float32) / 255
    shown = torch.cat([images for images, _ in batches])[:, 0].numpy()
    return [int(np.flatnonzero(np.isclose(all_images, image, atol=1e-6).all((1, 2)))[0]) for image in shown]


def test_an_epoch_shows_every_row_once_in_an_order_of_its_own(dataset: Dataset) -> None:
    order = rows_of(epoch(dataset, 1), dataset)
    assert sorted(order) == ROWS.tolist()
    assert order != ROWS.tolist()
    assert order != rows_of(epoch(dataset, 2), dataset)


def test_images_come_with_their_own_labels(dataset: Dataset) -> None:
    batches = epoch(dataset, 4)
    labels = torch.cat([labels for _, labels in batches])
    assert labels.dtype == torch.int64
    np.testing.assert_array_equal(labels, dataset.labels(rows_of(batches, dataset)))


@pytest.mark.parametrize("augmentation", ["flips", "full", "copy-paste(count=2)", "flips + cutmix"])
def test_the_seed_decides_every_bit(dataset: Dataset, augmentation: str) -> None:
    one, again, other = (epoch(dataset, seed, augmentation) for seed in (5, 5, 6))
    for (images, labels), (images2, labels2) in zip(one, again, strict=True):
        torch.testing.assert_close(images, images2, rtol=0, atol=0)
        torch.testing.assert_close(labels, labels2, rtol=0, atol=0)
    assert not torch.equal(one[0][0], other[0][0])


def test_only_full_batches_are_given(dataset: Dataset) -> None:
    assert [len(images) for images, _ in epoch(dataset, 1, batch_size=4)] == [4, 4]


def test_fewer_rows_than_a_batch_are_one_batch(dataset: Dataset) -> None:
    assert [len(images) for images, _ in epoch(dataset, 1, batch_size=64)] == [9]
    assert (steps_per_epoch(9, 64), steps_per_epoch(9, 4), steps_per_epoch(8, 4)) == (1, 2, 2)


def test_every_batch_of_the_rare_sampler_holds_the_rarest_class(tmp_path: Path) -> None:
    masks = np.ones((20, 32, 32), np.uint8)
    masks[:, 16:] = 2
    masks[[3, 8, 15], 4:6, 4:6] = 3
    np.savez(tmp_path / "rare.npz", training_set=np.stack([np.zeros_like(masks), masks], axis=1))
    rare = open_dataset(DataSettings(source=str(tmp_path / "rare.npz")))
    rows = np.arange(19)  # all of them but the last
    for seed in range(3):
        batches = epoch_batches(TrainingImages(rare, rows), 4, "none", seed, "cpu", sampler="rare(per_batch=2)")
        held = [int((labels == 2).flatten(1).any(1).sum()) for _, labels in batches]
        assert len(held) == 4
        assert min(held) >= 2


@dataclass
class Recorder:
    """A source that remembers which rows were asked for."""

    source: Any
    rows: set[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def images(self, rows: Sequence[int]) -> Any:
        self.rows.update(rows)
        return self.source.images(rows)

    def masks(self, rows: Sequence[int]) -> Any:
        self.rows.update(rows)
        return self.source.masks(rows)


def test_images_of_other_folds_are_never_read(dataset: Dataset) -> None:
    recorder = Recorder(dataset.source, set())
    watched = replace(dataset, source=recorder)
    list(epoch_batches(TrainingImages(watched, ROWS), 3, MIXED, 0, "cpu", sampler="rare"))
    assert recorder.rows == set(ROWS.tolist())


def test_an_epoch_can_begin_in_the_middle_without_preparing_what_came_before(dataset: Dataset) -> None:
    recorder = Recorder(dataset.source, set())
    watched = replace(dataset, source=recorder)
    whole = list(epoch_batches(TrainingImages(dataset, ROWS), 2, "flips", 3, "cpu"))
    rest = list(epoch_batches(TrainingImages(watched, ROWS), 2, "flips", 3, "cpu", first=len(whole) - 1))
    assert len(rest) == 1
    assert len(recorder.rows) == 2
    for got, expected in zip(rest[0], whole[-1], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 12), total=st.integers(0, 12))
def test_prefetch_keeps_the_order(first: int, total: int) -> None:
    def prepare(step: int) -> tuple[Tensor, Tensor]:
        return torch.tensor(step), torch.tensor(-step)

    assert [int(step) for step, _ in prefetch(prepare, range(first, total))] == list(range(first, total))


def test_prefetch_runs_two_batches_ahead_in_another_thread() -> None:
    begun: list[int] = []
    threads: set[str] = set()

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        begun.append(step)
        threads.add(threading.current_thread().name)
        return torch.tensor(step), torch.tensor(step)

    batches = prefetch(prepare, range(10))
    next(batches)
    batches.close()  # waits for the thread
    assert begun[0] == 0
    assert max(begun) <= 2
    assert threading.current_thread().name not in threads


def test_what_goes_wrong_in_the_thread_comes_out_where_the_batch_is_asked_for() -> None:
    def prepare(step: int) -> tuple[Tensor, Tensor]:
        if step == 2:
            raise OSError("disk on fire")
        return torch.tensor(step), torch.tensor(step)

    batches = prefetch(prepare, range(5))
    assert [int(next(batches)[0]) for _ in range(2)] == [0, 1]
    with pytest.raises(OSError, match="disk on fire"):
        next(batches)


def test_seeds_differ_by_every_part_and_fit_all_generators() -> None:
    seeds = {derive_seed(*parts) for parts in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, "weights"), (1, 11)]}
    assert len(seeds | {derive_seed(11, 1)}) == 7
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(3, "weights") == derive_seed(3, "weights")


def test_statistics_of_the_bands_are_those_of_numpy(dataset: Dataset) -> None:
    mean, deviation = pixel_statistics(dataset, ROWS)
    pixels = dataset.images(ROWS.tolist()).astype(np.float64) / 255
    assert mean.tolist() == pytest.approx([pixels.mean()])
    assert deviation.tolist() == pytest.approx([pixels.std()])


def test_statistics_of_float_images_are_not_scaled_again_and_a_flat_band_has_a_deviation(tmp_path: Path) -> None:
    images, masks = np.full((4, 32, 32), 0.25, np.float32), np.ones((4, 32, 32), np.float32)
    masks[:, :16], masks[:, :2] = 2, 0
    np.savez(tmp_path / "flat.npz", training_set=np.stack([images, masks], axis=1))
    flat = open_dataset(DataSettings(source=str(tmp_path / "flat.npz")))
    mean, deviation = pixel_statistics(flat, np.arange(4))
    assert mean.tolist() == pytest.approx([0.25])
    assert deviation.tolist() == pytest.approx([1e-3])  # never 0: images are divided by it
