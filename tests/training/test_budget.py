"""What training will take, from measured steps; and a time budget that counts all of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor, nn
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.core.errors import EnsError
from ensemble.inference import memory
from ensemble.inference.peak_memory import memory_in_use
from ensemble.training import budget as module
from ensemble.training import rehearsal
from ensemble.training.batches import steps_per_epoch
from ensemble.training.budget import Estimate, check_batch_fits, estimate_training, length_for_budget
from ensemble.training.growth import Growth, Point
from ensemble.training.length import Length
from ensemble.training.plan import Plan
from ensemble.training.rehearsal import Rehearsal
from ensemble.training.train import plan_training, train, train_member
from ensemble.training.trainer import Trainer

TINY: dict[str, Any] = {
    "arch": "unet-baseline(filters=2, depth=1)",
    "loss": "ce",
    "epochs": 2,
    "batch_size": 4,
    "lr": 2e-2,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture
def plan(tiny_npz: Path, tmp_path: Path) -> Callable[..., Plan]:
    """Return a function that plans the member that ``train_tiny`` trains."""

    def make(**changes: Any) -> Plan:
        return plan_training({**TINY, "data": tiny_npz, "out": tmp_path / "runs", **changes})

    return make


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """An npz of 48 images of 128x160."""
    generator = np.random.default_rng(0)
    masks_nhw = np.kron(generator.integers(0, 4, (48, 4, 5)), np.ones((32, 32))).astype(np.uint8)
    images_nhw = masks_nhw * 50 + generator.integers(0, 50, masks_nhw.shape).astype(np.uint8)
    np.savez(tmp_path / "large.npz", training_set=np.stack([images_nhw, masks_nhw], 1), test_set=images_nhw[:2])
    return tmp_path / "large.npz"


@pytest.fixture
def images_take(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make time stand still but for training and predicting, which take the given seconds for each image."""

    def take(training: float, predicting: float = 0.0) -> None:
        clock, step, infer = [0.0], Trainer.step, rehearsal.infer
        monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

        def slow_step(self: Trainer, images_nchw: Tensor, *args: Any) -> Any:
            clock[0] += training * len(images_nchw)
            return step(self, images_nchw, *args)

        def slow_infer(network: nn.Module, images: NDArray[Any], *args: Any) -> Any:
            clock[0] += predicting * len(images)
            return infer(network, images, *args)

        monkeypatch.setattr(Trainer, "step", slow_step)
        monkeypatch.setattr(rehearsal, "infer", slow_infer)

    return take


def test_a_budget_becomes_epochs_at_least_one_and_more_with_more_time(plan: Callable[..., Plan]) -> None:
    told: list[str] = []
    few = plan(epochs=None, budget=1e-9)
    assert length_for_budget(few, lambda task, *_: told.append(task)) == Length(1)
    assert set(told) == {"measuring a step"}
    assert length_for_budget(plan(epochs=None, budget=1e5)).epochs > 100


def test_the_estimate_counts_steps_and_predictions(plan: Callable[..., Plan], images_take: Callable[..., None]) -> None:
    images_take(0.5, 0.01)
    made = plan(folds=2, epochs=5, tta="hflip")
    found = estimate_training(made)
    steps = steps_per_epoch(len(made.fewest_shown), 4)
    # 12 validation images a fold, predicted five times and then in two views, as are 5 test images by both networks.
    predicted = 2 * (5 * 12 + 2 * (12 + 5))
    assert (found.epochs, found.steps, found.step_seconds) == (5, steps, 2.0)
    assert found.seconds == pytest.approx(2 * 5 * steps * 2.0 + predicted * 0.01)
    assert found.memory > 1e8


def test_predictions_of_whole_images_count_as_many_windows(
    plan: Callable[..., Plan], images_take: Callable[..., None]
) -> None:
    images_take(0.5, 0.01)
    made = plan(epochs=3, crop="32x32")
    found = estimate_training(made)
    height, width = made.dataset.sizes[0]
    images = 3 * len(made.split.scored) + len(made.split.scored) + len(made.dataset.test_ids)
    assert found.step_seconds == 4 * 0.5
    assert found.seconds == pytest.approx(3 * found.steps * 2.0 + images * height * width / 32**2 * 0.01)


def test_what_scoring_and_storing_take_counts_once_per_image(
    plan: Callable[..., Plan], images_take: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    images_take(0.5)
    clock, add = module.time.perf_counter, rehearsal.Tally.add
    late = [0.0]

    def slow_add(self: Any, probs: NDArray[Any], *more: Any) -> None:
        late[0] += 0.1 * len(probs)
        add(self, probs, *more)

    monkeypatch.setattr(rehearsal.Tally, "add", slow_add)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock() + late[0])
    made = plan(epochs=3, tta="hflip")
    found = estimate_training(made)
    images = len(made.split.scored) + len(made.dataset.test_ids)
    assert found.seconds == pytest.approx(3 * found.steps * 2.0 + images * 0.1)


def test_scoring_between_epochs_and_giving_memory_back_count_too(
    plan: Callable[..., Plan], images_take: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    images_take(0.5)
    clock, confusions_of, kept = module.time.perf_counter, rehearsal.confusions_of, rehearsal.memory_kept
    late = [0.0]

    def slow_confusions(outputs_nkhw: Tensor, *more: Any) -> Any:
        late[0] += 0.01 * len(outputs_nkhw)
        return confusions_of(outputs_nkhw, *more)

    @contextmanager
    def slowly_released(device: str) -> Generator[None]:
        with kept(device):
            yield
        late[0] += 0.3

    monkeypatch.setattr(rehearsal, "confusions_of", slow_confusions)
    monkeypatch.setattr(rehearsal, "memory_kept", slowly_released)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock() + late[0])
    made = plan(folds=2, epochs=3)
    found = estimate_training(made)
    every_epoch = found.steps * 2.0 + 0.3
    assert found.seconds == pytest.approx(2 * 3 * every_epoch + 3 * len(made.split.scored) * 0.01)
    longer = estimate_training(plan(folds=2, epochs=40))  # ten epochs of them are evaluated
    assert longer.seconds == pytest.approx(2 * (40 * found.steps * 2.0 + 10 * 0.3) + 10 * len(made.split.scored) * 0.01)


def test_the_step_after_an_evaluation_is_as_slow_as_the_first(
    plan: Callable[..., Plan], images_take: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    images_take(0.05)
    clock, step = module.time.perf_counter, Trainer.step
    late, seen = [0.0], set[int]()

    def slow_first(self: Trainer, images_nchw: Tensor, *more: Any) -> Any:
        late[0] += 0.0 if len(images_nchw) in seen else 0.5
        seen.add(len(images_nchw))
        return step(self, images_nchw, *more)

    monkeypatch.setattr(Trainer, "step", slow_first)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock() + late[0])
    found = estimate_training(plan(epochs=40))
    assert found.step_seconds == pytest.approx(4 * 0.05)
    assert found.seconds == pytest.approx(40 * found.steps * 0.2 + 10 * 0.5)


def test_tiles_of_a_network_that_looks_at_whole_images_overlap(
    large: Path, images_take: Callable[..., None], tmp_path: Path
) -> None:
    images_take(0.0, 0.01)
    made = plan_training({"data": str(large), "out": tmp_path, "arch": "pspnet", "crop": "64x64", "epochs": 1})
    found = estimate_training(made)
    pixels = (3 * 64) * (4 * 64)  # tiles of 64x64 that begin every 32 pixels
    assert found.seconds == pytest.approx((2 * len(made.split.scored) + 2) * pixels / 64**2 * 0.01)


def test_a_budget_holds_loading_measuring_and_training(
    plan: Callable[..., Plan], images_take: Callable[..., None]
) -> None:
    images_take(0.25)
    made = replace(plan(epochs=None, budget=500.0), started=-100.0)  # loading took 100 seconds
    found = estimate_training(made)
    measured = 2 * 2 * 0.25 + min(rehearsal.STEPS, found.steps) * 1.0
    left = 500 - 100 - measured
    assert found.epochs == int(left / found.steps)
    assert found.epochs > 10
    assert 0 <= left - found.seconds < found.steps


def test_every_epoch_is_evaluated_if_the_best_is_kept(
    plan: Callable[..., Plan], images_take: Callable[..., None]
) -> None:
    images_take(0.25, 0.01)
    last, best = (estimate_training(plan(epochs=40, keep=keep)) for keep in ("last", "best"))
    assert best.seconds - last.seconds == pytest.approx((40 - 10) * len(plan().split.scored) * 0.01)


def test_a_slow_first_step_is_followed_by_a_second(
    plan: Callable[..., Plan], images_take: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    images_take(0.6)  # a step takes 2.4 seconds, the first one twice as long, and measuring 10 at most
    clock, step = module.time.perf_counter, Trainer.step
    late = [0.0]

    def slow_first(self: Trainer, images_nchw: Tensor, labels_nhw: Tensor, number: int) -> Any:
        late[0] += 2.4 if len(images_nchw) == 4 and number == 0 else 0.0
        return step(self, images_nchw, labels_nhw, number)

    monkeypatch.setattr(Trainer, "step", slow_first)
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock() + late[0])
    assert estimate_training(plan(epochs=40)).step_seconds == pytest.approx(4 * 0.6)


def test_an_epoch_of_one_step_is_repeated_to_measure_it(
    plan: Callable[..., Plan], images_take: Callable[..., None]
) -> None:
    images_take(0.05)
    made, done = plan(batch_size=64), list[tuple[int, int]]()
    found = estimate_training(made, lambda _, now, total, *__: done.append((now, total)))
    assert found.steps == 1
    assert done[-1] == (4, 4)  # the first two do not count


@pytest.mark.parametrize(("seconds", "steps"), [(0.25, 3), (0.5, 1), (8.0, 1), (0.02, 8)])
def test_measuring_takes_a_tenth_of_the_budget_at_most(
    plan: Callable[..., Plan], images_take: Callable[..., None], seconds: float, steps: int
) -> None:
    images_take(seconds)
    done: list[tuple[int, int]] = []
    found = estimate_training(plan(epochs=None, budget=40.0), lambda _, now, total, *__: done.append((now, total)))
    # Two steps of 2 images first, as far as they fit; then those of 4, at most eight.
    assert done[-1] == (steps, steps)
    assert sum(now == total for now, total in done) == (1 if seconds >= 1 else 2)  # batches of one size, or of two
    assert found.step_seconds == pytest.approx(4 * seconds)


def test_measuring_changes_no_bit_of_the_member(plan: Callable[..., Plan], tiny_runs: Path) -> None:
    made = plan()
    assert isinstance(estimate_training(made), Estimate)
    assert not made.path.exists()
    member = train_member(made)
    weights = (
        folder / made.path.name / "weights-f0.safetensors" for folder in (member.path.parent, tiny_runs / "members")
    )
    assert len({path.read_bytes() for path in weights}) == 1


def test_the_time_of_loading_is_part_of_a_plan(plan: Callable[..., Plan]) -> None:
    before = time.perf_counter()
    made = plan()
    assert before <= made.started <= time.perf_counter()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the bytes that are free, and let even small batches be measured."""
    monkeypatch.setattr(module, "SURE_BYTES", 10**15)

    def leave(megabytes: int) -> None:
        monkeypatch.setattr(memory, "free_memory", lambda: megabytes * 10**6)

    return leave


LARGE: dict[str, Any] = {"arch": "unet(filters=16, depth=3)", "batch_size": 32, "steps": 40, "epochs": None}


def test_a_batch_that_does_not_fit_is_refused_with_the_largest_that_does(
    large: Path, free: Callable[[int], None], tmp_path: Path
) -> None:
    out = tmp_path / "runs"
    free(450)
    with pytest.raises(EnsError, match=r"a batch of 32 images of 128x160 needs about .* GB of memory, but") as caught:
        train(large, out=out, **{**TINY, **LARGE})
    assert not out.exists()
    most = re.search(r"use batch_size (\d+), the largest that fits, a smaller crop, a smaller", str(caught.value))
    assert most is not None
    assert 3 <= int(most[1]) <= 16
    # Half of it: the memory is measured again, and varies by some images after many tests in the same process.
    fits = plan_training({**TINY, **LARGE, "data": large, "out": out, "batch_size": max(2, int(most[1]) // 2)})
    check_batch_fits(fits)
    assert estimate_training(fits).memory < memory_in_use("cpu") + 470e6


def test_it_is_refused_in_the_same_words_before_anything_is_measured_twice(
    large: Path, free: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[float]()
    rehearse = module.rehearse

    def counted(*args: Any) -> Any:
        measured.append(args[1])
        return rehearse(*args)

    monkeypatch.setattr(module, "rehearse", counted)
    monkeypatch.setattr(module, "SECONDS", 2.0)
    options = ["--arch", LARGE["arch"], "--loss", "ce", "--device", "cpu", "--steps", "1", "--batch-size"]
    command = ["train", str(large), "--out", str(tmp_path / "runs"), *options]
    free(300)
    for more in ([], ["--dry-run"], ["--quiet"]):
        result = CliRunner().invoke(app, [*command, "32", *more])
        assert result.exit_code == 2, result.output
        assert "a batch of 32 images of 128x160 needs about" in " ".join(result.output.split())
    assert not (tmp_path / "runs").exists()
    free(8000)
    measured.clear()
    assert CliRunner().invoke(app, [*command, "2"]).exit_code == 0
    assert measured == [module.SECONDS]  # for the estimate, not again for the check


def test_even_two_images_may_be_too_many(large: Path, free: Callable[[int], None], tmp_path: Path) -> None:
    free(20)
    with pytest.raises(EnsError, match=r"even a batch of 2 images of 128x160 needs about .* use a smaller crop"):
        train(large, out=tmp_path, **{**TINY, **LARGE})


def test_what_surely_fits_is_not_measured(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "rehearse")
    check_batch_fits(plan())


def test_all_parts_of_training_are_in_the_memory() -> None:
    def growth(base: int, each: int) -> Growth:
        return Growth((Point(0, 0, base), Point(2, 1, base + 2 * each), Point(4, 2, base + 4 * each)))

    times = {"releasing": 0.0, "scoring": 0.0, "keeping": 0.0}
    more: dict[str, Any] = {"seen": {}, "before": 500, "weights": 10, "room": 1e9, "size": (8, 8)} | times
    found = Rehearsal(growth(1000, 20), growth(900, 10), **more)
    assert found.memory(8, 8, 8, held=40) == 1000 + 8 * 20  # a step
    assert found.memory(8, 20, 8, held=40) == 1000 + 20 * 10  # a validation
    assert found.memory(8, 8, 100, held=200) == 500 + 200 + 100 * 10  # the predictions of all folds
    kept = replace(found, kept=1.5)  # of predictions only
    assert kept.memory(8, 8, 8, held=40) == 1000 + 8 * 20
    assert kept.memory(8, 20, 8, held=40) == 1000 + 1.5 * 20 * 10
    assert kept.memory(8, 8, 100, held=200) == 500 + 200 + 1.5 * 100 * 10
