"""A member over several processes: their shares, what is refused, and real runs of three that are killed and resumed.

The real runs are made by this file as a script: it loads the libraries once, and its forks are the processes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from ensemble.config import Component, DataSettings, MemberSettings
from ensemble.core.errors import EnsError

COUNT = 3
MEMBER: dict[str, Any] = {
    "arch": "unet-baseline(filters=2, depth=2, dropout=0.3, deep_supervision=true)",
    "loss": "ce",
    "augment": "flips + cutmix",
    "sampler": "rare(per_batch=3)",
    "epochs": 3,
    "batch_size": 6,
    "lr": 2e-2,
    "keep": "best",
    "device": "cpu",
    "precision": "fp32",
}
SECONDS = 500  # a process that hangs is ended


# ---------------------------------------------------------------- as a script


def launch(spec: dict[str, Any]) -> list[int]:
    """Fork the processes of a launch and wait for them; their exit codes (a signal is negative)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children: list[int] = []
    for rank in range(COUNT):
        if (child := os.fork()) == 0:
            be_process(spec, rank, port)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def be_process(spec: dict[str, Any], rank: int, port: int) -> NoReturn:
    """Train as one of the processes, with its words in ``<rank>.txt`` and what it ends with in ``<rank>.pt``."""
    import torch

    from ensemble.training import loop, progress_state, trainer
    from ensemble.training.train import train

    signal.alarm(SECONDS)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": COUNT, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"})
    told = Path(spec["told"])
    for stream in (1, 2):
        os.dup2(os.open(told / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    progress_state.MOST_SECONDS = 0.0  # a checkpoint after every step
    kept: dict[str, Any] = {"ticks": []}
    start, update, steps = loop.start_training, trainer.Averaging.update, 0

    def noted_start(job: Any) -> Any:
        kept["trainer"] = start(job)
        return kept["trainer"]

    def noted_update(self: Any, decay: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 1 and "trainer" in kept:  # steps that are measured for a budget come before the training
            network = kept["trainer"].network
            kept["gradients"] = {name: p.grad.clone() for name, p in network.named_parameters()}
        if spec.get("kill") == [rank, steps]:
            os.kill(os.getpid(), signal.SIGKILL)
        update(self, decay)

    loop.start_training, trainer.Averaging.update = noted_start, noted_update
    code = 1
    try:
        train(**spec["arguments"][rank], progress=lambda task, done, *_: kept["ticks"].append([task, done]))
        code = 0
    except EnsError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 2
    except BaseException:
        traceback.print_exc()
    finally:
        if trainer := kept.pop("trainer", None):
            kept |= {name: getattr(trainer, name).state_dict() for name in ("network", "average", "optimiser")}
        torch.save(kept, told / f"{rank}.pt")
        os._exit(code)


def main() -> None:
    """Launch what the standard input lists, one after another, and print the exit codes."""
    import accelerate.utils  # noqa: F401  # pyright: ignore[reportUnusedImport]  (loaded before the forks)

    import ensemble.data.augmentation.expression  # pyright: ignore[reportUnusedImport]
    import ensemble.training.train  # noqa: F401  # pyright: ignore[reportUnusedImport]

    print(json.dumps([launch(spec) for spec in json.load(sys.stdin)]))


# ---------------------------------------------------------------- shares


@pytest.fixture
def launched_as(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set the environment of a launcher: ``launched_as(rank, count, **changes)``, None for what is not set."""

    def environment(rank: int, count: int, **changes: str | None) -> None:
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        for name, value in (place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"} | changes).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return environment


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("sampler", ["uniform", "rare(per_batch=3)"])
def test_the_shares_of_a_batch_make_up_the_batch(tiny_npz: Path, count: int, sampler: str) -> None:
    import torch

    from ensemble.data import open_dataset
    from ensemble.data.windows import TrainingImages
    from ensemble.training.batches import epoch_batches
    from ensemble.training.distributed.processes import Processes

    dataset, rows = open_dataset(DataSettings(source=str(tiny_npz))), np.arange(1, 24)
    whole = list(epoch_batches(TrainingImages(dataset, rows), 8, "none", 5, "cpu", sampler))
    shares = [
        list(
            epoch_batches(TrainingImages(dataset, rows), 8, "none", 5, "cpu", sampler, processes=Processes(rank, count))
        )
        for rank in range(count)
    ]
    assert len(whole) == 2
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(images) for images, _ in parts} == {8 // count}
        for expected, pieces in zip(batch, zip(*parts, strict=True), strict=True):
            torch.testing.assert_close(torch.cat(pieces), expected, rtol=0, atol=0)


def test_a_share_is_augmented_by_a_seed_of_its_own(tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ensemble.data import open_dataset
    from ensemble.data.augmentation import expression
    from ensemble.data.windows import TrainingImages
    from ensemble.training.batches import epoch_batches
    from ensemble.training.distributed.processes import ONE_PROCESS, Processes

    drawn: list[float] = []

    def augment(images: Any, labels: Any, generator: np.random.Generator) -> Any:
        drawn.append(generator.random())
        return images, labels

    def draws(processes: Processes, first: int = 0) -> list[float]:
        drawn.clear()
        for _ in epoch_batches(
            TrainingImages(dataset, np.arange(24)), 8, "any", 5, "cpu", first=first, processes=processes
        ):
            pass
        return drawn.copy()

    monkeypatch.setattr(expression, "build_augmentation", lambda *_: augment)  # pyright: ignore[reportUnknownLambdaType]
    dataset = open_dataset(DataSettings(source=str(tiny_npz)))
    each = [draws(processes) for processes in (ONE_PROCESS, Processes(0, 2), Processes(1, 2), Processes(0, 4))]
    assert [len(one) for one in each] == [3] * 4
    assert len({number for one in each[:3] for number in one}) == 9
    assert draws(Processes(1, 2)) == each[2]
    assert draws(Processes(1, 2), first=2) == each[2][2:]


# ---------------------------------------------------------------- what the environment says, and what is refused


def test_without_a_launcher_there_is_one_process(launched_as: Callable[..., None]) -> None:
    from ensemble.training.distributed.launcher import connect_processes, is_main_process, launched_processes
    from ensemble.training.distributed.processes import ONE_PROCESS

    for place in ({"WORLD_SIZE": None}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1"}):
        launched_as(0, 1, **place)
        assert launched_processes() is ONE_PROCESS
        assert is_main_process()
    settings = MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"))
    assert connect_processes(settings) is ONE_PROCESS
    assert ONE_PROCESS.run_on_main(lambda: 7) == 7
    assert ONE_PROCESS.gather("own") == ["own"]
    assert ONE_PROCESS.device("cuda") == "cuda"


def test_a_launcher_numbers_the_processes(launched_as: Callable[..., None]) -> None:
    from ensemble.training.distributed.launcher import is_main_process, launched_processes
    from ensemble.training.distributed.processes import Processes

    launched_as(2, 4)
    assert launched_processes() == Processes(2, 4)
    assert (launched_processes().is_main, is_main_process()) == (False, False)
    launched_as(0, 4)
    assert (launched_processes().is_main, is_main_process()) == (True, True)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"RANK": None, "MASTER_PORT": None}, r"WORLD_SIZE=2 .* which also needs RANK, MASTER_PORT; start the command"),
        ({"WORLD_SIZE": "two"}, "expected a number in the environment variable WORLD_SIZE, got 'two'; correct it"),
        ({"RANK": "-1"}, "expected a number in the environment variable RANK, got '-1'"),
    ],
)
def test_a_half_set_environment_is_refused(
    launched_as: Callable[..., None], changes: dict[str, str | None], text: str
) -> None:
    from ensemble.training.distributed.launcher import launched_processes

    launched_as(0, 2, **changes)
    with pytest.raises(EnsError, match=text):
        launched_processes()


def test_a_missing_accelerate_is_reported(launched_as: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    from ensemble.training.distributed.launcher import launched_processes

    monkeypatch.setitem(sys.modules, "accelerate", None)
    launched_as(0, 2)
    with pytest.raises(EnsError, match=r"which is not installed; run `pip install 'ens-toolkit\[multi-gpu\]'`"):
        launched_processes()


def test_commands_that_start_processes_refuse_a_launcher(launched_as: Callable[..., None]) -> None:
    from ensemble.training.distributed.launcher import refuse_launcher

    refuse_launcher("ens study")
    launched_as(1, 2)
    with pytest.raises(EnsError, match=r"ens study starts processes itself, but a launcher started it 2 times; run it"):
        refuse_launcher("ens study")


@pytest.mark.parametrize(
    ("batch", "rows", "count", "advice"),
    [
        (32, 100, 3, "choose batch_size 30"),
        (4, 100, 4, "choose batch_size 8"),
        (3, 100, 2, "choose batch_size 4"),
        (32, 19, 2, "choose batch_size 18"),
        (32, 5, 3, "start fewer processes"),
    ],
)
def test_batches_that_do_not_split_are_refused_with_one_that_does(
    batch: int, rows: int, count: int, advice: str
) -> None:
    from ensemble.training.distributed.launcher import check_shares

    text = rf"equal shares of at least 2 images for {count} processes, got {min(batch, rows)} images; {advice}$"
    with pytest.raises(EnsError, match=text):
        check_shares(batch, rows, count)
    if "choose" in advice:
        check_shares(int(advice.rsplit(maxsplit=1)[-1]), rows, count)


# ---------------------------------------------------------------- plans and names


def arguments(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return {"data": str(data), "out": str(out)} | MEMBER | changes


def test_the_number_of_processes_makes_another_member(
    launched_as: Callable[..., None], tiny_npz: Path, tmp_path: Path
) -> None:
    from ensemble.training.train import plan_training

    alone = plan_training(arguments(tiny_npz, tmp_path))
    launched_as(1, 3)
    three = plan_training(arguments(tiny_npz, tmp_path))
    assert (alone.settings.processes, three.settings.processes) == (1, 3)
    assert alone.path != three.path
    assert three.settings.model_copy(update={"processes": 1}) == alone.settings
    with pytest.raises(EnsError, match=r"got 7 images; choose batch_size 6"):
        plan_training(arguments(tiny_npz, tmp_path, batch_size=7))
    with pytest.raises(EnsError, match=r"for 3 processes, got 8 images; choose batch_size 6"):
        plan_training(arguments(tiny_npz, tmp_path, folds=3, batch_size=8))


def test_members_of_one_process_keep_their_names() -> None:
    settings = MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"), epochs=3)
    assert settings.directory_name("data") == "unet-ce-s0-b101e7"  # before there was a number of processes
    assert MemberSettings(**settings.model_dump(exclude={"processes"})) == settings


def test_devices_that_cannot_be_shared_out_are_refused(
    launched_as: Callable[..., None], tiny_npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.inference.hardware import Hardware
    from ensemble.training import plan as planning
    from ensemble.training.train import plan_training

    monkeypatch.setattr(planning, "choose_hardware", lambda *_: Hardware("mps", "fp32", 1, ""))  # pyright: ignore[reportUnknownLambdaType]
    launched_as(0, 2)
    with pytest.raises(EnsError, match="several processes train one member on cpu or cuda, not on mps"):
        plan_training(arguments(tiny_npz, tmp_path))


@pytest.mark.parametrize(
    ("of", "here", "text"),
    [
        (
            2,
            1,
            "with 2 processes, not 1; start the command with `accelerate launch --multi_gpu --num_processes 2`",
        ),
        (1, 2, "with 1 process, not 2; run the command without a launcher"),
        (
            3,
            2,
            "with 3 processes, not 2; start the command with `accelerate launch --multi_gpu --num_processes 3`",
        ),
    ],
)
def test_a_member_needs_the_number_of_processes_it_was_started_with(
    launched_as: Callable[..., None], tiny_npz: Path, tmp_path: Path, of: int, here: int, text: str
) -> None:
    from ensemble.training.train import plan_training, train_member

    made = plan_training(arguments(tiny_npz, tmp_path))
    launched_as(0, here)
    with pytest.raises(EnsError, match=text):
        train_member(replace(made, settings=made.settings.model_copy(update={"processes": of})))
    assert list(tmp_path.iterdir()) == []


def test_one_process_needs_no_accelerate(
    train_tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ensemble.training import progress_state as position

    saved: list[dict[str, Any]] = []
    save = position.save_checkpoint

    def noted(path: Path, state: dict[str, Any]) -> None:
        saved.append(state)
        save(path, state)

    monkeypatch.setitem(sys.modules, "accelerate", None)  # to import it is an error
    monkeypatch.setattr(position, "save_checkpoint", noted)
    member = train_tiny(tmp_path / "runs", epochs=1)
    assert member.settings.processes == 1
    assert ["others" in state for state in saved] == [False]


# ---------------------------------------------------------------- real runs


@dataclass(frozen=True)
class Launch:
    """A launch that ended: exit codes, what each process said, what it ended with, and the folder of runs."""

    codes: list[int]
    said: list[str]
    states: list[dict[str, Any]]
    runs: Path

    @property
    def member(self) -> Path:
        """The directory of its member."""
        (path,) = (self.runs / "members").iterdir()
        return path


def run(folder: Path, data: Path, launches: Mapping[str, Mapping[str, Any]]) -> dict[str, Launch]:
    """Run launches one after another: ``changes`` of the arguments (one per process where it is a list), the ``runs``
    they go to, and ``kill``, the process and its step at which it is killed.
    """
    import torch

    specs: list[dict[str, Any]] = []
    for name, given in launches.items():
        told = folder / name
        told.mkdir()
        changes = given.get("changes", {})
        each = changes if isinstance(changes, Sequence) else [changes] * COUNT
        out = folder / given.get("runs", f"runs-{name}")
        specs.append({"told": str(told), "arguments": [arguments(data, out, **one) for one in each], **given})
    quiet = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(specs),
        env=os.environ | quiet,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Launch] = {}
    for spec, codes in zip(specs, json.loads(done.stdout.splitlines()[-1]), strict=True):
        told = Path(spec["told"])
        states = [torch.load(f) if (f := told / f"{rank}.pt").is_file() else {} for rank in range(COUNT)]
        said = [(told / f"{rank}.txt").read_text().strip() for rank in range(COUNT)]
        found[told.name] = Launch(codes, said, states, Path(spec["arguments"][0]["out"]))
    return found


@pytest.fixture(scope="module")
def launches(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Launch]]:
    folder = tmp_path_factory.mktemp("launches")
    yield run(
        folder,
        tiny_npz,
        {
            "whole": {},
            "killed": {"runs": "again", "kill": [0, 5]},  # of 9 steps, 3 in an epoch
            "killed again": {"runs": "again", "kill": [2, 3]},  # step 7: the first of the last epoch
            "resumed": {"runs": "again"},
            "once more": {"runs": "again"},
            "diverging": {"changes": {"lr": 1e30}},
            "budget": {"changes": {"epochs": None, "budget": 1e-9}},
            "apart": {"changes": [{"seed": rank // 2} for rank in range(COUNT)]},
        },
    )
    shutil.rmtree(folder)


FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")


@FORKS
@pytest.mark.slow
def test_all_processes_train_the_same_network(launches: dict[str, Launch]) -> None:
    import torch

    whole = launches["whole"]
    assert (whole.codes, whole.said) == ([0] * COUNT, [""] * COUNT)
    first, *others = whole.states
    for other in others:
        for part in ("network", "average", "gradients"):
            for name, tensor in first[part].items():
                if not name.endswith(("running_mean", "running_var")):  # those of the main process count
                    torch.testing.assert_close(other[part][name], tensor, rtol=0, atol=0, msg=f"{part} {name}")
        moments = other["optimiser"]["state"]
        for key, values in first["optimiser"]["state"].items():
            torch.testing.assert_close(moments[key], values, rtol=0, atol=0)
    assert first["ticks"][0] == ["training", 1]
    assert [other["ticks"] for other in others] == [[], []]  # only the main process reports progress


@FORKS
@pytest.mark.slow
def test_a_step_follows_the_mean_of_the_gradients_of_the_shares(
    launches: dict[str, Launch], tiny_npz: Path, tmp_path: Path
) -> None:
    import torch

    from ensemble.training.batches import derive_seed, epoch_batches
    from ensemble.training.determinism import seed_everything
    from ensemble.training.distributed.processes import Processes
    from ensemble.training.train import plan_training
    from ensemble.training.trainer import start_training, supervised_loss

    job = plan_training(arguments(tiny_npz, tmp_path)).job(0, MEMBER["epochs"])
    trainer, settings, seed = start_training(job), job.settings, derive_seed(0, 0, 0)
    network = trainer.network.train()
    for rank in range(COUNT):  # gradients add up
        given = (settings.batch_size, settings.augmentation, seed, "cpu", settings.sampler)
        images, labels = next(epoch_batches(job.training, *given, processes=Processes(rank, COUNT)))
        seed_everything(seed if rank == 0 else derive_seed(seed, rank))
        (supervised_loss(trainer.loss, network.supervised(images), labels) / COUNT).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), settings.optimiser.clip)
    found = launches["whole"].states[0]["gradients"]
    assert found.keys() == dict(network.named_parameters()).keys()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-7)
        assert float(found[name].abs().max()) > 0


@FORKS
@pytest.mark.slow
def test_a_launch_that_was_killed_twice_ends_as_the_uninterrupted_one(
    launches: dict[str, Launch], content_of: Callable[[Path], dict[str, object]]
) -> None:
    killed, again, resumed = (launches[name] for name in ("killed", "killed again", "resumed"))
    assert killed.codes == [-signal.SIGKILL, 2, 2]
    assert again.codes == [2, 2, -signal.SIGKILL]
    for rank, launch_ in [(1, killed), (2, killed), (0, again), (1, again)]:
        text = f"EnsError: process {rank + 1} of {COUNT} lost the connection to another process, which ended or"
        assert launch_.said[rank].startswith(text)
        assert len(launch_.said[rank].splitlines()) == 1
    assert (resumed.codes, resumed.said) == ([0] * COUNT, [""] * COUNT)
    assert [done for task, done in again.states[0]["ticks"] if task == "training"] == [5, 6]
    assert [done for task, done in resumed.states[0]["ticks"] if task == "training"] == [7, 8, 9]
    assert resumed.member.name == launches["whole"].member.name
    expected, found = content_of(launches["whole"].member), content_of(resumed.member)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    log = (resumed.member / "log.txt").read_text()
    assert f"failed: process 1 of {COUNT} lost the connection to another process" in log


@FORKS
@pytest.mark.slow
def test_a_finished_member_is_opened_by_all(launches: dict[str, Launch]) -> None:
    more = launches["once more"]
    assert (more.codes, more.said) == ([0] * COUNT, [""] * COUNT)
    assert all("network" not in state for state in more.states)


@FORKS
@pytest.mark.slow
def test_mistakes_end_all_processes_and_the_first_one_reports_the_cause(launches: dict[str, Launch]) -> None:
    texts = {
        "diverging": "the loss is no longer finite in epoch 1; lower lr (now 1e+30)",
        "apart": "the processes were given different members (",
    }
    for name, text in texts.items():
        ended = launches[name]
        assert ended.codes == [2] * COUNT
        assert ended.said[0].startswith(f"EnsError: {text}")
        follow = [
            f"PeerFailed: process {n} of {COUNT} stopped with the first one; see the error of that one" for n in (2, 3)
        ]
        assert ended.said[1:] == follow


@FORKS
@pytest.mark.slow
def test_epochs_of_a_budget_are_measured_together(launches: dict[str, Launch]) -> None:
    budget = launches["budget"]
    assert (budget.codes, budget.said) == ([0] * COUNT, [""] * COUNT)
    settings = json.loads((budget.member / "config.json").read_text())["settings"]
    assert (settings["epochs"], settings["processes"]) == (1, COUNT)


if __name__ == "__main__":
    main()
