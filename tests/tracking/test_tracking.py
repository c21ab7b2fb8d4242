"""Runs are exported to MLflow and TensorBoard, and read back with the readers of these tools."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS  # pyright: ignore[reportAttributeAccessIssue]

from ensemble import tracking
from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.core.locks import DirectoryLocked, locked
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members
from ensemble.tracking import event_files, mlflow_store, record

# MLflow 3.17 uses what SQLAlchemy 2.1 deprecates (November 2026).
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")


@dataclass(frozen=True)
class Exported:
    """Two members and their average, and their export."""

    runs: Path
    export: tracking.Export

    def path(self, beginning: str) -> Path:
        """Return the directory of a run."""
        (found,) = self.runs.glob(f"*/{beginning}*")
        return found


def copy_runs(tiny_runs: Path, folder: Path) -> Path:
    runs = Path(shutil.copytree(tiny_runs, folder / "runs"))
    combine(choose_members(runs), method="average", runs=runs)
    return runs


@pytest.fixture(scope="module")
def in_mlflow(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    runs = copy_runs(tiny_runs, tmp_path_factory.mktemp("in-mlflow"))
    return Exported(runs, tracking.track(runs, "mlflow"))


@pytest.fixture(scope="module")
def in_tensorboard(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("in-tensorboard")
    runs = copy_runs(tiny_runs, folder)
    return Exported(runs, tracking.track(runs, "tensorboard", out=folder / "events"))


def rewrite(path: Path, **files: bytes) -> None:
    """Change files of a run and their digests, as training would write them."""
    status = read_json(path / "status.json")
    for stem, content in files.items():
        (file,) = path.glob(f"{stem}.*")
        file.write_bytes(content)
        status["files"][file.name] = file_digest(file)
    write_json(path / "status.json", sealed(status))


def change_scores(path: Path, **scores: float) -> None:
    rewrite(path, scores=json.dumps(read_json(path / "scores.json") | scores).encode())


def history(path: Path) -> list[dict[str, str]]:
    with (path / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


# ---------------------------------------------------------------- MLflow


def client_of(exported: Exported) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_store.address(exported.export.place))


def runs_in(client: MlflowClient, condition: str = "") -> list[Run]:
    experiment = client.get_experiment_by_name("tiny.npz")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], filter_string=condition))


def test_mlflow_has_settings_scores_and_origin(in_mlflow: Exported) -> None:
    path = in_mlflow.path("unet-baseline-ce")
    (run,) = runs_in(client_of(in_mlflow), "params.loss = 'ce' and metrics.miou > 0")
    config, scores, status = (read_json(path / name) for name in ("config.json", "scores.json", "status.json"))
    assert run.info.run_name == path.name
    parameters = {
        "architecture": "unet-baseline",
        "architecture.options.filters": "2",
        "data": "tiny.npz",
        "data_hash": config["data"]["data_hash"],
        "background": "void",
        "batch_size": "4",
        "optimiser.lr": "0.02",
        "epochs": "2",
        "seed": "0",
        "selected": "False",
    }
    assert parameters.items() <= run.data.params.items()
    for name in ("miou", "miou_keras", "pixel_accuracy", "log_loss", "brier", "ece"):
        assert run.data.metrics[name] == scores[name]
    assert run.data.metrics["iou_ripples"] == scores["iou"]["ripples"]
    assert not {"miou_low", "iou_ripples_high"} & set(run.data.metrics)  # too few groups for intervals
    assert run.data.metrics["parameters"] == status["parameters"]
    assert run.data.metrics["seconds"] == status["training_seconds"]
    environment = read_json(path / "environment.json")
    tags = {"kind": "member", "cpu": environment["cpu"], "device": "cpu", "path": str(path)}
    assert tags.items() <= run.data.tags.items()
    assert run.data.tags.get("git") == run.data.tags.get("mlflow.source.git.commit") == environment["revision"]
    assert run.info.status == "FINISHED"
    assert isinstance(run.info.end_time, int)
    assert run.info.end_time - run.info.start_time == pytest.approx(1000 * status["seconds"], abs=1)


def test_mlflow_has_the_history_and_the_files(in_mlflow: Exported) -> None:
    client, path = client_of(in_mlflow), in_mlflow.path("unet-baseline-ce")
    (run,) = runs_in(client, "params.loss = 'ce'")
    rows = history(path)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    for column in ("train_loss", "val_miou", "lr"):
        points = client.get_metric_history(run.info.run_id, f"epoch/{column}")
        expected = [(int(row["epoch"]), float(row[column])) for row in rows if row[column]]
        assert [(point.step, point.value) for point in points] == expected
    first, second = client.get_metric_history(run.info.run_id, "epoch/train_loss")
    assert second.timestamp - first.timestamp == pytest.approx(1000 * float(rows[1]["seconds"]), abs=1)
    assert run.info.start_time < first.timestamp < second.timestamp <= (run.info.end_time or 0)
    names = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert names == {"config.json", "scores.json", "environment.json", "history.csv"}
    local = client.download_artifacts(run.info.run_id, "scores.json")
    assert Path(local).read_bytes() == (path / "scores.json").read_bytes()


def test_mlflow_has_the_ensemble_with_its_verdict(in_mlflow: Exported) -> None:
    path = in_mlflow.path("average-2")
    (run,) = runs_in(client_of(in_mlflow), "tags.kind = 'ensemble'")
    scores = read_json(path / "scores.json")
    assert run.data.params["method"] == "average"
    assert sorted(run.data.params["members"].split(", ")) == sorted(
        member.name for member in (in_mlflow.runs / "members").iterdir()
    )
    assert run.data.params["protocol"].startswith("cross-fitted over")
    assert run.data.metrics["miou"] == scores["miou"]
    assert run.data.tags["mlflow.note.content"] == scores["verdict"]["advice"]
    assert not any(name.startswith("epoch/") for name in run.data.metrics)


def test_mlflow_gets_a_run_once_and_again_when_it_changes(in_mlflow: Exported) -> None:
    client, path = client_of(in_mlflow), in_mlflow.path("unet-baseline-dice")
    assert set(in_mlflow.export.outcomes.values()) == {"new"}
    before = {run.info.run_name: run.info.run_id for run in runs_in(client)}
    assert len(before) == 3
    assert set(tracking.track(in_mlflow.runs, "mlflow").outcomes.values()) == {"unchanged"}
    assert {run.info.run_name: run.info.run_id for run in runs_in(client)} == before

    change_scores(path, miou=0.125)
    again = tracking.track(in_mlflow.runs, "mlflow")
    assert {name for name, outcome in again.outcomes.items() if outcome == "changed"} == {path.name}
    after = {run.info.run_name: run for run in runs_in(client)}
    assert len(runs_in(client)) == 3
    assert after[path.name].data.metrics["miou"] == 0.125
    assert {name for name in before if after[name].info.run_id != before[name]} == {path.name}

    # An interrupted export leaves a run without its digest, or both the new run and the old one.
    incomplete = after[path.name].info.run_id
    client.delete_tag(incomplete, mlflow_store.DIGEST)
    assert tracking.track(in_mlflow.runs, "mlflow").count("changed") == 1
    assert len(runs_in(client)) == 3
    artifacts = {folder.name for folder in (in_mlflow.export.place / "artifacts").iterdir()}
    assert incomplete not in artifacts
    assert {run.info.run_id for run in runs_in(client)} < artifacts
    client.restore_run(before[path.name])
    assert len(runs_in(client)) == 4
    assert tracking.track(in_mlflow.runs, "mlflow").count("unchanged") == 3
    assert {run.info.run_name for run in runs_in(client)} == set(before)
    assert len(runs_in(client, "metrics.miou = 0.125")) == 1


def test_mlflow_writes_nowhere_else(in_mlflow: Exported) -> None:
    assert {path.name for path in in_mlflow.export.place.iterdir()} == {"mlflow.db", "artifacts"}
    assert {path.name for path in in_mlflow.runs.iterdir()} == {"members", "ensembles", "looks", "tracking"}
    assert not Path("mlruns").exists()
    assert str(in_mlflow.export.place) in in_mlflow.export.view


def test_a_data_base_that_a_killed_process_left_unfinished_is_made_again(
    tmp_path: Path, make_member: Callable[..., Member]
) -> None:
    make_member(tmp_path)
    place = tmp_path / "tracking" / "mlflow"
    place.mkdir(parents=True)
    (place / mlflow_store.UNFINISHED).write_text("only some tables")
    (place / f"{mlflow_store.UNFINISHED}-journal").write_text("a transaction")
    assert tracking.track(tmp_path, "mlflow").count("new") == 1
    assert {path.name for path in place.iterdir()} == {"mlflow.db", "artifacts"}


def test_mlflow_prints_no_traceback_of_its_own(in_mlflow: Exported) -> None:
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.NOTSET)
    mlflow_store.open_store(in_mlflow.export.place)
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.ERROR)  # as of a full disk


@pytest.mark.parametrize("to", ["mlflow", "tensorboard"])
def test_two_exports_at_once_are_refused(tmp_path: Path, make_member: Callable[..., Member], to: str) -> None:
    make_member(tmp_path)
    with (
        locked(tmp_path / "tracking" / to),
        pytest.raises(DirectoryLocked, match=f"has worked on {to} for .*; wait until it ends"),
    ):
        tracking.track(tmp_path, to)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    make_member(tmp_path)
    (tmp_path / "file").write_text("")
    for to in ("mlflow", "tensorboard"):
        with pytest.raises(EnsError, match=r"cannot lock .*file: File exists; choose a folder that can be written"):
            tracking.track(tmp_path, to, out=tmp_path / "file")
    (tmp_path / "mlflow.db").write_text("rubbish, but enough of it to be taken for the beginning of a data base" * 9)
    with pytest.raises(EnsError, match=r"MLflow store in .* \(file is not a database\); choose another output folder"):
        tracking.track(tmp_path, "mlflow", out=tmp_path)
    with pytest.raises(EnsError, match="expected a folder without '\\?'"):
        tracking.track(tmp_path, "mlflow", out=tmp_path / "what?")


CALLS = """
import socket, sys, threading
calls = []
def refuse(*arguments, **_):
    calls.append(arguments[-1])
    raise OSError("no network")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
from ensemble.tracking import track
for to in ("mlflow", "tensorboard"):
    track(sys.argv[1], to)
import mlflow
for thread in threading.enumerate():
    if thread is not threading.current_thread():
        thread.join(3)
print("calls", calls)
"""
CI = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "JENKINS_URL")  # there MLflow is silent


@pytest.mark.slow
def test_nothing_is_sent_to_the_network(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    make_member(tmp_path)
    env = {name: value for name, value in os.environ.items() if name not in (*CI, "MLFLOW_DISABLE_TELEMETRY")}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", CALLS, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "calls []\n", "")


# ---------------------------------------------------------------- TensorBoard


def events_of(exported: Exported, path: Path) -> EventAccumulator:
    folder = exported.export.place / "tiny.npz" / path.name
    (file,) = folder.iterdir()
    events = EventAccumulator(str(file), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def test_tensorboard_has_the_history_and_the_scores(in_tensorboard: Exported) -> None:
    path = in_tensorboard.path("unet-baseline-ce")
    events, rows = events_of(in_tensorboard, path), history(path)
    scores = read_json(path / "scores.json")
    for column in ("train_loss", "val_miou", "lr"):
        expected = [(int(row["epoch"]), np.float32(row[column])) for row in rows if row[column]]
        assert [(event.step, event.value) for event in events.Scalars(f"epoch/{column}")] == expected
    for name in ("miou", "log_loss", "ece"):
        (event,) = events.Scalars(f"final/{name}")
        assert (event.step, event.value) == (2, np.float32(scores[name]))
    assert events.Scalars("final/iou_soil")[0].value == np.float32(scores["iou"]["soil"])
    first, second = (event.wall_time for event in events.Scalars("epoch/train_loss"))
    assert second - first == pytest.approx(float(rows[1]["seconds"]), abs=1e-3)


def test_tensorboard_has_hyperparameters_and_texts(in_tensorboard: Exported) -> None:
    path = in_tensorboard.path("unet-baseline-ce")
    events = events_of(in_tensorboard, path)
    contents = events.PluginTagToContent("hparams")
    start = hparams.parse_session_start_info_plugin_data(contents[hparams.SESSION_START_INFO_TAG])
    assert start.hparams["architecture"].string_value == "unet-baseline"
    assert start.hparams["optimiser.lr"].number_value == 0.02
    assert start.hparams["seed"].number_value == 0
    assert start.hparams["selected"].string_value == "False"
    experiment = hparams.parse_experiment_plugin_data(contents[hparams.EXPERIMENT_TAG])
    assert "final/miou" in {metric.name.tag for metric in experiment.metric_infos}
    end = hparams.parse_session_end_info_plugin_data(contents[hparams.SESSION_END_INFO_TAG])
    assert end.status == STATUS_SUCCESS
    names = ("tags", "config.json", "scores.json", "environment.json")
    assert set(events.PluginTagToContent("text")) == {f"{name}/text_summary" for name in names}
    (text,) = events.Tensors("config.json/text_summary")
    assert json.loads(text.tensor_proto.string_val[0].decode().strip("`")) == read_json(path / "config.json")


def test_tensorboard_has_the_ensemble_with_its_picture_and_verdict(in_tensorboard: Exported, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    runs = Path(shutil.copytree(in_tensorboard.runs, tmp_path / "runs"))
    (path,) = runs.glob("ensembles/*")
    Figure(figsize=(3, 2)).savefig(path / "examples.png", dpi=100)
    exported = Exported(runs, tracking.track(runs, "tensorboard", out=tmp_path / "events"))
    events = events_of(exported, path)
    (image,) = events.Images("examples")
    assert (image.width, image.height) == (300, 200)
    with Image.open(path / "examples.png") as original, Image.open(io.BytesIO(image.encoded_image_string)) as read:
        assert np.array_equal(np.asarray(read.convert("RGB")), np.asarray(original.convert("RGB")))
    (verdict,) = events.Tensors("verdict/text_summary")
    assert verdict.tensor_proto.string_val[0].decode() == read_json(path / "scores.json")["verdict"]["advice"]


def test_the_same_runs_give_the_same_events_and_no_other_file(
    in_tensorboard: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    tracking.track(in_tensorboard.runs, "tensorboard", out=tmp_path / "events")
    assert list((tmp_path / "scratch").iterdir()) == []
    place = in_tensorboard.export.place
    first, again = (
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (place, tmp_path / "events")
    )
    assert again == first


def test_tensorboard_gets_a_run_once_and_again_when_it_changes(in_tensorboard: Exported) -> None:
    path, place = in_tensorboard.path("unet-baseline-dice"), in_tensorboard.export.place

    def files() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in place.rglob("*") if file.is_file()}

    before = files()
    assert len(before) == 3
    assert set(tracking.track(in_tensorboard.runs, "tensorboard", out=place).outcomes.values()) == {"unchanged"}
    assert files() == before
    change_scores(path, miou=0.125)
    again = tracking.track(in_tensorboard.runs, "tensorboard", out=place)
    assert {name for name, outcome in again.outcomes.items() if outcome == "changed"} == {path.name}
    assert len(files()) == 3
    assert {file.parent.name for file in before if file not in files()} == {path.name}
    assert events_of(in_tensorboard, path).Scalars("final/miou")[0].value == 0.125


# ---------------------------------------------------------------- records


def records(runs: Path) -> list[record.Record]:
    return [record.read_record(row) for row in record.finished_rows(runs)[0]]


def test_every_fold_has_its_series(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    member = make_member(tmp_path, finished="2026-11-01T00:00:10+00:00")
    rewrite(member.path, history=b"fold,epoch,seconds,val_miou\n0,1,2,\n0,2,1,0.5\n1,1,4,0.25\n")
    (exported,) = records(tmp_path)
    started = exported.finished - 3.0  # seconds of its status
    assert exported.series == {
        "fold-0/seconds": (record.Point(1, started + 2, 2), record.Point(2, started + 3, 1)),
        "fold-0/val_miou": (record.Point(2, started + 3, 0.5),),
        "fold-1/seconds": (record.Point(1, started + 7, 4),),
        "fold-1/val_miou": (record.Point(1, started + 7, 0.25),),
    }


def test_members_without_epochs_have_no_series(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    member = make_member(tmp_path)
    rewrite(member.path, history=b"fold,epoch,train_loss\n")  # as imported members have it
    (exported,) = records(tmp_path)
    assert exported.series == {}
    assert exported.metrics["miou"] == member.scores["miou"]


def test_missing_values_are_left_out(
    tmp_path: Path, make_member: Callable[..., Member], make_world: Callable[..., Any]
) -> None:
    world = make_world()
    make_member(tmp_path, world=replace(world, masks_nhw=np.minimum(world.masks_nhw, 3)), quality=[9, 9, 9, -99])
    (exported,) = records(tmp_path)
    assert "iou_sand" in exported.metrics
    assert "iou_big_rock" not in exported.metrics  # neither in the truth nor predicted
    assert all(np.isfinite(value) for value in exported.metrics.values())
    assert {"encoder", "folds", "exclude"}.isdisjoint(exported.parameters)


def test_settings_get_dotted_names_and_long_ones_are_cut() -> None:
    settings = {
        "loss": {"name": "tversky", "options": {"alpha": 0.3, "per_image": True}},
        "data": {"folds": None},
        "input_size": [64, 128],
        "exclude": [],
        "members": [f"{number:03d}" for number in range(200)],
        "method": "average",
    }
    flat = dict(record._flat(settings))  # pyright: ignore[reportPrivateUsage]
    members = str(flat.pop("members"))
    assert flat == {
        "loss": "tversky",
        "loss.options.alpha": 0.3,
        "loss.options.per_image": True,
        "input_size": "64, 128",
        "method": "average",
    }
    assert members.startswith("000, 001, 002")
    assert members.endswith("... (the rest is in config.json)")
    assert len(members) < 600


@pytest.mark.parametrize("field", ["parameters", "metrics", "tags"])
def test_a_record_is_the_same_until_it_changes(tmp_path: Path, make_member: Callable[..., Member], field: str) -> None:
    make_member(tmp_path)
    (exported,) = records(tmp_path)
    (again,) = records(tmp_path)
    assert exported.digest == again.digest
    assert replace(exported, **{field: {**getattr(exported, field), "new": 1}}).digest != exported.digest


def test_the_oldest_comes_first(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    for name, day in (("unet", 3), ("pspnet", 1), ("linknet", 2)):
        make_member(tmp_path, name, finished=f"2026-11-0{day}T00:00:00+00:00")
    assert [exported.name.split("-")[0] for exported in records(tmp_path)] == ["pspnet", "linknet", "unet"]


def test_damaged_runs_are_left_out_and_named(tmp_path: Path, make_member: Callable[..., Member]) -> None:
    unet, pspnet, fpn, linknet = (make_member(tmp_path, name) for name in ("unet", "pspnet", "fpn", "linknet"))
    (unet.path / "scores.json").write_text("{}")
    (pspnet.path / "history.csv").write_text("fold\n")
    write_json(fpn.path / "status.json", sealed(read_json(fpn.path / "status.json") | {"finished": "yesterday"}))
    done = tracking.track(tmp_path, "tensorboard")
    assert dict(done.outcomes) == {linknet.name: "new"}
    first, second, third = done.problems
    assert f"{unet.name}/scores.json differs from what was written" in first.replace(os.sep, "/")
    assert f"{pspnet.name}/history.csv differs from what was written" in second.replace(os.sep, "/")
    assert f"{fpn.name}/status.json is damaged (it has no valid time of completion)" in third.replace(os.sep, "/")


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown tracker 'mlfow'; did you mean 'mlflow'\? Known: mlflow, tensorb"):
        tracking.track(tmp_path, "mlfow")
    with pytest.raises(EnsError, match=r"expected a finished member or ensemble in .*, found none; train one with"):
        tracking.track(tmp_path, "tensorboard")
    with pytest.raises(EnsError, match="there is no folder"):
        tracking.track(tmp_path / "nowhere", "tensorboard")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["mlflow", "tensorboard"])
def test_a_missing_package_is_named_with_the_command(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith((package, "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, tracking.TRACKERS[package], raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnsError, match=rf"needs the package {package}, .*; run `pip install {package}`"):
        tracking.track(to=package)


def test_packages_that_do_not_fit_each_other_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def client(**_: str) -> None:
        raise ImportError("cannot import name 'Queue' from 'sqlalchemy.pool'")  # as MLflow 3.6 with SQLAlchemy 2.1

    monkeypatch.setattr(mlflow_store, "MlflowClient", client)
    with pytest.raises(EnsError, match=r"the installed mlflow does not fit .*'Queue'.*; run `pip install -U mlflow`"):
        mlflow_store.open_store(tmp_path)


def test_names_of_mlflow_hold_what_it_allows() -> None:
    assert mlflow_store._key("iou_fläche") == "iou_fläche"  # pyright: ignore[reportPrivateUsage]
    assert mlflow_store._key("augmentation.a*b?c:1") == "augmentation.a_b_c_1"  # pyright: ignore[reportPrivateUsage]


def test_commands_to_look_at_runs_are_quoted(tmp_path: Path) -> None:
    assert event_files.view(Path("my runs")) == "tensorboard --logdir 'my runs'"
    address = f"sqlite:///{(tmp_path / 'my runs' / 'mlflow.db').as_posix()}"
    assert mlflow_store.view(tmp_path / "my runs") == f"mlflow ui --backend-store-uri '{address}'"


def test_the_reason_is_that_of_the_data_base_and_no_hint_to_programmers(tmp_path: Path) -> None:
    text = "(raised as a result of Query-invoked autoflush; consider ...)\n(sqlite3.OperationalError) disk is full"
    expected = r"in .* \(\(sqlite3.OperationalError\) disk is full\); choose another"
    explained = mlflow_store._explained(tmp_path)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(EnsError, match=expected), explained:
        raise MlflowException(text)
