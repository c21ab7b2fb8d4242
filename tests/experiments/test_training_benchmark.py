"""Do the contestants of the training benchmark train the same thing, and are its figures what they are called?"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ensemble.core.progress import no_progress
from ensemble.inference.network import to_tensor
from ensemble.training.batches import derive_seed, epoch_batches
from ensemble.training.loop import train_fold
from ensemble.training.train import plan_training
from ensemble.training.trainer import FoldJob

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
TINY = {"loss": "ce", "batch_size": 4, "lr": 2e-2, "device": "cpu"}
needs_lightning = pytest.mark.skipif(importlib.util.find_spec("lightning") is None, reason="needs lightning")


@pytest.fixture
def contestants(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("contestants")


@pytest.fixture
def timing(contestants: Any) -> Any:
    return importlib.import_module("timing")


@pytest.fixture
def training(contestants: Any) -> Any:
    return importlib.import_module("training")


def tiny_job(data: Path, out: Path, arch: str = "unet-baseline", precision: str = "fp32") -> FoldJob:
    options = {"arch": "unet-baseline(filters=2, depth=1)"} if arch == "unet-baseline" else {}
    given: dict[str, Any] = {"data": data, "arch": arch, "precision": precision, "out": out}
    return plan_training(given | TINY | options).job(0, 2)


# ---------------------------------------------------------------- the contestants


def test_ours_ends_with_the_weights_of_the_engine(contestants: Any, tiny_npz: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("engine").mkdir()
    job = tiny_job(tiny_npz, tmp_path)
    expected = train_fold(replace(job, checkpoint=tmp_path / "engine" / "checkpoint.pt"), no_progress, lambda _: None)
    seen: list[nn.Module] = []
    contestants.ours(job, lambda network: bool(seen.append(network)))
    assert len(seen) == job.steps * job.epochs
    found = seen[-1].state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_everyone_takes_the_batches_of_the_engine(contestants: Any, tiny_npz: Path, tmp_path: Path) -> None:
    job = tiny_job(tiny_npz, tmp_path)
    order = [job.training_rows[batch] for batch in contestants.batches_of(job)]
    assert len(order) == job.steps * job.epochs
    assert list(contestants.Order(job)) == [*np.concatenate(list(contestants.batches_of(job))[: job.steps])]
    rows = iter(order)
    for epoch in range(job.epochs):
        seed = derive_seed(job.settings.seed, job.fold, epoch)
        for images_nchw, labels_nhw in epoch_batches(job.training, 4, "none", seed, "cpu"):
            chosen = next(rows).tolist()
            assert torch.equal(images_nchw, to_tensor(job.dataset.images(chosen), "cpu"))
            assert np.array_equal(labels_nhw.numpy(), job.dataset.labels(chosen))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_loop_by_hand_learns(contestants: Any, tiny_npz: Path, tmp_path: Path, precision: str) -> None:
    job = replace(tiny_job(tiny_npz, tmp_path, precision=precision), epochs=12)
    rows = job.training_rows.tolist()
    images_nchw, labels_nhw = to_tensor(job.dataset.images(rows), "cpu"), torch.from_numpy(job.dataset.labels(rows))
    losses: list[float] = []

    def on_step(network: nn.Module) -> bool:
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(images_nchw), labels_nhw.long(), ignore_index=255)))
        return len(losses) == 40

    contestants.hand_written(job, on_step)
    assert len(losses) == 40  # it ends when it is told to
    assert losses[-1] < 0.7 * losses[0]


def test_images_and_labels_are_flipped_together_each_axis_by_half(contestants: Any) -> None:
    torch.manual_seed(0)
    labels_nhw = torch.arange(6).reshape(1, 2, 3).repeat(4000, 1, 1)
    images_nchw, turned_nhw = contestants.flipped(labels_nhw[:, None].float(), labels_nhw)
    assert torch.equal(images_nchw[:, 0].long(), turned_nhw)
    corners = torch.bincount(turned_nhw[:, 0, 0], minlength=6) / 4000
    assert corners.tolist() == pytest.approx([0.25, 0, 0.25, 0.25, 0, 0.25], abs=0.03)
    assert torch.equal(labels_nhw, torch.arange(6).reshape(1, 2, 3).expand(4000, 2, 3))


@pytest.mark.parametrize("arch", ["smp-unet", "linknet", "pspnet"])
def test_lightning_gets_the_same_network_from_smp(contestants: Any, tiny_npz: Path, tmp_path: Path, arch: str) -> None:
    job = tiny_job(tiny_npz, tmp_path, arch)
    mine, theirs = contestants.our_body(job).eval(), contestants.smp_body(job).eval()
    assert type(theirs).__module__.startswith("segmentation_models_pytorch")
    weights = {name.removeprefix("network."): tensor for name, tensor in mine.state_dict().items()}
    theirs.load_state_dict(weights, strict=False)  # ours has no unused stages
    assert weights.keys() <= theirs.state_dict().keys()
    images_nchw = torch.rand(2, job.facts.bands, 64, 128)
    with torch.no_grad():
        assert torch.allclose(mine(images_nchw), theirs(images_nchw), atol=1e-5)


def test_lightning_gets_our_network_where_smp_has_none(contestants: Any, tiny_npz: Path, tmp_path: Path) -> None:
    job = tiny_job(tiny_npz, tmp_path)
    first, second = (contestants.fresh_network(job, contestants.smp_body).state_dict() for _ in range(2))
    engine = contestants.start_training(job).network.state_dict()
    assert all(torch.equal(first[name], second[name]) and torch.equal(first[name], engine[name]) for name in engine)


@needs_lightning
def test_lightning_ends_when_it_is_told_to(contestants: Any, tiny_npz: Path, tmp_path: Path) -> None:
    job = tiny_job(tiny_npz, tmp_path)
    before = contestants.fresh_network(job).state_dict()
    seen: list[nn.Module] = []

    def on_step(network: nn.Module) -> bool:
        seen.append(network)
        return len(seen) == job.steps + 1

    contestants.lightning(job, on_step)
    assert len(seen) == job.steps + 1
    after = seen[-1].state_dict()
    assert after.keys() == before.keys()
    assert not torch.equal(after["body.network.head.weight"], before["body.network.head.weight"])


# ---------------------------------------------------------------- what is measured


def test_the_first_step_of_an_epoch_and_the_warm_up_are_not_timed(timing: Any) -> None:
    ends = [(wall, 2 * wall) for wall in (5.0, 6.0, 8.0, 108.0, 109.0, 112.0, 212.0)]  # epochs of three steps
    assert timing.step_durations(ends, 2, 3).tolist() == [[2, 4], [1, 2], [3, 6]]
    assert timing.step_durations(ends[:4], 1, 1).tolist() == [[1, 2], [2, 4], [100, 200]]


def test_a_stopwatch_counts_images_and_cores(
    timing: Any, tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = timing.Stopwatch(tiny_job(tiny_npz, tmp_path), warmup=1, steps=2)
    walls, processors = iter([10.0, 10.5, 11.5]), iter([3.0, 3.9, 5.1])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(walls))
    monkeypatch.setattr(timing.time, "process_time", lambda: next(processors))
    assert [watch(nn.Identity()) for _ in range(3)] == [False, False, True]
    found = watch.found()
    assert found["timed_steps"] == 2
    assert found["images_per_second"] == pytest.approx(2 * 4 / 1.5)  # batches of four
    assert found["cores_used"] == pytest.approx(2.1 / 1.5)


@pytest.mark.parametrize(
    ("goal", "cap", "steps", "reached"), [(0.5, 99, 4, True), (0.7, 99, 6, True), (0.9, 7, 7, False)]
)
def test_a_race_leaves_its_evaluations_off_the_clock(
    timing: Any,
    tiny_npz: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    goal: float,
    cap: float,
    steps: int,
    reached: bool,
) -> None:
    now, scores, modes = [0.0], iter([0.4, 0.6, 0.8]), list[bool]()

    def evaluate(network: nn.Module, _: FoldJob) -> float:
        now[0] += 1000.0
        modes.append(network.training)
        return next(scores)

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing, "validation_miou", evaluate)
    job = tiny_job(tiny_npz, tmp_path)
    assert job.steps in (4, 5)  # half an epoch is two steps
    network, race = nn.Identity().train(), timing.Race(job, goal, cap, started=0.0)
    for _ in range(steps):
        assert network.training
        now[0] += 1.0
        ended = race(network)
        assert ended == (race.done == steps)
    assert race.seconds == steps
    assert race.found()["seconds_to_miou"] == (steps if reached else None)
    assert not any(modes)


def test_operations_of_training_by_hand(timing: Any) -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 1))
    first, second = 2 * 9 * 1 * 3 * 64, 2 * 3 * 2 * 64  # of one image of 8x8
    labels_nhw = torch.zeros(2, 8, 8, dtype=torch.long)
    found = timing.training_operations(network, torch.rand(2, 1, 8, 8), labels_nhw)
    assert found == 2 * (first + second + first + 2 * second)  # the first needs no gradient of its images


def test_a_peak_is_operations_over_the_fastest_call(timing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (2, 3, 8, 16, 5)
    with FlopCounterMode(display=False) as counter:
        F.conv2d(torch.rand(2, 3, 8, 16), torch.rand(5, 3, 3, 3), padding=1)
    assert timing.convolution_operations(shape) == counter.get_total_flops()
    assert {timing.convolution_operations(one) for one in timing.SHAPES} == {2_415_919_104}
    clock = iter([0.0, 4.0, 4.0, 6.0, 6.0, 9.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.convolution_peak(torch.bfloat16, [shape], 1.0) == timing.convolution_operations(shape) / 2


# ---------------------------------------------------------------- the table


def record(name: str, seed: int, speed: float, **more: Any) -> dict[str, Any]:
    precision = "bf16" if name in ("ours", "hand-bf16") else "fp32"
    task = {
        "arch": "pspnet",
        "contestant": name,
        "goal": None,
        "seed": seed,
        "batch_size": 32,
        "warmup": 8,
        "steps": 40,
    }
    found = {"images_per_second": speed, "peak_megabytes": 900.0, "megabytes_before": 600.0, "cores_used": 1.9}
    return task | {"workers": 0, "threads": 2, "precision": precision, "cap": 600.0} | found | more


def test_ratios_are_within_rounds_and_shares_of_the_right_peak(training: Any) -> None:
    speeds = {"ours": (90, 60, 110), "hand-fp32": (50, 40, 60), "hand-bf16": (100, 50, 100), "lightning": (30, 30, 44)}
    records = [record(name, seed, speed) for name, each in speeds.items() for seed, speed in enumerate(each)]
    cost = {"parameters": 7, "operations": 1e9, "image_size": "64x128x1", "training_images": 9}
    peaks = {
        "pspnet": cost | {"peaks": {"fp32": 1e11, "bf16": 9e11}},
        "unet": cost | {"peaks": {"fp32": 8e10, "bf16": 1e12}},
    }
    ours, fp32, _, lightning = training.rows_of(records, peaks)
    assert ours["best_hand_loop"] == "hand-bf16"
    assert [ours[f"to_best_hand_loop{end}"] for end in ("", "_min", "_max")] == [1.1, 0.9, 1.2]
    assert [ours[f"to_lightning{end}"] for end in ("", "_min", "_max")] == [2.5, 2.0, 3.0]
    assert [ours["images_per_second"], ours["images_per_second_min"], ours["images_per_second_max"]] == [90, 60, 110]
    assert ours["share_of_peak"] == 0.09
    assert fp32["share_of_peak"] == 0.5
    assert (ours["network"], lightning["network"]) == ("ours", "segmentation-models-pytorch")
    assert ours["megabytes_over_libraries_and_data"] == 300.0
    assert "goal_miou" not in ours


def test_without_lightning_there_is_no_ratio_to_it(training: Any) -> None:
    found = training.ratios({"ours": [3.0], "hand-fp32": [2.0]}, "ours")
    assert found["to_best_hand_loop"] == 1.5
    assert "to_lightning" not in found
    assert training.ratios({"ours": [3.0]}, "ours") == {"best_hand_loop": None}


@pytest.mark.parametrize(
    ("seconds", "median", "reached"),
    [([30.0, 10.0, 20.0], 20.0, "3 of 3"), ([30.0, None, 20.0], 30.0, "2 of 3"), ([None, None, 20.0], None, "1 of 3")],
)
def test_a_race_that_was_not_finished_counts_as_the_slowest(
    training: Any, seconds: list[float | None], median: float | None, reached: str
) -> None:
    races = [{"seconds_to_miou": one, "miou": 0.5, "goal": 0.5, "cap": 600.0} for one in seconds]
    found = training.raced(races)
    assert (found["seconds_to_miou"], found["reached"]) == (median, reached)
    assert found["seconds_to_miou_max"] == (30.0 if None not in seconds else None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--arch", "pspnett"], "unknown architecture 'pspnett'"),
        (["nowhere.npz"], "nowhere.npz"),
        (["sample", "--rounds", "0"], "expected 1 or more, got 0"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(
    training: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["training.py", *arguments, "--out", str(tmp_path / "out.csv")])
    with pytest.raises(SystemExit) as ended:
        training.main()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
def test_the_benchmark_runs(tiny_npz: Path, tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "training.py", tiny_npz, "--out", tmp_path / "out.csv", "--rounds", "1"]
    small = ["--arch=unet-baseline", "--steps=2", "--warmup=1", "--batch-size=4", "--epochs=1", "--to-miou=0.01"]
    few = ["--contestant=ours", "--contestant=hand-bf16"]
    done = subprocess.run([*command, *small, *few], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["contestant"] for row in rows] == ["ours", "hand-bf16"]
    assert all(0 < float(row["share_of_peak"]) < 1 and row["reached"] == "1 of 1" for row in rows)
    assert rows[1]["to_best_hand_loop"] == "1.0"
