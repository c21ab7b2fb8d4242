"""Imported members: every form gives the member that was exported; every mistake is reported and leaves nothing."""

from __future__ import annotations

import re
import shutil
import sys
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from ensemble import results, train
from ensemble.combining.alignment import align
from ensemble.combining.combine import combine
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.data import open_dataset, split_data, split_dataset
from ensemble.data.groups import image_groups
from ensemble.data.write_split import write_split
from ensemble.importing import import_member as import_module
from ensemble.importing.conversion import Conversion
from ensemble.importing.import_member import (
    _batches,  # pyright: ignore[reportPrivateUsage]
    import_member,
)
from ensemble.importing.import_plan import LinedUp
from ensemble.importing.readers import open_predictions
from ensemble.inference.load import load
from ensemble.inference.network import infer, load_networks
from ensemble.runs.layout import CHECKED
from ensemble.runs.member import Member

Probabilities = NDArray[np.float32]


class Export(NamedTuple):
    """Predictions of a trained member for its validation images, as another tool would export them."""

    member: Member
    ids: list[str]
    probs: Probabilities


@pytest.fixture(scope="module")
def exports(tiny_runs: Path, tiny_npz: Path) -> list[Export]:
    dataset, found = open_dataset(DataSettings(source=str(tiny_npz))), list[Export]()
    for path in sorted((tiny_runs / "members").iterdir()):
        member = Member.open(path)
        ids = list(member.store().ids)
        (network,) = load_networks(member)
        probs = infer(network, dataset.images([int(name) for name in ids]), member.settings, "cpu").numpy()
        found.append(Export(member, ids, probs))
    return found


@pytest.fixture
def exported(exports: list[Export]) -> Export:
    return exports[0]


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.fixture
def bring(runs: Path, tiny_npz: Path) -> Callable[..., Member]:
    """``bring(path, **changes)`` imports predictions of the tiny data."""

    def run(path: Path, **changes: Any) -> Member:
        settings: dict[str, Any] = {"name": "other", "data": tiny_npz, "runs": runs} | changes
        return import_member(path, **settings).member

    return run


def write_ids(path: Path, lines: Sequence[Any], head: str = "id") -> Path:
    path.write_text("\n".join([head, *map(str, lines)]) + "\n")
    return path


def write_folder(folder: Path, ids: Sequence[str], maps: Any, suffix: str) -> Path:
    folder.mkdir()
    for name, array in zip(ids, maps, strict=True):
        if suffix == "npz":
            np.savez_compressed(folder / f"{name}.npz", probabilities=array)
        elif suffix == "npy":
            np.save(folder / f"{name}.npy", array)
        elif suffix == "tif":  # as `ens predict --probabilities` writes them, next to class maps
            bands = np.rint(array * 65535).astype(np.uint16)
            tifffile.imwrite(folder / f"{name}.probabilities.tif", bands, photometric="minisblack")
            Image.fromarray(np.zeros(array.shape[1:], np.uint8)).save(folder / f"{name}.png")
        else:
            Image.fromarray(array).save(folder / f"{name}.png")
    return folder


def with_background(probs: Probabilities, share: float) -> Probabilities:
    return np.concatenate([np.full_like(probs[:, :1], share), probs * (1 - share)], axis=1).astype(np.float32)


# ---------------------------------------------------------------- the same member again


@pytest.mark.parametrize("which", [0, 1])
def test_what_a_member_exports_comes_back_bit_for_bit(
    exports: list[Export], which: int, bring: Callable[..., Member], tmp_path: Path
) -> None:
    native, ids, probs = exports[which]
    np.savez(tmp_path / "p.npz", probabilities=probs, ids=np.array(ids))
    member = bring(tmp_path / "p.npz", arch="nnU-Net 2d", loss="dice + ce")
    assert re.fullmatch(r"other-[0-9a-f]{6}", member.name)
    assert member.scores == native.scores | {"selected": None}
    np.testing.assert_array_equal(member.confusions(), native.confusions())
    mine, theirs = member.store(), native.store()
    assert [chunk.digest for chunk in mine.chunks] == [chunk.digest for chunk in theirs.chunks]
    assert (mine.ids, mine.groups, mine.meta) == (theirs.ids, theirs.groups, theirs.meta)
    assert member.facts == native.facts
    assert (member.settings.architecture.name, member.settings.loss.name) == ("nnU-Net 2d", "dice + ce")
    assert member.settings.data == native.settings.data
    provenance = read_json(member.path / "config.json")["imported"]["validation"]
    assert provenance == {
        "file": "p.npz",
        "form": "npz",
        "array": "probabilities",
        "kind": "probabilities",
        "channels": [1, 2, 3],
        "images": len(ids),
        "ignored": 0,
    }


Writer = Callable[[Path, list[str], Probabilities], dict[str, Any]]


def _rows(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez_compressed(path / "p.npz", probabilities=probs, rows=np.array(ids).astype(np.int64))
    return {"path": path / "p.npz"}


def _only_array(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez(path / "p.npz", softmax=probs.astype(np.float64))
    return {"path": path / "p.npz", "ids": write_ids(path / "ids.csv", ids)}


def _named_logits(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez(path / "p.npz", logits=np.log(probs) + 3, ids=np.array(ids))
    return {"path": path / "p.npz"}


def _both(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez(path / "p.npz", probabilities=probs[:, ::-1], logits=np.log(probs), ids=np.array(ids))
    return {"path": path / "p.npz", "logits": True}


def _npy(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.save(path / "p.npy", probs)
    return {"path": path / "p.npy", "ids": write_ids(path / "rows.csv", ids, "row")}


def _npy_logits(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.save(path / "p.npy", np.log(probs) - 7)
    return {"path": path / "p.npy", "ids": write_ids(path / "ids.csv", ids), "logits": True}


def _nnunet(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    folder = write_folder(path / "cases", ids, probs[:, :, None], "npz")
    (folder / "plans.json").write_text("{}")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "0.png")  # nnU-Net writes its class map next to it
    return {"path": folder}


def _npz_of_one_image_each(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    return {"path": write_folder(path / "cases", ids, probs[:, None], "npz")}


def _npy_folder(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    folder = write_folder(path / "cases", [f"case_{name}" for name in ids], probs, "npy")
    lines = [f"case_{name}{'.npy' if int(name) % 2 else ''},{name}" for name in ids]
    return {"path": folder, "ids": write_ids(path / "ids.csv", lines, "file,id")}


def _all_ids(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    names = np.array(["background", "soil", "rock", "ripples"])
    np.savez(path / "p.npz", probabilities=with_background(probs, 0.25), ids=np.array(ids), classes=names)
    return {"path": path / "p.npz", "channels": "all"}


def _shuffled_among_others(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    every = [str(row) for row in np.random.default_rng(0).permutation(24)]
    everything = np.full((24, *probs.shape[1:]), 1 / 3, np.float32)
    everything[[every.index(name) for name in ids]] = probs
    np.savez_compressed(path / "p.npz", probabilities=everything, ids=np.array(every))
    return {"path": path / "p.npz"}


def _half(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez(path / "p.npz", probabilities=probs.astype(np.float16), ids=np.array(ids))
    return {"path": path / "p.npz"}


def _bfloat16(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    np.savez(path / "p.npz", probabilities=probs.astype(ml_dtypes.bfloat16), ids=np.array(ids))
    return {"path": path / "p.npz"}


def _zarr(path: Path, ids: list[str], probs: Probabilities) -> dict[str, Any]:
    zarr: Any = pytest.importorskip("zarr")
    group = zarr.open_group(str(path / "p.zarr"), mode="w")
    group.create_array("probabilities", data=probs)
    group.create_array("rows", data=np.array(ids).astype(np.int64))
    return {"path": path / "p.zarr"}


EXACT = [_rows, _only_array, _npy, _nnunet, _npz_of_one_image_each, _npy_folder, _shuffled_among_others, _zarr]
ROUNDED = [_named_logits, _both, _npy_logits, _all_ids]


@pytest.mark.parametrize("write", EXACT)
def test_every_form_gives_the_same_member(
    write: Writer, exported: Export, bring: Callable[..., Member], tmp_path: Path
) -> None:
    member = bring(**write(tmp_path, exported.ids, exported.probs))
    assert member.scores == exported.member.scores | {"selected": None}
    assert [c.digest for c in member.store().chunks] == [c.digest for c in exported.member.store().chunks]


@pytest.mark.parametrize(("write", "tolerance"), [*((w, 1e-5) for w in ROUNDED), (_half, 1e-3), (_bfloat16, 1e-2)])
def test_logits_backgrounds_and_short_numbers(
    write: Writer, tolerance: float, exported: Export, bring: Callable[..., Member], tmp_path: Path
) -> None:
    member = bring(**write(tmp_path, exported.ids, exported.probs))
    ((_, probs, labels),) = member.store().batches()
    ((_, native, native_labels),) = exported.member.store().batches()
    assert labels is not None
    assert native_labels is not None
    np.testing.assert_array_equal(labels, native_labels)
    assert np.abs(probs - native).max() < tolerance + 0.02  # two codes of the store: 2 * 2 * 0.5 / 127
    for score in ("miou", "log_loss", "brier", "ece"):
        assert member.scores[score] == pytest.approx(exported.member.scores[score], abs=tolerance)
    if write in ROUNDED:
        np.testing.assert_array_equal(member.confusions(), exported.member.confusions())


def test_class_maps_become_one_hot_as_sure_as_the_store(
    exported: Export, bring: Callable[..., Member], tmp_path: Path
) -> None:
    maps = (exported.probs.argmax(1) + 1).astype(np.uint8)
    member = bring(write_folder(tmp_path / "maps", exported.ids, maps, "png"))
    np.testing.assert_array_equal(member.confusions(), exported.member.confusions())
    total = member.confusions().sum(0)
    right, wrong = np.trace(total), total.sum() - np.trace(total)
    # 1 is 127^2 and 0 is 0.05 in squared codes; with background (another 0) dropped two of them are beside the winner.
    by_hand = (right * -np.log(127**2 / (127**2 + 0.1)) + wrong * -np.log(0.05 / (127**2 + 0.1))) / total.sum()
    assert member.scores["log_loss"] == pytest.approx(by_hand, rel=1e-5)
    assert member.scores["miou"] == exported.member.scores["miou"]
    assert wrong > 0


def test_background_that_wins_counts_in_the_keras_reading_only(
    exported: Export, bring: Callable[..., Member], tmp_path: Path
) -> None:
    maps = (exported.probs.argmax(1) + 1).astype(np.uint8)
    maps[0, -1, -1] = 0  # a labelled pixel: background is at the left
    member = bring(write_folder(tmp_path / "maps", exported.ids, maps, "png"))
    with np.load(member.path / "confusions.npz") as archive:
        assert archive["raw_confusions"].shape[1:] == (3, 4)
        assert archive["raw_confusions"][:, :, 3].sum() == 1
        assert archive["confusions"].sum() == archive["raw_confusions"].sum()
    ((_, probs, _),) = member.store().batches()
    np.testing.assert_allclose(probs[0, :, -1, -1], 1 / 3, atol=0.01)  # the map says nothing else about the pixel
    # Four of four classes count instead of three, and one of them has no pixel right.
    assert member.scores["miou_keras"] == pytest.approx(member.scores["miou"] * 3 / 4, rel=0.01)


# ---------------------------------------------------------------- the rules


def conversion(kind: str = "probabilities", channels: int = 4) -> Conversion:
    """Ids 0.. with background first where there are four channels."""
    scored = tuple(range(channels - 3, channels))
    return Conversion(kind, "scored" if channels == 3 else "all", tuple(range(channels)), scored)  # pyright: ignore[reportArgumentType]


LOGITS = hnp.arrays(np.float32, (3, 4, 2, 3), elements=st.floats(-20, 20, width=32))


@given(logits=LOGITS, shift=st.floats(-50, 50, width=32))
def test_logits_become_the_softmax_over_scored_classes(logits: NDArray[np.float32], shift: float) -> None:
    logits[0, 0] += 1  # so that they never look like probabilities
    probs, winners = conversion("logits").probabilities(list(logits), ["a", "b", "c"])
    exact = np.exp(logits[:, 1:].astype(np.float64))
    # Where background has nearly everything, float32 leaves the rest no digits.
    rest = exact.sum(1) / (exact.sum(1) + np.exp(logits[:, 0].astype(np.float64)))
    deviation = np.abs(probs - exact / exact.sum(1, keepdims=True)).max(1)
    assert (deviation[rest > 1e-4] < 1e-5).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-6)
    assert winners is not None
    ahead = logits[:, 0] - logits[:, 1:].max(1)
    np.testing.assert_array_equal((winners == 3)[abs(ahead) > 1e-3], (ahead > 0)[abs(ahead) > 1e-3])
    moved, _ = conversion("logits").probabilities(list(logits + np.float32(shift)), ["a", "b", "c"])
    assert (np.abs(moved - probs).max(1)[rest > 1e-4] < 1e-3).all()


@given(logits=LOGITS)
def test_probabilities_stay_as_they_are_in_batches_of_any_size(logits: NDArray[np.float32]) -> None:
    exp = np.exp(logits[:, 1:] - logits[:, 1:].max(1, keepdims=True))
    probs = exp / exp.sum(1, keepdims=True)
    together, winners = conversion(channels=3).probabilities(list(probs), ["a", "b", "c"])
    np.testing.assert_array_equal(together, probs)
    assert winners is None
    dropped, _ = conversion().probabilities(list(with_background(probs, 0.5)), ["a", "b", "c"])
    alone = [conversion().probabilities([one], ["a"])[0] for one in with_background(probs, 0.5)]
    np.testing.assert_array_equal(np.concatenate(alone), dropped)
    np.testing.assert_allclose(dropped, probs, atol=1e-6)


def test_short_numbers_may_miss_one_by_their_rounding_only() -> None:
    probs = np.full((1, 3, 2, 3), 1 / 3, np.float32)
    probs[:, 0] += 0.003
    read = conversion(channels=3)
    short = np.ascontiguousarray(probs).astype(ml_dtypes.bfloat16).view("V2")
    np.testing.assert_allclose(read.probabilities([short[0]], ["a"])[0].sum(1), 1, atol=1e-6)
    with pytest.raises(EnsError, match=r"sum to 1 within 0.001, got .* with the sum 1.003 for image 'a' at row 0"):
        read.probabilities([probs[0]], ["a"])


# ---------------------------------------------------------------- which images


def test_settings_make_the_split_that_training_makes(
    exported: Export, bring: Callable[..., Member], tiny_npz: Path, tmp_path: Path
) -> None:
    everything = np.full((24, 3, 32, 32), 1 / 3, np.float32)
    np.savez(tmp_path / "all.npz", probabilities=everything, rows=np.arange(24))
    held = bring(tmp_path / "all.npz", data=DataSettings(source=str(tiny_npz)))
    assert held.facts.split_hash == exported.member.facts.split_hash
    assert align([held, exported.member]).names == (held.name, exported.member.name)
    settings = DataSettings(source=str(tiny_npz), folds=3, split_seed=1, background="class")
    dataset = open_dataset(settings)
    split = split_data(dataset.ids, image_groups(dataset), dataset.foreground_nk, settings)
    np.savez(tmp_path / "four.npz", probabilities=with_background(everything, 0.25), rows=np.arange(24))
    folded = bring(tmp_path / "four.npz", data=settings)
    assert folded.facts.split_hash == split.split_hash
    assert list(folded.store().ids) == [dataset.ids[row] for part in split.validation for row in part]
    assert (folded.scores["protocol"], folded.scores["images"]) == ("out-of-fold", 24)
    assert folded.facts.classes == ("background", "soil", "rock", "ripples")
    assert folded.settings.data == settings
    newest = bring(tmp_path / "four.npz", loss="dice")  # the split and the background of the newest member
    assert (newest.settings.data, newest.name == folded.name) == (settings, False)
    assert bring(tmp_path / "four.npz", like=folded.name[:-1]).path == folded.path
    # Members with and without a background class meet in the classes they share.
    void = bring(tmp_path / "all.npz", data=settings.model_copy(update={"background": None}))
    assert align([void, folded]).classes == ("soil", "rock", "ripples")


def test_without_members_the_split_is_the_default_of_training(
    exported: Export, bring: Callable[..., Member], tmp_path: Path
) -> None:
    member = bring(**_rows(tmp_path, exported.ids, exported.probs), runs=tmp_path / "none")
    assert member.facts.split_hash == exported.member.facts.split_hash


SIZES = [
    (20, 30),
    (30, 20),
    (33, 17),
    (8, 50),
    (41, 41),
    (20, 30),
    (20, 30),
    (64, 35),
    (9, 9),
    (35, 64),
    (20, 30),
    (16, 48),
]


@pytest.fixture
def many_sizes(tmp_path: Path) -> Path:
    """A folder of images of nine sizes with masks of the ids 0 (background), 1 and 2."""
    generator = np.random.default_rng(5)
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for row, size in enumerate(SIZES):
        mask = generator.integers(0, 3, (-(-size[0] // 4), -(-size[1] // 4)), dtype=np.uint8)
        mask = mask.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]]
        grey = (mask * 80 + generator.integers(0, 30, size)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "data" / "images" / f"p{row:02d}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"p{row:02d}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("strips", [False, True])
@pytest.mark.parametrize("suffix", ["npz", "npy", "tif", "png"])
def test_images_of_many_sizes(
    many_sizes: Path, tmp_path: Path, suffix: str, strips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if strips:
        monkeypatch.setattr(import_module, "BATCH_BYTES", 4 * 3 * 300)  # 300 pixels
    generator, ids = np.random.default_rng(6), [f"p{row:02d}" for row in range(len(SIZES))]
    probs = [generator.dirichlet(np.ones(3), size).astype(np.float32).transpose(2, 0, 1) for size in SIZES]
    maps = [one.argmax(0).astype(np.uint8) for one in probs] if suffix == "png" else probs
    data = DataSettings(source=str(many_sizes), background="class")
    folder = write_folder(tmp_path / "predicted", ids, maps, suffix)
    member = import_member(folder, name="other", data=data, runs=tmp_path / "runs").member
    store = member.store()
    assert store.sizes == tuple(SIZES[int(name[1:])] for name in store.ids)
    assert (member.facts.height, member.facts.width) == (64, 64)
    dataset, total = open_dataset(data), np.zeros((3, 3), np.int64)
    for rows, stored, labels in store.batches():
        for at, row in enumerate(rows.tolist()):
            number = int(store.ids[row][1:])
            hot = np.eye(3)[probs[number].argmax(0)].transpose(2, 0, 1)
            expected = hot if suffix == "png" else probs[number]
            assert np.abs(stored[at] - expected).max() < 0.02
            assert labels is not None
            np.testing.assert_array_equal(labels[at], dataset.label(dataset.ids.index(store.ids[row])))
            np.add.at(total, (labels[at].ravel(), probs[number].argmax(0).ravel()), 1)
    np.testing.assert_array_equal(member.confusions().sum(0), total)


@pytest.mark.parametrize("suffix", ["npy", "png"])
def test_a_wrong_value_in_a_strip_is_found_where_it_lies(
    many_sizes: Path, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module, "BATCH_BYTES", 4 * 3 * 300)
    ids = [f"p{row:02d}" for row in range(len(SIZES))]
    maps: list[Any] = [np.zeros(size, np.uint8) for size in SIZES]
    if suffix == "npy":
        maps = [np.full((3, *size), 1 / 3, np.float32) for size in SIZES]
    for one in maps:
        one[..., -1, 2] = 7
    folder = write_folder(tmp_path / "wrong", ids, maps, suffix)
    text = r"for image 'p(\d\d)' at row (\d+), column 2; "
    with pytest.raises(EnsError, match=text) as caught:
        import_member(
            folder, name="other", data=DataSettings(source=str(many_sizes), background="class"), runs=tmp_path
        )
    found = re.search(text, str(caught.value))
    assert found is not None
    assert int(found[2]) == SIZES[int(found[1])][0] - 1


def test_a_prediction_of_another_size_is_refused_by_name(many_sizes: Path, tmp_path: Path) -> None:
    probs = np.full((len(SIZES), 3, 20, 30), 1 / 3, np.float32)
    np.savez(tmp_path / "p.npz", probabilities=probs, ids=np.array([f"p{row:02d}" for row in range(len(SIZES))]))
    text = (
        r"expected probabilities of shape \(3, \d+, \d+\) like the data, got \(3, 20, 30\) for image 'p\d\d'; predict"
    )
    with pytest.raises(EnsError, match=f"{text} native pixels, and write a folder with a file per image"):
        import_member(
            tmp_path / "p.npz",
            name="other",
            data=DataSettings(source=str(many_sizes), background="class"),
            runs=tmp_path,
        )
    assert not list((tmp_path / "members").glob("other*"))


def test_the_test_images_come_along(exported: Export, bring: Callable[..., Member], tmp_path: Path) -> None:
    ((_, probs, _),) = exported.member.store("test").batches()
    np.save(tmp_path / "test.npy", probs[::-1])
    given = _rows(tmp_path, exported.ids, exported.probs)
    table = write_ids(tmp_path / "test.csv", range(4, -1, -1), "row")
    member = bring(**given, test=tmp_path / "test.npy", test_ids=table)
    assert list(member.store("test").ids) == ["0", "1", "2", "3", "4"]
    ((_, stored, labels),) = member.store("test").batches()
    assert labels is None
    np.testing.assert_allclose(stored, probs, atol=0.01)
    assert not bring(**given).has_store("test")


def test_test_predictions_need_test_images(bring: Callable[..., Member], tiny_arrays: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", **(tiny_arrays | {"test_set": tiny_arrays["test_set"][:0]}))
    np.savez(tmp_path / "p.npz", probabilities=np.full((24, 3, 32, 32), 1 / 3, np.float32), rows=np.arange(24))
    with pytest.raises(EnsError, match=r"none.npz has no test images, so .*p.npz cannot be imported; drop test"):
        bring(tmp_path / "p.npz", data=tmp_path / "none.npz", test=tmp_path / "p.npz")


# ---------------------------------------------------------------- a member like any other


def test_again_is_the_same_and_another_content_another_member(
    exported: Export, runs: Path, tiny_npz: Path, tmp_path: Path
) -> None:
    file = _rows(tmp_path, exported.ids, exported.probs)["path"]
    first = import_member(file, name="Other one!", data=tiny_npz, runs=runs)
    before = {path: path.stat().st_mtime_ns for path in first.member.path.rglob("*")}
    again = import_member(Path(shutil.copy(file, tmp_path / "moved.npz")), name="Other one!", data=tiny_npz, runs=runs)
    assert (first.new, again.new, again.member.path) == (True, False, first.member.path)
    assert {path: path.stat().st_mtime_ns for path in first.member.path.rglob("*")} == before
    np.savez(file, probabilities=exported.probs[:, ::-1], rows=np.array(exported.ids).astype(int))
    other = import_member(file, name="Other one!", data=tiny_npz, runs=runs)
    assert other.new
    assert other.member.name.startswith("other-one-")
    assert other.member.name != first.member.name
    assert {path.name for path in other.member.path.iterdir()} == {*CHECKED["member"], "status.json", "probabilities"}


def test_it_is_listed_and_combined_and_cannot_predict(
    exported: Export, runs: Path, bring: Callable[..., Member], tiny_arrays: Mapping[str, Any], tmp_path: Path
) -> None:
    member = bring(**_rows(tmp_path, exported.ids, exported.probs[:, ::-1]), loss="dice + ce")
    row = results.load(runs).set_index("name").loc[member.name]
    assert (row["architecture"], row["loss"], row["augmentation"]) == ("imported", "dice + ce", "unknown")
    assert row[["parameters", "seconds", "epochs", "selected"]].isna().all()
    done = combine(method="average", runs=runs)
    assert set(done.ensemble.settings.members) == {path.name for path in (runs / "members").iterdir()}
    assert member.name in done.aligned.names
    for path in (member.path, done.ensemble.path):
        with pytest.raises(EnsError, match=f"{member.name} was imported as probabilities and has no network"):
            load(path)(tiny_arrays["test_set"])


# ---------------------------------------------------------------- mistakes


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda arrays: arrays.__setitem__(key, value(arrays) if callable(value) else value)


def _no_ids(arrays: dict[str, Any]) -> None:
    del arrays["ids"]


def _nothing(_: dict[str, Any]) -> None:
    return None


def _broken(a: dict[str, Any]) -> Any:
    probs = a["probabilities"].copy()
    probs[-1, :, 3, 5] = [0.5, np.nan, 0.5]
    return probs


MISTAKES: list[tuple[Callable[[dict[str, Any]], Any], dict[str, Any], str]] = [
    (_no_ids, {}, "p.npz does not name its images; add the array 'ids' or 'rows' to an npz, or pass a CSV"),
    (_set("ids", lambda a: a["ids"][:-1]), {}, "expected one of 'ids' per image in "),
    (_set("ids", lambda a: np.array(["77", *a["ids"][1:]])), {}, "validation images have no prediction in "),
    (_set("ids", lambda a: a["ids"][[0, 0, *range(2, len(a["ids"]))]]), {}, "occurs twice in "),
    (lambda a: a.update(rows=-np.arange(len(a.pop("ids"))) - 1), {}, "expected rows 0 to 23 of the data set in "),
    (
        _set("ids", lambda a: a["ids"].astype(object)),
        {},
        "p.npz holds Python objects under 'ids', which are never loaded",
    ),
    (
        _set("probabilities", lambda a: a["probabilities"][:, :2]),
        {},
        "expected 3 channels for the scored classes or 4 for all ids of the data set, got 2 in ",
    ),
    (_nothing, {"channels": "all"}, "expected 4 channels for channels all, got 3 in "),
    (_nothing, {"channels": "some"}, "unknown kind of channels 'some'"),
    (_set("classes", np.array(["rock", "soil", "ripples"])), {}, "expected the channels soil, rock, ripples, but "),
    (_set("probabilities", lambda a: a["probabilities"] * 1.002), {}, "pass logits if these are logits"),
    (_set("probabilities", lambda a: np.log(a["probabilities"])), {}, "pass logits if these are logits"),
    (_set("probabilities", lambda a: a["probabilities"] * np.float64(1e300)), {}, "pass logits if these are logits"),
    (_set("probabilities", _broken), {}, "at row 3, column 5; pass logits if these are logits"),
    (_nothing, {"logits": True}, "calls its array 'probabilities', but logits was given; drop logits or rename"),
    (lambda a: a.update(x=a.pop("probabilities")), {"logits": True}, "sum to 1 as probabilities do; drop logits"),
    (
        lambda a: a.update(logits=np.full_like(a.pop("probabilities"), np.inf)),
        {},
        "expected finite logits, got NaN or infinity for image",
    ),
    (
        lambda a: a.update(x=a["ids"], y=a.pop("probabilities")),
        {},
        "expected the array 'probabilities' or 'logits' or a single array in ",
    ),
    (_set("probabilities", lambda a: a["probabilities"][:, :, :16]), {}, "of shape (3, 32, 32) like the data, got (3,"),
    (
        _set("probabilities", lambda a: a["probabilities"][:, 0]),
        {},
        "of shape (images, channels, height, width) with at most",
    ),
    (_set("probabilities", lambda a: a["probabilities"].astype(int)), {}, "expected floating numbers (float16, bfl"),
    (_nothing, {"name": "?!"}, "expected a name with letters or digits, got '?!'; try nnunet"),
    (_nothing, {"like": "deeplab"}, "unknown member 'deeplab'"),
    (
        _nothing,
        {"like": "unet", "data": DataSettings()},
        "expected either settings of the split or like unet, got both",
    ),
    (_nothing, {"like": "unet-baseline-ce", "data": "other.npz"}, "was trained on other data than other.npz"),
    (_nothing, {"test_ids": "x.csv"}, "test_ids needs test, the predictions of the test images; add test"),
    (_nothing, {"test": "p.npz"}, "of the 5 test images have no prediction in p.npz"),
    (_nothing, {"ids": "nowhere.csv"}, "there is no file nowhere.csv; check the path"),
]


@pytest.mark.parametrize(("change", "options", "text"), MISTAKES, ids=[text[:40] for _, _, text in MISTAKES])
def test_mistakes_are_reported_and_leave_nothing(
    change: Callable[[dict[str, Any]], Any],
    options: dict[str, Any],
    text: str,
    exported: Export,
    bring: Callable[..., Member],
    runs: Path,
    tiny_arrays: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "other.npz", **(tiny_arrays | {"test_set": tiny_arrays["test_set"][1:]}))
    arrays: dict[str, Any] = {"probabilities": exported.probs, "ids": np.array(exported.ids)}
    change(arrays)
    np.savez(tmp_path / "p.npz", **arrays)
    before = {*runs.rglob("*")}
    with pytest.raises(EnsError, match=re.escape(text)):
        bring(tmp_path / "p.npz", **options)
    assert {*runs.rglob("*")} == before


def test_mistakes_in_folders(exported: Export, bring: Callable[..., Member], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "npz", exported.ids, exported.probs, "npz")
    for name, probs in zip(exported.ids, exported.probs, strict=True):
        np.savez(folder / f"{name}.npz", probabilities=probs, classes=np.array(["rock", "soil", "ripples"]))
    with pytest.raises(EnsError, match=r"expected the channels soil, rock, ripples, but .* calls them rock, soil, rip"):
        bring(folder)
    folder = write_folder(tmp_path / "tif", exported.ids, exported.probs, "tif")
    with pytest.raises(EnsError, match=r"probabilities.tif holds probabilities, but logits was given; drop logits"):
        bring(folder, logits=True)
    first = folder / f"{exported.ids[0]}.probabilities.tif"
    tifffile.imwrite(first, exported.probs[0], photometric="minisblack")
    with pytest.raises(EnsError, match=r"expected a band of 16 bits per class in .*, got float32; write it again"):
        bring(folder)


def test_mistakes_in_tables(exported: Export, bring: Callable[..., Member], tmp_path: Path) -> None:
    given = _npy(tmp_path, exported.ids, exported.probs) | {"ids": tmp_path / "t.csv"}
    for lines, head, text in (
        ([], "id", "expected a header and a line per image in"),
        (exported.ids, "image", "expected the column 'id' or 'row' in"),
        (exported.ids[1:], "id", f"got {len(exported.ids) - 1} for {len(exported.ids)} images"),
        (["24", *exported.ids[1:]], "row", "expected rows 0 to 23 of the data set in"),
    ):
        write_ids(tmp_path / "t.csv", lines, head)
        with pytest.raises(EnsError, match=re.escape(text)):
            bring(**given)
    folder = _npy_folder(tmp_path, exported.ids, exported.probs)
    write_ids(tmp_path / "ids.csv", exported.ids)
    with pytest.raises(EnsError, match="expected the column 'file' in"):
        bring(**folder)
    write_ids(tmp_path / "ids.csv", [f"case_{name},{name}" for name in exported.ids[1:]], "file,id")
    with pytest.raises(EnsError, match=rf"has no line for case_{exported.ids[0]}.npy; add a line for it"):
        bring(**folder)


def test_mistakes_in_class_maps(exported: Export, bring: Callable[..., Member], tmp_path: Path) -> None:
    maps = (exported.probs.argmax(1) + 1).astype(np.uint8)
    maps[-1, 4, 6] = 9
    folder = write_folder(tmp_path / "maps", exported.ids, maps, "png")
    text = (
        f"expected class maps of the data set's ids 0, 1, 2, 3, got 9 for image '{exported.ids[-1]}' at row 4, column 6"
    )
    with pytest.raises(EnsError, match=re.escape(text)):
        bring(folder)
    with pytest.raises(EnsError, match=r"logits goes with probabilities or logits, but .* holds class maps"):
        bring(folder, logits=True)
    with pytest.raises(EnsError, match=r"channels goes with probabilities or logits, but .* holds class maps"):
        bring(folder, channels="all")


def test_files_that_are_no_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.txt").write_text("0.5")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00")
    (tmp_path / "bad.npz").write_bytes(b"PK")
    (tmp_path / "p.zarr").mkdir()
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    write_folder(tmp_path / "flat", ["a"], [np.zeros((32, 32), np.float32)], "npy")
    monkeypatch.setitem(sys.modules, "zarr", None)
    for name, text in (
        ("nowhere.npz", "there is no file or folder .*nowhere.npz; pass the predictions as npz, npy, zarr or a folder"),
        ("p.txt", "expected predictions as FILE.npz, FILE.npy, zarr or a folder of npz, npy or PNG files, got"),
        ("bad.npy", r"bad.npy cannot be read as an npy file \(.*\); copy or write it again"),
        ("bad.npz", "bad.npz is not an npz file"),
        (
            "p.zarr",
            "p.zarr is a zarr store, which needs the package zarr; install zarr, or pass the predictions as npz",
        ),
        ("empty", r"expected a file per image \(.npz, .npy, .png\) in .*empty, found none"),
        ("objects.npy", "objects.npy holds Python objects, which are never loaded because they can run code; save it"),
        ("flat", r"expected one image \(channels, height, width\) in .*a.npy, got the shape \(32, 32\)"),
    ):
        with pytest.raises(EnsError, match=text):
            open_predictions(tmp_path / name)


def test_an_interrupted_import_leaves_nothing_and_a_killed_one_does_not_block_the_next(
    exported: Export, bring: Callable[..., Member], runs: Path, tmp_path: Path
) -> None:
    def interrupt(task: str, done: int, total: int, note: str = "", /) -> None:
        raise KeyboardInterrupt

    given, before = _rows(tmp_path, exported.ids, exported.probs), {*runs.rglob("*")}
    with pytest.raises(KeyboardInterrupt):
        bring(**given, progress=interrupt)
    assert {*runs.rglob("*")} == before
    member = bring(**given)
    left = member.path.rename(member.path.with_name(f".{member.name}.tmp"))
    (left / "status.json").unlink()
    assert member.name not in set(results.load(runs)["name"])
    assert bring(**given).path == member.path
    assert not left.exists()


def test_a_place_that_cannot_be_written(exported: Export, bring: Callable[..., Member], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnsError, match=r"cannot lock .*file.*; choose a folder that can be written and locked"):
        bring(**_rows(tmp_path, exported.ids, exported.probs), runs=tmp_path / "file")


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_memory_does_not_grow_with_the_images(form: str, tmp_path: Path) -> None:
    probs = np.full((1500, 4, 32, 32), 0.25, np.float32)  # 25 MB
    np.save(tmp_path / "p.npy", probs)
    np.savez_compressed(tmp_path / "p.npz", probabilities=probs)
    del probs
    lined_up = LinedUp(open_predictions(tmp_path / f"p.{form}"), conversion(), tuple(range(1500)), 0)
    tracemalloc.start()
    batches = _batches(lined_up, [""] * 1500, [(32, 32)] * 1500, lambda *_: None)
    images = sum(len(probs) for _, parts in batches for _, probs, _ in parts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert images == 1500
    assert peak < 8e6  # a batch of 32 is half a MB, and a few of them are worked on at once


def test_a_split_of_a_file_is_that_of_the_members_trained_with_it(tmp_path: Path, tiny_npz: Path) -> None:
    write_split(DataSettings(source=str(tiny_npz), split_seed=5), tmp_path / "split.csv")
    given = DataSettings(source=str(tiny_npz), split=str(tmp_path / "split.csv"))
    trained = train(tiny_npz, arch="unet-baseline(depth=2)", loss="ce", epochs=1, split=given.split, out=tmp_path)
    dataset = open_dataset(given)
    rows = split_dataset(dataset, image_groups(dataset), given).validation[0].tolist()
    uniform = np.full((len(rows), 3, 32, 32), 1 / 3, np.float32)
    np.savez(tmp_path / "p.npz", probabilities=uniform, rows=np.array(rows))
    imported = import_member(tmp_path / "p.npz", name="other", data=given, runs=tmp_path)
    assert imported.member.facts.split_hash == trained.facts.split_hash
    assert imported.member.settings.data.split == given.split
