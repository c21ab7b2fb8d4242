"""The commands of the kill test: what they need, how they are called, and how their results are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from kill_contents import (
    Content,
    files_in,
    finished_runs,
    mlflow_content,
    npz_content,
    pages,
    study_content,
    tune_content,
)

from ensemble.data.formats.sample.terrain import draw_sample

NETWORK = "unet-baseline(filters=2,depth=1)"
SETTINGS = "--batch-size 16 --device cpu --precision fp32 --deterministic"
RECIPE = f"""name = "two"
question = "Which of two losses?"
[defaults]
arch = "{NETWORK}"
epochs = 1
batch_size = 16
device = "cpu"
precision = "fp32"
deterministic = true
[[grid]]
loss = ["ce", "dice"]
[[ensembles]]
method = "average"
"""


@dataclass(frozen=True)
class Case:
    """A command of the kill test.

    Attributes:
        name: what the table calls it.
        command: arguments by the folder for the results.
        content: finished results in such a folder, without times, by name.
        libraries: modules that are loaded before the processes are forked.
        other: arguments that give other results, for the control.
    """

    name: str
    command: Callable[[Path], Sequence[str]]
    content: Callable[[Path], Content]
    libraries: tuple[str, ...]
    other: tuple[str, ...] = ()


def make_data(folder: Path) -> Path:
    """Write a small part of the sample as npz."""
    drawn = draw_sample(n_train=64, n_test=16, height=32, width=64)
    arrays: dict[str, Any] = {name: getattr(drawn, name) for name in ("training_set", "test_set", "training_groups")}
    np.savez(folder / "sample.npz", **arrays, classes=np.array(["background", *drawn.classes]))
    return folder / "sample.npz"


def all_cases(world: Path) -> dict[str, Case]:
    """Return the cases by name; ``world`` holds ``sample.npz``, and ``runs`` with two members and an ensemble."""
    data, runs = str(world / "sample.npz"), str(world / "runs")
    (world / "two.toml").write_text(RECIPE)
    train = ["train", data, "--arch", NETWORK, "--loss", "ce", *SETTINGS.split(), "--folds", "2", "--epochs", "3"]
    tune = ["tune", data, "--arch", "unet-baseline(depth=1)", "--loss", "focal", *SETTINGS.split(), "--trials", "2"]
    tune += ["--trial-epochs", "1", "--epochs", "1"]
    study = ["study", str(world / "two.toml"), "--data", data, "--jobs", "1", "--threads", "1"]
    predict = ["predict", "average", data, "--runs", runs, "--device", "cpu"]
    training, reading = ("ensemble.training.train", "ensemble.data.augmentation.steps"), ("ensemble.report.page",)
    combining, event_files = ("ensemble.combining.combine",), ("ensemble.tracking.event_files",)
    inside = lambda name: lambda folder: ["--quiet", "--out", str(folder / name)]  # noqa: E731
    cases = [
        Case("train", lambda f: [*train, *inside("runs")(f)], finished_runs, training, ("--seed", "1")),
        Case(
            "study",
            lambda f: [*study, *inside("runs")(f)],
            study_content,
            (*training, *combining, *reading, "ensemble.study.run"),
        ),
        Case(
            "tune",
            lambda f: [*tune, *inside("runs")(f)],
            tune_content,
            (*training, *reading, "ensemble.study.tuning.run", "optuna", "optuna.importance"),
            ("--seed", "1"),
        ),
        Case(
            "track mlflow",
            lambda f: ["track", "--runs", runs, "--to", "mlflow", *inside("mlflow")(f)],
            mlflow_content,
            ("ensemble.tracking.mlflow_store",),
        ),
        Case(
            "track tensorboard",
            lambda f: ["track", "--runs", runs, "--to", "tensorboard", *inside("events")(f)],
            lambda f: files_in(f / "events"),
            event_files,
        ),
        Case(
            "report",
            lambda f: ["report", "--runs", runs, *inside("report.html")(f)],
            lambda f: pages(f, "report.html"),
            reading,
        ),
        Case(
            "predict npz",
            lambda f: [*predict, "--probabilities", *inside("masks.npz")(f)],
            npz_content,
            ("ensemble.inference.write_masks",),
            ("--tta", "flips"),
        ),
        Case(
            "predict folder",
            lambda f: [*predict, *inside("masks")(f)],
            lambda f: files_in(f / "masks"),
            ("ensemble.inference.write_masks",),
            ("--tta", "flips"),
        ),
    ]
    return {case.name: case for case in cases}
