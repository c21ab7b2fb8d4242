"""Predicting: what a member stored, the pool of an ensemble, and every form of output, in bounded memory."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ensemble
from ensemble import train
from ensemble.combining.combine import combine
from ensemble.combining.serialization import read_pool
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.files import digest
from ensemble.core.palette import class_colours
from ensemble.inference import batching
from ensemble.inference.batching import BATCH
from ensemble.inference.image_sources import Head
from ensemble.inference.load import load
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.open_images import open_images
from ensemble.inference.predict_batches import predict_batches
from ensemble.inference.predictor import Predictor
from ensemble.inference.write_masks import predict, predict_to
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member

CODE_ERROR = 0.02  # of the stored probabilities: square-root codes of 127 levels


@dataclass
class Counted:
    """Images that count how often they are read."""

    images: list[NDArray[np.generic]]
    reads: list[int] = field(default_factory=list)
    notes: Sequence[str] = ()
    files: None = None

    @property
    def ids(self) -> Sequence[str]:
        return [f"i{row}" for row in range(len(self.images))]

    def head(self, row: int) -> Head:
        height, width, bands = self.images[row].shape
        return Head(height, width, bands, self.images[row].dtype.name)

    def name(self, row: int) -> str:
        return f"the image i{row}"

    def digest(self, row: int) -> str:
        return digest(self.images[row].tobytes())

    def read(self, row: int) -> NDArray[np.generic]:
        self.reads.append(row)
        return self.images[row]


@pytest.fixture(scope="module")
def members(tiny_runs: Path) -> list[Member]:
    return [Member.open(path) for path in sorted((tiny_runs / "members").iterdir())]


@pytest.fixture(scope="module")
def predictor(members: list[Member]) -> Predictor:
    return load(members[0].path)


@pytest.fixture
def noise() -> Callable[..., list[NDArray[np.generic]]]:
    """Random grey images of given sizes."""
    generator = np.random.default_rng(0)

    def make(*sizes: tuple[int, int]) -> list[NDArray[np.generic]]:
        return [generator.integers(0, 256, (*size, 1), dtype=np.uint8) for size in sizes]

    return make


@pytest.mark.parametrize("which", [0, 1], ids=["fp32", "bf16"])
def test_a_member_repeats_the_probabilities_it_stored(
    members: list[Member], tiny_arrays: dict[str, Any], which: int
) -> None:
    member = members[::-1][which] if members[0].settings.precision == "bf16" else members[which]
    assert member.settings.precision == ("fp32", "bf16")[which]
    store = member.store()
    stored = np.concatenate([probs for _, probs, _ in store.batches()])
    found = ensemble.load(member.path)(tiny_arrays["training_set"][[int(text) for text in store.ids], 0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, stored, atol=CODE_ERROR)
    assert (found.argmax(1) == stored.argmax(1)).mean() > 0.995


def test_an_ensemble_is_the_pool_of_its_members(
    members: list[Member], tiny_runs: Path, tmp_path: Path, tiny_arrays: dict[str, Any]
) -> None:
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    done = combine(method="weighted(weights=[3, 1])", folds=2, runs=runs)
    images = tiny_arrays["test_set"]
    each = np.stack([load(runs / "members" / name)(images) for name in done.ensemble.settings.members])
    found = load(done.ensemble.path)
    np.testing.assert_allclose(found(images), read_pool(done.ensemble)(each), atol=1e-6)
    assert np.abs(found(images) - each[0]).max() > 1e-3
    flipped = np.stack([load(runs / "members" / name, tta="flips")(images) for name in done.ensemble.settings.members])
    np.testing.assert_allclose(
        load(done.ensemble.path, tta="flips")(images), read_pool(done.ensemble)(flipped), atol=1e-6
    )
    assert (found.classes, found.values) == (("soil", "rock", "ripples"), (1, 2, 3))
    shutil.rmtree(runs / "members" / done.ensemble.settings.members[1])
    with pytest.raises(EnsError, match=r"needs the member .*, but .* does not hold it; copy it there or train"):
        load(done.ensemble.path)


def test_pixels_are_in_the_units_of_the_training_images(predictor: Predictor, tiny_arrays: dict[str, Any]) -> None:
    images = tiny_arrays["test_set"]
    expected = predictor(images)
    np.testing.assert_allclose(expected.sum(1), 1, atol=1e-5)
    for same in (images[..., None], images.astype(np.float32)):
        np.testing.assert_allclose(predictor(same), expected, atol=1e-4)
    with pytest.raises(EnsError, match="expected pixels in the units of the training images, 0 to 255, got float64 in"):
        predictor(images / 255)


def test_many_images_are_predicted_in_batches(predictor: Predictor, noise: Callable[..., Any]) -> None:
    images = np.stack(noise(*[(32, 32)] * (BATCH + 3)))
    np.testing.assert_allclose(predictor(images)[-3:], predictor(images[-3:]), atol=1e-6)
    assert predictor(images[:0]).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((2, 32, 32, 2), "expected images (n, h, w, 1) or (h, w, 1) for unet-baseline"),
        ((32,), "got (32,)"),
        ((1, 1, 32, 32, 1), "got (1, 1, 32, 32, 1)"),
    ],
)
def test_images_of_another_shape_are_refused(predictor: Predictor, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(EnsError, match=re.escape(text)):
        predictor(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("images", "kind"), [([], "list"), (None, "NoneType"), ([None], "list")])
def test_images_that_are_no_array_are_refused(predictor: Predictor, images: Any, kind: str) -> None:
    text = (
        rf"expected a NumPy array of images \(n, h, w, 1\), or paths of images, for unet-baseline-.*, got {kind}; stack"
    )
    with pytest.raises(EnsError, match=text):
        predictor(images)


def test_images_with_nan_are_refused(predictor: Predictor) -> None:
    with pytest.raises(EnsError, match="expected finite numbers as pixels in the images"):
        predictor(np.full((1, 32, 32), np.nan))


def test_masks_hold_the_data_sets_own_ids(predictor: Predictor, tiny_arrays: dict[str, Any]) -> None:
    probs = predictor(tiny_arrays["test_set"])
    masks = predictor.masks(probs)
    assert masks.dtype == np.uint8
    np.testing.assert_array_equal(masks, probs.argmax(1) + 1)


def test_an_npz_holds_ids_masks_and_probabilities(
    predictor: Predictor, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    told: list[tuple[str, int, int]] = []
    images = open_images(tiny_npz)
    count, place = predict_to(
        predictor, images, tmp_path / "p.npz", probabilities=True, progress=lambda *what: told.append(what[:3])
    )
    expected = predictor(tiny_arrays["test_set"])
    with np.load(tmp_path / "p.npz", allow_pickle=False) as found:
        assert sorted(found.files) == ["classes", "ids", "masks", "probabilities"]
        assert found["ids"].tolist() == ["0", "1", "2", "3", "4"]
        assert found["classes"].tolist() == ["soil", "rock", "ripples"]
        assert (found["masks"].dtype, found["probabilities"].dtype) == (np.uint8, np.float32)
        np.testing.assert_array_equal(found["masks"], predictor.masks(expected))
        np.testing.assert_array_equal(found["probabilities"], expected)
    assert (count, place, told) == (5, tmp_path / "p.npz", [("predicting", 5, 5)])
    predict_to(predictor, images, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz", allow_pickle=False) as found:
        assert sorted(found.files) == ["classes", "ids", "masks"]


def test_a_csv_holds_a_row_per_image(
    predictor: Predictor, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    predict_to(predictor, open_images(tiny_npz), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["id", *map(str, range(1024))]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4"]
    masks = np.array([row[1:] for row in rows]).astype(int).reshape(5, 32, 32)
    np.testing.assert_array_equal(masks, predictor.masks(predictor(tiny_arrays["test_set"])))


def test_a_folder_holds_indexed_pictures(
    predictor: Predictor, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    predict_to(predictor, open_images(tiny_npz), tmp_path / "new" / "out")
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == [f"{row}.png" for row in range(5)]
    masks = predictor.masks(predictor(tiny_arrays["test_set"]))
    with Image.open(tmp_path / "new" / "out" / "3.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), masks[3])
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), class_colours((1, 2, 3))[masks[3]])


def test_reading_never_runs_more_than_a_batch_ahead(predictor: Predictor, noise: Callable[..., Any]) -> None:
    images = Counted(noise(*[(32, 32)] * (3 * BATCH + 5)))
    given = 0
    for ids, probs in predict_batches(predictor, images):
        assert len(ids) == len(probs) <= BATCH
        given += len(ids)
        assert max(images.reads) + 1 == given  # nothing beyond the batch is read before it is given out
    assert given == 3 * BATCH + 5
    assert images.reads == list(range(given))


def test_images_of_different_sizes_go_to_a_folder(
    predictor: Predictor, noise: Callable[..., Any], tmp_path: Path
) -> None:
    sizes = [(32, 32), (32, 32), (40, 64), (33, 35), (32, 32)]
    images = Counted(noise(*sizes))
    assert predict_to(predictor, images, tmp_path) == (5, tmp_path)
    for row, size in enumerate(sizes):
        with Image.open(tmp_path / f"i{row}.png") as picture:
            assert picture.size == size[::-1]
            expected = predictor.masks(predictor(images.images[row][None]))[0]
            np.testing.assert_array_equal(np.asarray(picture), expected)
    assert len(images.reads) <= 2 * len(sizes)


@pytest.mark.parametrize("form", ["npz", "csv"])
def test_images_of_different_sizes_have_a_file_each(
    predictor: Predictor, noise: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    images, notes = Counted(noise((32, 64), (64, 32))), list[str]()  # as many pixels, another shape
    for _ in range(2 if form == "npz" else 1):  # the same command again
        assert predict_to(predictor, images, tmp_path / f"out.{form}", on_note=notes.append) == (2, tmp_path / "out")
    expected = f"the images have 2 sizes (32x64 to 64x32), which one {form} cannot hold: {tmp_path}/out/ holds one"
    assert notes[0].startswith(expected)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"i0.{form}", f"i1.{form}"]
    mask = predictor.masks(predictor(images.images[1][None]))[0]
    if form == "npz":
        assert notes[2].startswith("2 of 2 predictions are there already")
        with np.load(tmp_path / "out" / "i1.npz") as found:
            np.testing.assert_array_equal(found["masks"], mask[None])
    else:
        (line,) = (tmp_path / "out" / "i1.csv").read_text().splitlines()[1:]
        assert line == ",".join(["i1", *map(str, mask.ravel())])
        with pytest.raises(EnsError, match=r"out holds i0\.csv, which it did not write"):
            predict_to(predictor, images, tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("out.gif", {}, "expected an output that ends in .png, .tif, .tiff, .npz, .csv, or a folder without an"),
        ("out.csv", {"probabilities": True}, "csv holds masks only, but probabilities were asked for; write an npz"),
        ("out.csv", {"form": "npz"}, "does not fit the form npz; change one of them"),
        ("out", {"form": "rle"}, "run lengths of all images go to one FILE.csv, got"),
        ("out", {"form": "jpeg"}, "unknown form of predictions 'jpeg'"),
        ("out.csv", {"instances": True}, "objects are written as run lengths, but the form is csv; choose the"),
        ("out.png", {}, "out.png holds the mask of one image, but 2 images came; give a folder"),
    ],
)
def test_an_output_of_no_known_form_is_refused(
    predictor: Predictor, noise: Callable[..., Any], tmp_path: Path, name: str, options: dict[str, Any], text: str
) -> None:
    images = Counted(noise((32, 32), (32, 32)))
    with pytest.raises(EnsError, match=re.escape(text)):
        predict_to(predictor, images, tmp_path / name, **options)
    assert images.reads == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["file/out.npz", "file/out.csv", "file"])
def test_a_place_that_cannot_be_written_is_reported(
    predictor: Predictor, noise: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(EnsError, match=r"expected a folder that can be written for .*file.*; choose another"):
        predict_to(predictor, Counted(noise((32, 32))), tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_images_come_from_a_file_a_folder_or_an_array(tmp_path: Path, noise: Callable[..., Any]) -> None:
    for name, image in zip(("b.png", "a.png"), noise((32, 32), (32, 40)), strict=True):
        Image.fromarray(image[..., 0]).save(tmp_path / name)
    single = open_images(tmp_path / "a.png")
    assert (list(single.ids), single.read(0).shape) == (["a"], (32, 40, 1))
    folder = open_images(tmp_path)
    assert (list(folder.ids), folder.read(1).shape) == (["a", "b"], (32, 32, 1))
    (tmp_path / "test").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "test" / "a.png")
    assert list(open_images(tmp_path).ids) == ["a"]
    np.savez(tmp_path / "any.npz", pictures=np.zeros((2, 32, 32), np.uint8))
    array = open_images(tmp_path / "any.npz")
    assert (list(array.ids), array.read(1).shape) == (["0", "1"], (32, 32, 1))


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"training_set": np.zeros((2, 2, 32, 32))}, "expected the key 'test_set' (M, H, W) in"),
        ({"a": np.zeros((1, 32, 32)), "b": np.zeros(3)}, "or one array of images, found a, b"),
        ({"a": np.zeros(3)}, "as a stack of at most 1000000 images (M, H, W), got the shape (3,)"),
        (
            {"test_set": np.zeros((2, 0, 32))},
            "as a stack of at most 1000000 images (M, H, W), got the shape (2, 0, 32)",
        ),
        (
            {"test_set": np.array([{}, {}], dtype=object)},
            "holds Python objects under 'test_set', which are never loaded",
        ),
    ],
)
def test_arrays_without_images_are_refused(tmp_path: Path, arrays: dict[str, Any], text: str) -> None:
    np.savez(tmp_path / "in.npz", **arrays)
    with pytest.raises(EnsError, match=re.escape(text)):
        open_images(tmp_path / "in.npz")


@pytest.mark.parametrize("name", ["out.npz", "out.csv", "out"])
def test_an_empty_test_set_is_reported_and_writes_nothing(predictor: Predictor, tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "in.npz", test_set=np.zeros((0, 32, 32), np.uint8))
    with pytest.raises(EnsError, match="there are no images to predict; an npz needs a test_set with at least"):
        predict_to(predictor, open_images(tmp_path / "in.npz"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def test_nothing_to_predict_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"the folder .* holds no images \(.png, .jpg, .*, .webp\); check"):
        open_images(tmp_path)
    with pytest.raises(EnsError, match=r"there is no file or folder .*nowhere\.png"):
        open_images(tmp_path / "nowhere.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(EnsError, match=r"broken\.png cannot be read as an image"):
        open_images(tmp_path / "broken.png").read(0)


def test_a_model_is_found_by_path_name_or_unique_beginning(tiny_runs: Path, members: list[Member]) -> None:
    path = members[0].path
    assert find_run(path, "elsewhere") == path
    assert find_run(path.name, tiny_runs) == path
    assert find_run(path.name[:-3], tiny_runs) == path
    with pytest.raises(EnsError, match=r"'unet-baseline' matches 2 names \(unet-baseline-ce-s0-.*\); give more of"):
        find_run("unet-baseline", tiny_runs)
    with pytest.raises(UnknownName, match=r"unknown member or ensemble 'x'\. Known: none"):
        find_run("x", "nowhere")


def test_predict_as_a_function(tiny_runs: Path, tiny_npz: Path, members: list[Member], tmp_path: Path) -> None:
    assert predict(members[0].name, tiny_npz, tmp_path / "a.csv", device="cpu", runs=tiny_runs) == 5
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 6


@pytest.mark.parametrize(("highest", "noted"), [(1, True), (2, False)])
def test_images_in_zero_to_one_give_a_note(members: list[Member], tmp_path: Path, highest: int, noted: bool) -> None:
    (tmp_path / "in").mkdir()
    for row, value in enumerate((1, highest)):  # all images decide together
        pixels = np.random.default_rng(row).integers(0, value + 1, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{row}.png")
    notes: list[str] = []
    assert predict(members[0].path, tmp_path / "in", tmp_path / "out", device="cpu", on_note=notes.append) == 2
    assert notes == noted * [
        "no pixel of the images is above 1, but 1 is nearly black for this model (0 to 255); if they are in 0 to 1,"
        " convert them"
    ]


# ---------------------------------------------------------------- large images


@pytest.fixture(scope="module")
def bounded(tiny_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A member of bounded reach, trained for an epoch."""
    out = tmp_path_factory.mktemp("bounded")
    return load(train(tiny_npz, arch="unet-baseline(filters=8, depth=2)", loss="ce", epochs=1, out=out).path)


def test_tiles_give_what_the_whole_image_gives(bounded: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1100, 1003), dtype=np.uint8)
    seen: list[tuple[int, int]] = []
    tiled = bounded(image, lambda task, done, total, *_: seen.append((done, total)))
    assert seen[-1] == (9, 9)
    monkeypatch.setattr(batching, "WHOLE_PIXELS", image.size)
    whole = bounded(image)
    assert tiled.shape == whole.shape == (3, 1100, 1003)
    np.testing.assert_allclose(tiled, whole, atol=2e-2 if bounded.members[0].settings.precision == "bf16" else 1e-5)
    assert (tiled.argmax(0) == whole.argmax(0)).mean() > 0.999


def test_a_member_that_looks_at_whole_images_is_tiled_at_its_training_size(
    tmp_path: Path, tiny_arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {key: tiny_arrays[key].repeat(2, -1).repeat(2, -2) for key in ("training_set", "test_set")}
    np.savez(tmp_path / "large.npz", **{**tiny_arrays, **large})
    member = train(tmp_path / "large.npz", arch="pspnet", loss="ce", epochs=1, out=tmp_path)
    predictor, sizes = load(member.path), set[tuple[int, ...]]()
    of_whole = MemberNetwork.whole

    def noted(self: MemberNetwork, images: NDArray[Any]) -> NDArray[np.float32]:
        sizes.add(images.shape[1:3])
        return of_whole(self, images)

    monkeypatch.setattr(MemberNetwork, "whole", noted)
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1)
    probs = predictor(np.random.default_rng(0).integers(0, 256, (300, 170), dtype=np.uint8))
    assert probs.shape == (3, 300, 170)
    np.testing.assert_allclose(probs.sum(0), 1, atol=1e-4)
    assert max(max(size) for size in sizes) == 64
