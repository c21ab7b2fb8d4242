"""What training will take, from measured steps; and a time budget that counts all of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ensemble.training import budget as module
from ensemble.training.batches import steps_per_epoch
from ensemble.training.budget import Estimate, epochs_for_budget, estimate_training
from ensemble.training.plan import Plan
from ensemble.training.train import plan_training, train_member
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
def steps_take(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make time stand still but for steps of training, each of which takes the given seconds."""

    def take(seconds: float) -> None:
        clock, step = [0.0], Trainer.step
        monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])

        def slow(self: Trainer, *args: Any) -> Any:
            clock[0] += seconds
            return step(self, *args)

        monkeypatch.setattr(Trainer, "step", slow)

    return take


def test_a_budget_becomes_epochs_at_least_one_and_more_with_more_time(plan: Callable[..., Plan]) -> None:
    told: list[str] = []
    few = plan(epochs=None, budget=1e-9)
    assert epochs_for_budget(few, lambda task, *_: told.append(task)) == 1
    assert set(told) == {"measuring a step"}
    assert epochs_for_budget(plan(epochs=None, budget=1e5)) > 100


def test_the_estimate_counts_steps_and_predictions(
    plan: Callable[..., Plan], steps_take: Callable[[float], None]
) -> None:
    steps_take(2.0)
    made = plan(folds=2, epochs=5, tta="hflip")
    found = estimate_training(made)
    steps = steps_per_epoch(len(made.fewest_shown), 4)
    # 12 validation images a fold, predicted five times and then in two views, as are 5 test images; a third of a step.
    predictions = (5 * 12 + 2 * (12 + 5)) / 4 * 2.0 / 3
    assert (found.epochs, found.steps, found.step_seconds) == (5, steps, 2.0)
    assert found.seconds == pytest.approx(2 * (5 * steps * 2.0 + predictions))
    assert found.memory > 1e7


def test_a_budget_holds_loading_measuring_and_training(
    plan: Callable[..., Plan], steps_take: Callable[[float], None]
) -> None:
    steps_take(1.0)
    made = replace(plan(epochs=None, budget=500.0), started=-100.0)  # loading took 100 seconds
    found = estimate_training(made)
    measured = min(module.STEPS, found.steps)
    epoch = found.steps * 1.0
    left = 500 - 100 - measured - (found.seconds - found.epochs * epoch)
    assert found.epochs == int(left / epoch)
    assert found.epochs > 10
    assert 0 <= 500 - 100 - measured - found.seconds < epoch


def test_every_epoch_is_evaluated_if_the_best_is_kept(
    plan: Callable[..., Plan], steps_take: Callable[[float], None]
) -> None:
    steps_take(1.0)
    last, best = (estimate_training(plan(epochs=40, keep=keep)) for keep in ("last", "best"))
    scored = len(plan().split.scored)
    assert best.seconds - last.seconds == pytest.approx((40 - 10) * scored / 4 / 3)


@pytest.mark.parametrize(("seconds", "steps"), [(1.0, 4), (2.0, 2), (30.0, 1), (0.1, 4)])
def test_measuring_takes_a_tenth_of_the_budget_at_most(
    plan: Callable[..., Plan], steps_take: Callable[[float], None], seconds: float, steps: int
) -> None:
    steps_take(seconds)
    told: list[int] = []
    estimate_training(plan(epochs=None, budget=40.0), lambda _, done, *__: told.append(done))
    assert told[-1] == steps  # an epoch has four; the first step cannot be shortened


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
