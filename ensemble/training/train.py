"""Train one member: every fold, then its probabilities and scores, in a directory that can be resumed at any time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ensemble.config import FORMAT_VERSION, MemberSettings, load_settings
from ensemble.errors import EnsError
from ensemble.evaluation.scores import Tally
from ensemble.files import atomic, file_digest, read_json, write_bytes, write_json
from ensemble.locks import LOCK, OWNER, locked
from ensemble.members import CHECKED, Member
from ensemble.networks import Network, gflops, infer, load_network, mean_of_folds, scored, to_tensor
from ensemble.probabilities import open_writer
from ensemble.progress import Tick, silent
from ensemble.training.checkpoint import save_weights
from ensemble.training.exact import deterministic, differences, stored_environment
from ensemble.training.hardware import environment, torch_threads
from ensemble.training.launcher import join
from ensemble.training.loop import FoldJob, train_fold
from ensemble.training.plan import Plan, epochs_for_budget
from ensemble.training.twins import find_twin, take_over
from ensemble.tta import VIEWS

PREDICT_BATCH = 32


def exactly(plan: Plan) -> Plan:
    """The same plan in deterministic mode: a member of its own, since the mode may change bits."""
    settings = plan.settings.model_copy(update={"deterministic": True})
    name = settings.directory_name(plan.facts.data_hash + plan.facts.split_hash)
    return replace(plan, settings=settings, path=plan.path.with_name(name))


def train_member(plan: Plan, tick: Tick = silent) -> Member:
    """Train, resume or simply open the member of ``plan``.

    Whatever ends the process leaves a directory that the same call resumes, repeating the uninterrupted run.

    Raises:
        EnsError: the loss stops being finite, the disk fills up, files of an earlier run are damaged, another process
            trains this member, or it is not trained by as many processes as it is one of.
    """
    processes = join(plan.settings)
    plan = replace(plan, processes=processes)
    if not processes.is_main:
        tick = silent
    with processes.contact():
        names = processes.gather(plan.path.name)
        processes.on_main(lambda: _check_same(names))
        if processes.on_main(lambda: plan.state) != "complete":
            with ExitStack() as held:
                processes.on_main(lambda: held.enter_context(locked(plan.path)))
                _train(plan, tick)
        processes.on_main(lambda: _tidy(plan.path))
    return Member.open(plan.path)


def _check_same(names: Sequence[str]) -> None:
    """Refuse processes that do not train the same member, as when their machines have other data."""
    if len(set(names)) > 1:
        raise EnsError(
            f"the processes were given different members ({', '.join(names)}); give all the same data, options, number"
            " of threads and precision"
        )


def _train(plan: Plan, tick: Tick) -> None:
    settings, processes = plan.settings, plan.processes
    if processes.on_main(lambda: plan.state) == "complete":  # the process that held the lock before has finished it
        return
    run = _Run(plan)
    with run.state_kept(), torch_threads(settings.threads), deterministic(settings.deterministic, settings.device):
        epochs = run.start(tick)
        for fold in range(len(plan.split.validation)):
            run.train(fold, epochs, tick)
        processes.on_main(lambda: _conclude(run, tick))


def _conclude(run: _Run, tick: Tick) -> None:
    """Predict with the networks of all folds, and write down what came out."""
    plan, settings = run.plan, run.plan.settings
    networks = [
        load_network(settings, plan.facts, plan.path / f"weights-f{fold}.safetensors", settings.device)
        for fold in range(len(plan.split.validation))
    ]
    tally, latency_ms = _predict_validation(plan, networks, tick)
    _predict_test(plan, networks, tick)
    image = to_tensor(plan.dataset.images([0]), settings.device)
    operations = sum(gflops(networks[0], view.of(image)) for view in VIEWS[settings.tta])
    run.finish(tally, {"gflops": operations, "latency_ms": latency_ms})


def _tidy(path: Path) -> None:
    """Remove what a finished member needs no more, and what a killed process left; on a read-only disk it stays."""
    with suppress(OSError):
        for pattern in (".*.tmp", "history-f*.json", "checkpoint-f*.pt", LOCK, OWNER):
            for leftover in path.glob(pattern):
                leftover.unlink(missing_ok=True)


class _Run:
    """The files of a member while it is trained; of several processes the main one reads and writes them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.path = plan.path
        self.history: list[dict[str, Any]] = []
        self.twin: Member | None = None
        self.seconds = self._status().get("seconds", 0.0)
        self.started = time.perf_counter()

    def _status(self) -> dict[str, Any]:
        return read_json(self.path / "status.json") if (self.path / "status.json").is_file() else {}

    def write_status(self, state: str, **more: Any) -> None:
        elapsed = self.seconds + time.perf_counter() - self.started
        write_json(
            self.path / "status.json",
            {"format_version": FORMAT_VERSION, "kind": "member", "state": state, "seconds": elapsed, **more},
        )

    @contextmanager
    def state_kept(self) -> Generator[None]:
        """Write down how the run ended when it did not end well."""
        if not self.plan.processes.is_main:
            yield
            return
        try:
            with self.plan.processes.contact():
                yield
        except KeyboardInterrupt:
            with suppress(EnsError):
                self.write_status("interrupted")
            self.log("interrupted; the same command resumes")
            raise
        except EnsError as error:
            with suppress(EnsError):  # a full disk takes no status either; what is told is why it failed
                self.write_status("failed", error=str(error))
            self.log(f"failed: {error}")
            raise

    def log(self, text: str) -> None:
        """Add a line to the log, which nothing is read from: on a full disk the run goes on without it."""
        with suppress(OSError), (self.path / "log.txt").open("a", encoding="utf-8") as stream:
            stream.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def start(self, tick: Tick) -> int:
        """Write or read the configuration; the number of epochs is in it from the first start on."""
        processes = self.plan.processes
        epochs = processes.on_main(self._known_epochs) or epochs_for_budget(self.plan, tick)
        processes.on_main(lambda: self._begin(epochs))
        return epochs

    def _known_epochs(self) -> int | None:
        """Epochs in the configuration, of a twin or of the settings; None where they have to be measured."""
        for leftover in self.path.glob(".*.tmp"):  # of a killed process; whole files have other names
            leftover.unlink()
        config, self.twin = self.path / "config.json", find_twin(self.plan)
        if config.is_file():
            return _stored_epochs(config)
        return (self.twin and self.twin.settings.epochs) or self.plan.settings.epochs

    def _begin(self, epochs: int) -> None:
        config, twin = self.path / "config.json", self.twin
        if config.is_file():
            self.log("resumed")
        else:
            resolved = self.plan.settings.model_copy(update={"epochs": epochs})
            content = {"settings": resolved.model_dump(mode="json"), "data": self.plan.facts.model_dump(mode="json")}
            self.write_status("training", parameters=self.plan.parameters)
            # It is the environment of the training, also where a twin was trained.
            write_json(self.path / "environment.json", (twin and stored_environment(twin.path)) or environment())
            write_json(config, {"format_version": FORMAT_VERSION, "kind": "member", **content})
            self.log(f"started, {epochs} epochs")
        if changed := differences(stored_environment(self.path), environment()):
            parts = (f"{name} {then} -> {now}" for name, (then, now) in changed.items())
            self.log(f"the environment is not that of the start, so bits may differ: {', '.join(parts)}")
        self.twin = twin if twin and twin.settings.epochs == epochs else None  # a budget may have led to others
        self.write_status("training", parameters=self.plan.parameters)

    def train(self, fold: int, epochs: int, tick: Tick) -> None:
        """Train one fold unless its weights are there already, here or at a twin."""
        processes = self.plan.processes
        if processes.on_main(lambda: self._is_trained(fold, epochs)):
            return
        rows: list[dict[str, Any]] = []

        def on_epoch(history: list[dict[str, Any]]) -> None:
            rows[:] = history
            self._write_history(self.history + rows)
            self.write_status("training", parameters=self.plan.parameters, fold=fold, epoch=len(rows), epochs=epochs)

        job = self.plan.job(fold, epochs)
        state = train_fold(job, tick, on_epoch)
        processes.on_main(lambda: self._keep(job, rows, state))

    def _is_trained(self, fold: int, epochs: int) -> bool:
        """Whether the weights of a fold are there; those of a twin are copied first."""
        weights = self.path / f"weights-f{fold}.safetensors"
        history = self.path / f"history-f{fold}.json"
        if self.twin and not (weights.is_file() and history.is_file()):
            take_over(self.twin, fold, weights, history)
            self.log(f"fold {fold + 1}: weights of {self.twin.name}")
        if weights.is_file() and history.is_file():
            self.history.extend(read_json(history))
            self.plan.job(fold, epochs).checkpoint.unlink(missing_ok=True)
            return True
        return False

    def _keep(self, job: FoldJob, rows: list[dict[str, Any]], state: Mapping[str, Tensor]) -> None:
        """Write what a fold has learnt; its checkpoint is needed no more."""
        write_json(self.path / f"history-f{job.fold}.json", rows)
        save_weights(self.path / f"weights-f{job.fold}.safetensors", state)
        job.checkpoint.unlink(missing_ok=True)
        self.history.extend(rows)
        self.log(f"fold {job.fold + 1} trained, loss {rows[-1]['train_loss']:.4f}")

    def _write_history(self, rows: Sequence[dict[str, Any]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(self.path / "history.csv", text.getvalue().encode())

    def finish(self, tally: Tally, cost: Mapping[str, float]) -> None:
        """Scores, per-image tables, digests, what a prediction costs; the state turns to complete last."""
        plan = self.plan
        groups = [plan.groups[row] for row in _scored_rows(plan)]
        scores = tally.scores(groups, plan.facts.classes, plan.facts.keras_ignored)
        scores["selected"] = plan.settings.keep == "best"
        scores["protocol"] = "out-of-fold" if plan.settings.data.folds else "hold-out"
        write_json(self.path / "scores.json", scores)
        with atomic(self.path / "confusions.npz") as stream:
            np.savez_compressed(stream, allow_pickle=False, **tally.arrays())
        self._write_history(self.history)
        names = [*CHECKED, *(f"weights-f{fold}.safetensors" for fold in range(len(plan.split.validation)))]
        digests = {name: file_digest(self.path / name) for name in names}
        self.log(f"complete, mIoU {scores['miou']:.4f}")
        self.write_status(
            "complete",
            parameters=plan.parameters,
            finished=datetime.now(UTC).isoformat(),
            training_seconds=sum(row["seconds"] for row in self.history),
            **cost,
            files=digests,
        )


def _stored_epochs(config: Path) -> int:
    content = read_json(config)
    stored = load_settings(MemberSettings, content.get("settings") if isinstance(content, dict) else None, config)
    if stored.epochs is None:
        raise EnsError(f"{config} is damaged (no number of epochs); delete the directory and train the member again")
    return stored.epochs


def _scored_rows(plan: Plan) -> list[int]:
    """Rows in the order of the store: fold after fold."""
    return [int(row) for rows in plan.split.validation for row in rows]


def _predict_validation(plan: Plan, networks: Sequence[Network], tick: Tick) -> tuple[Tally, float]:
    """Each fold's network predicts the rows it did not see; stored and scored on the way.

    Returns:
        The tally, and the median over the batches of the milliseconds that predicting an image took.
    """
    dataset, classes = plan.dataset, len(plan.facts.classes)
    tally, done, total = Tally(classes), 0, len(plan.split.scored)
    times: list[float] = []
    with open_writer(plan.path, plan.facts, "validation", [dataset.ids[row] for row in _scored_rows(plan)]) as writer:
        for network, rows_of_fold in zip(networks, plan.split.validation, strict=True):
            for start in range(0, len(rows_of_fold), PREDICT_BATCH):
                rows = rows_of_fold[start : start + PREDICT_BATCH].tolist()
                images, start_time = dataset.images(rows), time.perf_counter()
                outputs = infer(network, images, plan.settings, plan.settings.device)
                times.append(1000 * (time.perf_counter() - start_time) / len(rows))
                probs, labels = scored(outputs, classes).numpy(), dataset.labels(rows)
                raw = outputs.argmax(1).numpy() if outputs.shape[1] > classes else None
                tally.add(probs, labels, raw_predictions_nhw=raw)
                writer.append([dataset.ids[r] for r in rows], probs, labels, groups=[plan.groups[r] for r in rows])
                done += len(rows)
                tick("predicting validation images", done, total)
    return tally, float(np.median(times))


def _predict_test(plan: Plan, networks: Sequence[Network], tick: Tick) -> None:
    """The mean of the folds' networks on the unlabelled test images, where there are any."""
    dataset, total = plan.dataset, len(plan.dataset.test_ids)
    if not total:
        return
    with open_writer(plan.path, plan.facts, "test", dataset.test_ids) as writer:
        for start in range(0, total, PREDICT_BATCH):
            rows = list(range(start, min(start + PREDICT_BATCH, total)))
            images = dataset.test_images(rows)
            probs = mean_of_folds(networks, images, plan.settings, len(plan.facts.classes), plan.settings.device)
            writer.append([dataset.test_ids[row] for row in rows], probs)
            tick("predicting test images", rows[-1] + 1, total)
