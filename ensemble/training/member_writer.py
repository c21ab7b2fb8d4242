"""Step 3 of training: write the files of a member, from its configuration to its scores, and resume from them."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from ensemble.config import MemberSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json, write_bytes, write_json
from ensemble.core.progress import Progress
from ensemble.core.settings import load_settings
from ensemble.evaluation.tally import Tally
from ensemble.inference.hardware import environment
from ensemble.runs.layout import (
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    LOG,
    WEIGHTS,
    State,
    fold_history_name,
    is_run,
    weights_name,
)
from ensemble.runs.member import Member
from ensemble.runs.status import finish_run, read_status, write_config, write_status
from ensemble.training.budget import length_for_budget
from ensemble.training.checkpoint import save_weights
from ensemble.training.determinism import differences, stored_environment
from ensemble.training.length import Length
from ensemble.training.loop import train_fold
from ensemble.training.plan import Plan
from ensemble.training.predictions import scored_rows
from ensemble.training.reuse import copy_weights, find_same_weights
from ensemble.training.trainer import FoldJob


class MemberWriter:
    """Writer of the files of one member during training; with several processes, the main one reads and writes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.path = plan.path
        self.history: list[dict[str, Any]] = []
        self.same_weights: Member | None = None  # a finished member whose weights can be copied
        self.seconds: float = read_status(self.path).get("seconds", 0.0) if is_run(self.path) else 0.0
        self.started = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds of this run and of all interrupted runs before it."""
        return self.seconds + time.perf_counter() - self.started

    def write_status(self, state: State, **more: Any) -> None:
        """Replace the status by the state, the seconds of all runs so far, and ``more``."""
        write_status(self.path, "member", state, seconds=self.elapsed, **more)

    @contextmanager
    def record_outcome(self) -> Generator[None]:
        """Record in status and log an error or an interrupt that ends the block."""
        if not self.plan.processes.is_main:
            yield
            return
        try:
            with self.plan.processes.report_lost_peer():
                yield
        except KeyboardInterrupt:
            with suppress(EnsError):
                self.write_status("interrupted")
            self.log("interrupted; the same command resumes")
            raise
        except EnsError as error:
            with suppress(EnsError):  # a full disk refuses the status, too; report the original error
                self.write_status("failed", error=str(error))
            self.log(f"failed: {error}")
            raise

    def log(self, text: str) -> None:
        """Add a line to the log. The program never reads the log, so on a full disk training continues without it."""
        with suppress(OSError), (self.path / LOG).open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def start(self, progress: Progress) -> int:
        """Write the configuration, or read it to resume, and return the number of epochs.

        A time budget is measured at the first start only; after that the configuration holds the number.
        """
        processes = self.plan.processes
        length = processes.run_on_main(self._known_length) or length_for_budget(self.plan, progress)
        self.plan = replace(self.plan, settings=self.plan.settings.model_copy(update=length._asdict()))
        processes.run_on_main(lambda: self._begin(length))
        return length.epochs

    def _known_length(self) -> Length | None:
        """Return the length of the configuration, of a member with the same weights, or of the settings; else None."""
        for leftover in self.path.glob(".*.tmp"):  # left by a killed process; complete files have other names
            leftover.unlink()
        config, self.same_weights = self.path / CONFIG, find_same_weights(self.plan)
        if config.is_file():
            return _stored_length(config)
        settings = self.same_weights.settings if self.same_weights else self.plan.settings
        return None if settings.epochs is None else Length(settings.epochs, settings.epoch_steps)

    def _begin(self, length: Length) -> None:
        """Write configuration, environment and status before the first fold."""
        config, other = self.path / CONFIG, self.same_weights
        if config.is_file():
            self.log("resumed")
        else:
            content = {
                "settings": self.plan.settings.model_dump(mode="json"),
                "data": self.plan.facts.model_dump(mode="json"),
            }
            self.write_status("training", parameters=self.plan.parameters)
            # Copied weights keep the environment that they were trained in.
            write_json(self.path / ENVIRONMENT, (other and other.environment) or environment())
            write_config(self.path, "member", content)
            self.log(f"started, {length.epochs} epochs")
        if changed := differences(stored_environment(self.path), environment()):
            parts = (f"{name} {then} -> {now}" for name, (then, now) in changed.items())
            self.log(f"the environment changed since the start, so bits may differ: {', '.join(parts)}")
        if (
            other and (other.settings.epochs, other.settings.epoch_steps) != length
        ):  # two measurements of a budget may give different numbers
            self.same_weights = None
        self.write_status("training", parameters=self.plan.parameters)

    def train(self, fold: int, epochs: int, progress: Progress) -> None:
        """Train one fold, unless this member or one with the same weights has trained it already."""
        processes = self.plan.processes
        if processes.run_on_main(lambda: self._is_trained(fold, epochs)):
            return
        rows: list[dict[str, Any]] = []

        def on_epoch(history: list[dict[str, Any]]) -> None:
            rows[:] = history
            self._write_history(self.history + rows)
            self.write_status("training", parameters=self.plan.parameters, fold=fold, epoch=len(rows), epochs=epochs)

        job = self.plan.job(fold, epochs)
        weights = train_fold(job, progress, on_epoch)
        processes.run_on_main(lambda: self._save_fold(job, rows, weights))

    def _is_trained(self, fold: int, epochs: int) -> bool:
        """Return whether the weights of a fold exist, after copying them from a member with the same weights."""
        weights, history = self.path / weights_name(fold), self.path / fold_history_name(fold)
        job = self.plan.job(fold, epochs)
        if self.same_weights and not (weights.is_file() and history.is_file()):
            copy_weights(self.same_weights, job, weights, history)
            self.log(f"fold {fold + 1}: weights of {self.same_weights.name}")
        if weights.is_file() and history.is_file():
            self.history.extend(read_json(history))
            job.checkpoint.unlink(missing_ok=True)
            return True
        return False

    def _save_fold(self, job: FoldJob, rows: list[dict[str, Any]], weights: Mapping[str, Tensor]) -> None:
        """Write history and weights of a trained fold, then delete its checkpoint."""
        write_json(self.path / fold_history_name(job.fold), rows)
        save_weights(self.path / weights_name(job.fold), weights)
        job.checkpoint.unlink(missing_ok=True)
        self.history.extend(rows)
        self.log(f"fold {job.fold + 1} trained, loss {rows[-1]['train_loss']:.4f}")

    def _write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / HISTORY, text.getvalue().encode())

    def finish(self, tally: Tally, cost: Mapping[str, float]) -> None:
        """Write scores, per-image confusions, digests and costs; the state becomes ``complete`` last.

        Args:
            tally: the scored validation predictions.
            cost: cost of a prediction, by name of its field in the status.
        """
        plan = self.plan
        groups = [plan.groups[row] for row in scored_rows(plan)]
        scores = tally.scores(groups, plan.facts.classes, plan.facts.keras_ignored)
        scores["selected"] = plan.settings.keep == "best"
        scores["protocol"] = "out-of-fold" if plan.settings.data.folds else "hold-out"
        self.complete(scores, tally.arrays(), cost)

    def complete(
        self, scores: Mapping[str, Any], tables: Mapping[str, NDArray[Any]], cost: Mapping[str, float]
    ) -> None:
        """Write given scores and tables with digests and costs; the state becomes ``complete`` last."""
        plan = self.plan
        self._write_history(self.history)
        finish_run(
            self.path,
            "member",
            scores,
            tables,
            weights=sorted(file.name for file in self.path.glob(WEIGHTS)),
            seconds=self.elapsed,
            parameters=plan.parameters,
            training_seconds=sum(row["seconds"] for row in self.history),
            **cost,
        )
        self.log(f"complete, mIoU {scores['miou']:.4f}")


def _stored_length(config: Path) -> Length:
    content = read_json(config)
    stored = load_settings(MemberSettings, content.get("settings") if isinstance(content, dict) else None, config)
    if stored.epochs is None:
        raise EnsError(f"{config} is damaged (no number of epochs); delete the directory and train the member again")
    return Length(stored.epochs, stored.epoch_steps)
