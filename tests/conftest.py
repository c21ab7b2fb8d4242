"""Shared fixtures: seeds, and the folder of real data where it exists."""

from __future__ import annotations

import gc
import os
import shutil

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes that share the cores are faster with a thread each
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # monai imports mlflow wherever it is installed

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import typer.main
import typer.testing

from ensemble.cli import app
from ensemble.config import Background, Component, DataFacts, DataSettings, MemberSettings
from ensemble.core.files import write_bytes
from ensemble.evaluation.tally import Tally
from ensemble.runs.evaluation_dir import EvaluationSettings, write_evaluation
from ensemble.runs.layout import HISTORY, members_folder, store_folder
from ensemble.runs.member import Member
from ensemble.runs.status import finish_run, write_config
from ensemble.runs.store import StoreWriter
from ensemble.runs.tables import read_tables

# ---------------------------------------------------------------- simulated members


@dataclass(frozen=True)
class World:
    """Images that simulated members are scored on; masks hold 0 for background and 1.. for the classes."""

    masks_nhw: np.ndarray[Any, np.dtype[np.uint8]]
    ids: Sequence[str]
    groups: Sequence[str]
    classes: tuple[str, ...] = ("soil", "bedrock", "sand", "big rock")
    source: str = "gone.npz"
    data_hash: str = "0" * 32
    split_hash: str = "1" * 32


def simulated_world(
    images: int = 20, size: tuple[int, int] = (6, 8), group_size: int = 2, seed: int = 0, **more: Any
) -> World:
    """Masks of 2x2 blocks: a tenth background, the last class rare, the others about equal."""
    classes = more.get("classes", World.classes)
    shares = np.array([0.1, *([0.84 / (len(classes) - 1)] * (len(classes) - 1)), 0.06])
    blocks = np.random.default_rng(seed).choice(len(shares), (images, -(-size[0] // 2), -(-size[1] // 2)), p=shares)
    masks = blocks.astype(np.uint8).repeat(2, 1).repeat(2, 2)[:, : size[0], : size[1]]
    ids = [f"image-{row:03d}" for row in range(images)]
    return World(masks, ids, [f"group-{row // group_size:03d}" for row in range(images)], **more)


def simulated_logits(world: World, quality: float | Sequence[float], noise: np.random.Generator) -> Any:
    """Noise of deviation 1 plus ``quality`` (a number, or one per class) on the true one; channel 0 is background."""
    outputs = 1 + len(world.classes)
    bonus = np.concatenate([[2.0], np.broadcast_to(np.asarray(quality, np.float64), outputs - 1)])
    truth_nchw = (world.masks_nhw[:, None] == np.arange(outputs)[None, :, None, None]).astype(np.float64)
    return truth_nchw * bonus[:, None, None] + noise.normal(size=truth_nchw.shape)


def _softmax(logits_nchw: Any) -> Any:
    exp = np.exp(logits_nchw - logits_nchw.max(1, keepdims=True))
    return (exp / exp.sum(1, keepdims=True)).astype(np.float32)


def simulate_member(
    runs: Path,
    name: str = "unet",
    *,
    quality: float | Sequence[float] = 2.0,
    seed: int = 0,
    background: Background = "void",
    world: World | None = None,
    probs: Any = None,
    finished: str = "2026-11-01T00:00:00+00:00",
    resamples: int = 200,
) -> Member:
    """Write a finished member ``<name>-ce-s<seed>-<hash6>`` as training does, from simulated probabilities.

    ``quality`` is what the logit of the true class gains over noise of deviation 1; ``probs`` are given instead of it.
    """
    world = world or simulated_world()
    real = background == "class"
    logits = simulated_logits(world, quality, np.random.default_rng([seed, crc32(name.encode())]))
    outputs = _softmax(np.concatenate([logits[:, 1:], logits[:, :1]], 1) if background == "zero-weight" else logits)
    raw = outputs.argmax(1) if background == "zero-weight" else None
    if probs is None:
        probs = outputs if real else _softmax(logits[:, 1:])
    classes = ("background", *world.classes) if real else world.classes
    labels = world.masks_nhw if real else world.masks_nhw - np.uint8(1)  # 0 - 1 = 255 is void
    height, width = labels.shape[1:]
    facts = DataFacts(
        name=Path(world.source).name,
        data_hash=world.data_hash,
        split_hash=world.split_hash,
        background=background,
        classes=classes,
        values=tuple(range(0 if real else 1, len(world.classes) + 1)),
        keras_ignored=0 if real else None,
        bands=1,
        height=height,
        width=width,
    )
    settings = MemberSettings(
        data=DataSettings(source=world.source, background=background),
        architecture=Component(name=name),
        loss=Component(name="ce"),
        epochs=3,
        seed=seed,
    )
    path = members_folder(runs) / settings.directory_name(facts.data_hash + facts.split_hash)
    meta = {"split": "validation", "split_hash": world.split_hash, "data_hash": world.data_hash}
    store = store_folder(path, "validation")
    with StoreWriter(store, classes=classes, meta=meta, ids=world.ids) as writer:
        writer.append(world.ids, probs, labels, groups=world.groups)
    tally = Tally(len(classes))
    tally.add(probs, labels, raw_predictions_nhw=raw)
    scores = tally.scores(world.groups, classes, facts.keras_ignored, resamples=resamples)
    content = {"settings": settings.model_dump(mode="json"), "data": facts.model_dump(mode="json")}
    write_config(path, "member", content)
    write_bytes(path / HISTORY, b"fold,epoch,seconds,train_loss\n0,1,2.5,1.0\n")
    scores |= {"selected": False, "protocol": "hold-out"}
    costs = {"parameters": 1000, "training_seconds": 2.5, "seconds": 3.0}
    finish_run(path, "member", scores, tally.arrays(), finished=finished, **dict[str, Any](costs))
    return Member.open(path)


SIZES = ((20, 30), (30, 20), (33, 17), (8, 50), (41, 40), (64, 35), (9, 9), (35, 64), (16, 48))  # nine sizes


@dataclass(frozen=True)
class ManySizes:
    """Members, without training, of a folder of images of nine sizes.

    Attributes:
        runs: folder of the members.
        source: folder of the images.
        members: the members.
    """

    runs: Path
    source: Path
    members: Sequence[Member]


def members_of_many_sizes(folder: Path, count: int = 3, images: int = 18) -> ManySizes:
    """Write images of nine sizes with masks, and predictions of them, and import these as members."""
    from PIL import Image

    from ensemble.importing.import_member import import_member

    noise, source = np.random.default_rng(5), folder / "data"
    for name in ("images", "masks", *(f"net{m}" for m in range(count))):
        (source / name if name in ("images", "masks") else folder / name).mkdir(parents=True)
    for row in range(images):
        height, width = SIZES[row % len(SIZES)]
        blocks = noise.integers(0, 3, (-(-height // 4), -(-width // 4)), dtype=np.uint8)
        mask = blocks.repeat(4, 0).repeat(4, 1)[:height, :width]
        Image.fromarray(mask).save(source / "masks" / f"p{row:02d}.png")
        grey = (mask * 80 + noise.integers(0, 30, mask.shape)).astype(np.uint8)
        Image.fromarray(grey).save(source / "images" / f"p{row:02d}.png")
        for m in range(count):
            logits = (mask == np.arange(3)[:, None, None]) * (1.0 + m) + noise.normal(size=(3, height, width))
            np.save(folder / f"net{m}" / f"p{row:02d}.npy", _softmax(logits[None])[0])
    data, runs = DataSettings(source=str(source), background="class", folds=3), folder / "runs"
    made = [
        import_member(folder / f"net{m}", name=f"net{m}", data=data, runs=runs, arch=f"net{m}", loss="ce").member
        for m in range(count)
    ]
    return ManySizes(runs, source, made)


@pytest.fixture(scope="session")
def made_of_many_sizes(tmp_path_factory: pytest.TempPathFactory) -> ManySizes:
    """Three members of images of nine sizes, for tests that only read: see ``members_of_many_sizes``."""
    return members_of_many_sizes(tmp_path_factory.mktemp("many-sizes"))


@pytest.fixture
def many_sizes(made_of_many_sizes: ManySizes, tmp_path: Path) -> ManySizes:
    """Three members of images of nine sizes in runs that a test may change; the images are those of all tests."""
    made = made_of_many_sizes
    members = Path(shutil.copytree(made.runs, tmp_path / "many-sizes")) / "members"
    return ManySizes(members.parent, made.source, [Member.open(members / member.name) for member in made.members])


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    """Factory of the images, masks and groups that simulated members share: see ``simulated_world``."""
    return simulated_world


@pytest.fixture(scope="session")
def make_member() -> Callable[..., Member]:
    """Factory of finished member directories without training: see ``simulate_member``."""
    return simulate_member


def simulate_evaluation(runs: Path, member: Member) -> Path:
    """Write the evaluation of a member on a test part, with the tables and scores of its validation images."""
    facts = member.facts
    settings = EvaluationSettings(
        model=member.name, model_digest="0", part="test", data="x", data_hash="1", images_hash="2", background="class",
        classes=facts.classes, values=facts.values,
    )  # fmt: skip
    found = read_tables(member.path)
    scores = member.scores | {"protocol": "test"}
    return write_evaluation(runs, settings, scores, found.tables, found.ids, found.groups)


@pytest.fixture(scope="session")
def make_evaluation() -> Callable[[Path, Member], Path]:
    """Factory of evaluations without predicting: see ``simulate_evaluation``."""
    return simulate_evaluation


# ---------------------------------------------------------------- really trained members

# A member that trains in half a second.
TINY: dict[str, Any] = {
    "arch": "unet-baseline(filters=2, depth=1)",
    "loss": "ce",
    "epochs": 2,
    "batch_size": 4,
    "lr": 2e-2,
    "device": "cpu",
    "precision": "fp32",
}


@pytest.fixture(scope="session")
def tiny_arrays() -> dict[str, Any]:
    """24 images of 32x32 in 12 groups with void and three classes told apart by texture, and 5 test images."""
    generator = np.random.default_rng(7)
    rows, columns = np.mgrid[:32, :32]
    textures = np.stack([np.zeros((32, 32)), np.full((32, 32), 60), np.full((32, 32), 190), (rows + columns) % 2 * 250])
    masks = np.zeros((29, 32, 32), np.uint8)
    for mask in masks:
        corner, split = generator.integers(6, 26, 2)
        mask[:corner], mask[corner:, :split], mask[corner:, split:] = generator.permutation([1, 2, 3])
        mask[:, : generator.integers(2, 8)] = 0
    images = np.take_along_axis(textures[None], masks[:, None].astype(np.int64), axis=1)[:, 0]
    images = np.clip(images + generator.normal(0, 12, images.shape), 0, 255).astype(np.uint8)
    return {
        "training_set": np.stack([images[:24], masks[:24]], axis=1),
        "test_set": images[24:],
        "training_groups": np.arange(24) // 2,
        "classes": np.array(["background", "soil", "rock", "ripples"]),
    }


@pytest.fixture(scope="session")
def tiny_npz(tiny_arrays: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data as an npz file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    np.savez_compressed(path, **tiny_arrays)
    return path


@pytest.fixture(scope="session")
def train_tiny(tiny_npz: Path) -> Callable[..., Member]:
    """``train_tiny(out, **changes)`` trains a member of two filters on the tiny data."""
    from ensemble.training.train import train

    def run(out: Path, **changes: Any) -> Member:
        settings: dict[str, Any] = {"data": tiny_npz, "out": out} | TINY | changes
        return train(**settings)

    return run


@pytest.fixture(scope="session")
def tiny_runs(train_tiny: Callable[..., Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with two finished members, for tests that only read; copy it before changing anything."""
    runs = tmp_path_factory.mktemp("tiny-runs") / "runs"
    train_tiny(runs)
    train_tiny(runs, loss="dice", seed=1, precision="bf16")
    return runs


# ---------------------------------------------------------------- no test waits for the disk


def not_synced(handle: int) -> None:
    """Check that ``os.fsync`` gets an open file, and do not wait for the disk: no test loses power."""
    os.fstat(handle)


@pytest.fixture(scope="session", autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    """Write files without waiting; processes that tests start and kill do wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", not_synced)
        yield


# ---------------------------------------------------------------- thousands of tests are collected in each process


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported and tests collected, nor later among these, which all stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def commands_of_ens() -> Iterator[None]:
    """Build the commands of ``ens`` once, and not for each of the hundreds of calls of a test; that takes 40 ms."""
    command = typer.main.get_command(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", lambda of: command if of is app else typer.main.get_command(of))
        yield


# ---------------------------------------------------------------- the user's own cache stays untouched


@pytest.fixture(scope="session", autouse=True)
def cache_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder for this run in place of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)
        yield folder
