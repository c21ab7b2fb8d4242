"""Every mistake a user can make is one sentence and exit code 2, and nothing half-written is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from ensemble.core.files import read_json, sealed, write_json

Ens = Callable[..., Result]
Arrays = dict[str, Any]
TRAIN = ("--arch", "unet-baseline(filters=2, depth=1)", "--loss", "ce")
FAST = ("--epochs", "1", "--batch-size", "4", "--device", "cpu", "--precision", "fp32")


class Usage(NamedTuple):
    """What ``shutil.disk_usage`` returns."""

    total: int
    used: int
    free: int


@pytest.fixture
def refused(ens: Ens, tmp_path: Path) -> Callable[..., str]:
    """Run a command that must fail with one line of error, and change no file; returns the text."""

    def snapshot() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}

    def run(*arguments: str | Path) -> str:
        before = snapshot()
        result = ens(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith("error: "), result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert "\x1b" not in result.output
        assert snapshot() == before
        return result.stderr.removeprefix("error: ").strip()

    return run


@pytest.fixture
def npz(tiny_arrays: Arrays, tmp_path: Path) -> Callable[..., Path]:
    """The tiny data with arrays replaced, or left out where None is given."""

    def write(**changes: Any) -> Path:
        arrays = {key: value for key, value in (tiny_arrays | changes).items() if value is not None}
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


@pytest.fixture
def folder(tiny_arrays: Arrays, tmp_path: Path) -> Path:
    """Six pairs of the tiny data as a folder."""
    root = tmp_path / "pairs"
    for row in range(6):
        for kind, plane in (("images", 0), ("masks", 1)):
            (root / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(tiny_arrays["training_set"][row, plane]).save(root / kind / f"{row}.png")
    return root


@pytest.fixture
def train(refused: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """``ens train`` that must be refused."""
    return lambda data, *more: refused("train", data, *TRAIN, *FAST, *more, "--out", tmp_path / "runs")


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


def masks_set(arrays: Arrays, rows: Any, value: int) -> NDArray[Any]:
    training = arrays["training_set"].copy()
    training[rows, 1] = value
    return training


def test_missing_file(train: Callable[..., str]) -> None:
    assert train("nowhere.npz") == (
        "there is no file or folder nowhere.npz; give an npz file, a folder of images and masks, a description (TOML),"
        " or 'sample'"
    )


def test_no_npz_at_all(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    assert "text.npz is not an npz file" in train(tmp_path / "text.npz")


def test_truncated_npz(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    path = npz()
    path.write_bytes(path.read_bytes()[:-2000])
    assert "data.npz is not an npz file" in train(path)


def test_flipped_npz(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    path = npz()
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert "data.npz cannot be read as an npz file (Bad CRC-32" in train(path)


def test_npz_without_the_keys(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    text = train(npz(training_set=None))
    assert "data.npz to be an npz file with images and masks, such as X and y, found " in text
    assert "; rename the arrays, or write a description with root, train.images and train.masks" in text


@pytest.mark.parametrize("key", ["training_set", "extra"])
def test_objects_are_never_unpickled(train: Callable[..., str], npz: Callable[..., Path], key: str) -> None:
    text = train(npz(**{key: np.array([{"a": 1}, None], dtype=object)}))
    assert f"holds Python objects under '{key}', which are never loaded because they can run code" in text


def test_training_set_of_another_shape(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    text = train(npz(training_set=np.zeros((4, 3, 32, 32), np.uint8)))
    assert "expected training_set of shape (N, 2, H, W)" in text
    assert "got (4, 3, 32, 32)" in text


def test_test_images_of_another_size(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    assert "expected test_set of shape (M, 32, 32) like the training images, got (2, 16, 16)" in train(
        npz(test_set=np.zeros((2, 16, 16), np.uint8))
    )


def test_groups_of_the_wrong_number(train: Callable[..., str], npz: Callable[..., Path]) -> None:
    assert "expected training_groups of shape (24,), one per image, got (3,)" in train(
        npz(training_groups=np.arange(3))
    )


def test_a_mask_value_with_no_class(train: Callable[..., str], npz: Callable[..., Path], tiny_arrays: Arrays) -> None:
    training = tiny_arrays["training_set"].copy()
    training[5, 1, 0, 0] = 9
    text = train(npz(training_set=training))
    assert "the mask of image 5 holds the value 9, which is not a class: expected 0 background, 1 soil, 2 rock" in text


def test_a_mask_of_fractions(train: Callable[..., str], npz: Callable[..., Path], tiny_arrays: Arrays) -> None:
    text = train(npz(training_set=tiny_arrays["training_set"] / 2))
    assert "expected mask values that are whole numbers 0..255" in text


def test_image_and_mask_of_different_sizes(train: Callable[..., str], folder: Path) -> None:
    Image.new("L", (32, 40)).save(folder / "masks" / "3.png")
    assert "the image 3 is 32x32 but its mask is 40x32; expected equal sizes, fix that pair" in train(folder)


@pytest.mark.parametrize(("kind", "what"), [("masks", "mask"), ("images", "image")])
def test_a_file_without_its_partner(train: Callable[..., str], folder: Path, kind: str, what: str) -> None:
    (folder / kind / "2.png").unlink()
    assert f"1 of 6 files in {folder} have no {what}, the first is 2; add the {what} or move the file" in train(folder)


def test_images_of_different_sizes(train: Callable[..., str], folder: Path) -> None:
    for kind in ("images", "masks"):
        Image.new("L", (64, 48), 1).save(folder / kind / "4.png")
    text = "have 2 different sizes, so batches of whole images need one; give input_size, such as 256x256, or crop"
    assert text in train(folder, "--crop", "none")


def test_an_empty_folder(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "expected images in " in train(tmp_path / "empty")


def test_a_file_that_is_no_picture(train: Callable[..., str], folder: Path) -> None:
    (folder / "images" / "1.png").write_bytes(b"no picture")
    assert "1.png cannot be read as an image" in train(folder)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--arch", "unt"), "unknown architecture 'unt'; did you mean 'unet'? Known: unet, "),
        (("--arch", "unt"), " more: `ens list architectures`"),
        (("--loss", "dicee"), "unknown loss 'dicee'; did you mean 'dice'? Known: "),
        (("--loss", "0.5*dice + 0.5*focall"), "unknown loss 'focall'; did you mean 'focal'?"),
        (
            ("--arch", "unet-baseline(filers=3)"),
            "unknown option 'filers' of architecture 'unet-baseline'; did you mean 'filters'?",
        ),
        (
            ("--arch", "unet-baseline(filters=x)"),
            "expected a whole number for option filters of architecture 'unet-baseline'",
        ),
        (("--arch", "unet-baseline(filters=0)"), "filters"),
        (("--arch", "unet(filters=24"), "the bracket ( in 'unet(filters=24' is never closed; add )"),
        (
            ("--loss", "0.5*dice(smooth=1 + 0.5*ce"),
            "the bracket ( in '0.5*dice(smooth=1 + 0.5*ce' is never closed; add )",
        ),
        (
            ("--arch", "unet(filters)"),
            "expected the options of architecture 'unet' as name=value, got 'filters'; write",
        ),
        (("--loss", "ce(gamma=2)"), "gamma"),
        (("--arch", "unet(encoder=resnet18)"), "unknown option 'encoder' of architecture 'unet'"),
        (("--augment", "flipps"), "unknown augmentation 'flipps'; did you mean 'flips'?"),
        (("--background", "viod"), "unknown value 'viod' for background; did you mean 'void'?"),
        (("--keep", "bset"), "unknown value 'bset' for keep; did you mean 'best'?"),
        (("--device", "cpuu"), "unknown device 'cpuu'; did you mean 'cpu'?"),
        (("--precision", "float"), "unknown precision 'float'"),
        (("--folds", "1"), "expected folds of at least 2, got 1"),
        (("--folds", "13"), "expected at least 13 groups for 13 folds, got 12 (images of a group stay together)"),
        (("--val-fraction", "1.5"), "expected val_fraction below 1, got 1.5"),
        (
            ("--image-size", "64x64"),
            "use --input-size (whole images, resized for the network), --input-scale, or --crop",
        ),
        (("--input-size", "64"), "input_size: expected HEIGHTxWIDTH of at least 32x32, such as 64x128, got '64'"),
        (("--crop", "16x16"), "crop: expected HEIGHTxWIDTH of at least 32x32"),
        (
            ("--crop", "64x64"),
            "the crop 64x64 is larger than every image (at most 32 high and 32 wide); give a smaller one",
        ),
        (("--crop", "64x64", "--input-size", "64x64"), "input_size resizes whole images, so it takes no crop"),
        (("--input-scale", "2", "--input-size", "64x64"), "expected either input_size or input_scale, got both"),
        (("--budget", "5m"), "expected one of steps, epochs and budget, got epochs and budget"),
        (("--budget", "soon"), "expected a duration such as 90s, 5m or 1.5h, got 'soon'"),
        (("--lr", "-1"), "expected lr above 0, got -1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_of_train(train: Callable[..., str], tiny_npz: Path, options: tuple[str, ...], text: str) -> None:
    assert text in train(tiny_npz, *options)


def test_an_unknown_encoder(refused: Callable[..., str], tiny_npz: Path, tmp_path: Path) -> None:
    text = refused("train", tiny_npz, "--arch", "linknet(encoder=resnt18)", "--loss", "ce", "--out", tmp_path / "runs")
    assert "unknown encoder 'resnt18'; did you mean 'resnet18'? Known: " in text


@pytest.mark.parametrize("option", [("--epochs", "0"), ("--batch-size", "1"), ("--seed", "-1"), ("--lr", "fast")])
def test_numbers_out_of_range(ens: Ens, tiny_npz: Path, tmp_path: Path, option: tuple[str, str]) -> None:
    result = ens("train", tiny_npz, *TRAIN, *option, "--out", tmp_path / "runs")
    assert result.exit_code == 2
    assert option[0].strip("-").replace("-", "_") in result.stderr.replace("-", "_")
    assert list(tmp_path.iterdir()) == []


def test_a_class_absent_from_the_training_fold(
    train: Callable[..., str], npz: Callable[..., Path], tiny_arrays: Arrays
) -> None:
    masks = np.where(tiny_arrays["training_set"][:, 1] == 3, 1, tiny_arrays["training_set"][:, 1])
    masks[6, 20:, 20:] = 3  # one image, so that the fold that validates it has none to learn from
    training = np.stack([tiny_arrays["training_set"][:, 0], masks], axis=1)
    text = train(npz(training_set=training), "--folds", "3")
    assert "the class 'ripples' has no labelled pixel in the training part of fold " in text
    assert text.endswith("use fewer folds, another val_fraction, or more images of it")


def test_all_void(train: Callable[..., str], npz: Callable[..., Path], tiny_arrays: Arrays) -> None:
    text = train(npz(training_set=masks_set(tiny_arrays, slice(None), 0)))
    assert text.startswith("every pixel of every mask is void")
    assert "expected labelled pixels" in text
    assert "check the masks or background" in text


def test_one_class_only(train: Callable[..., str], npz: Callable[..., Path], tiny_arrays: Arrays) -> None:
    text = train(npz(training_set=masks_set(tiny_arrays, slice(None), 1), classes=np.array(["background", "soil"])))
    assert "expected at least two classes with labels besides void" in text


def test_no_room_on_the_disk(train: Callable[..., str], tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 0))  # pyright: ignore[reportUnknownLambdaType]
    text = train(tiny_npz)
    assert "MB of free disk for this member, got 0 MB in " in text
    assert text.endswith("free disk space or choose another folder")


def test_an_output_folder_that_cannot_be_written(train: Callable[..., str], tiny_npz: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    assert "expected a folder that can be written for " in train(tiny_npz)


def test_a_gpu_that_is_not_there(train: Callable[..., str], tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "torch finds no cuda device on this machine; use device cpu" in train(tiny_npz, "--device", "cuda")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--method", "averge"), "unknown method 'averge'; did you mean 'average'?"),
        (("--method", "weighted"), "expected 2 weights, one per member, got 0; write for example method"),
        (("--method", "weighted(weights=[1, 2, 3])"), "expected 2 weights, one per member, got 3"),
        (
            ("--method", "weighted(weights=[1, -2])"),
            "expected finite weights >= 0 that are not all zero, got 1, -2",
        ),
        (("--method", "weighted(weights=[0, 0])"), "expected finite weights >= 0 that are not all zero, got 0, 0"),
        (
            ("--method", "weighted(weights=[nan, 1])"),
            "expected a finite number for option weights of method 'weighted', got 'nan'",
        ),
        (
            ("--method", "weighted(weights=[a, b])"),
            "expected a number for option weights of method 'weighted', got 'a'",
        ),
        (("--method", "learned(weights=[1, 2])"), "unknown option 'weights' of method 'learned'"),
        (("unet-basline",), "unknown member 'unet-basline'; did you mean 'unet-baseline-"),
        (("unet-baseline-ce",), "expected at least two members to combine, got 1"),
        (("unet-baseline-ce", "unet-baseline-ce"), "was given twice; give each member once"),
        (("--folds", "9"), "expected at least 9 groups for 9 folds, got 3"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_of_combine(refused: Callable[..., str], runs: Path, options: tuple[str, ...], text: str) -> None:
    assert text in refused("combine", "--folds", "2", *options, "--runs", runs)  # a later --folds counts


def test_combining_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    text = refused("combine", "--runs", tmp_path / "none")
    assert f"there is no folder {tmp_path / 'none'}; train a member with `ens train` first, or choose another" in text


def test_a_truncated_member(refused: Callable[..., str], runs: Path) -> None:
    (chunk,) = (runs / "members").glob("*dice*/probabilities/validation/chunk*")
    chunk.write_bytes(chunk.read_bytes()[:-5])
    assert f"in {chunk}, got " in refused("combine", "--runs", runs)


def test_a_corrupted_member(refused: Callable[..., str], runs: Path) -> None:
    (chunk,) = (runs / "members").glob("*dice*/probabilities/validation/chunk*")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    text = refused("combine", "--runs", runs)
    assert f"{chunk} is damaged: its digest is not the one in the manifest; make the member again" in text


def test_a_member_that_lost_a_file(refused: Callable[..., str], runs: Path) -> None:
    (scores,) = (runs / "members").glob("*dice*/scores.json")
    scores.unlink()
    for command in ("combine", "results"):
        assert f"{scores} is missing; remove it with `ens remove unet-baseline-dice-" in refused(
            command, "--runs", runs
        )


def test_a_member_of_a_newer_version(refused: Callable[..., str], runs: Path) -> None:
    (status,) = (runs / "members").glob("*dice*/status.json")
    write_json(status, sealed(read_json(status) | {"format_version": 7}))
    for command in ("combine", "results"):
        assert "has format 7, but this version reads formats 1 and 2; upgrade" in refused(command, "--runs", runs)


def test_members_of_other_data(
    refused: Callable[..., str],
    runs: Path,
    npz: Callable[..., Path],
    tiny_arrays: Arrays,
    train_tiny: Callable[..., Any],
) -> None:
    training = tiny_arrays["training_set"].copy()
    training[0, 0] //= 2
    other = train_tiny(runs, data=npz(training_set=training), epochs=1)
    names = [path.name for path in sorted((runs / "members").iterdir()) if path.name != other.name]
    text = refused("combine", names[0], other.name, "--runs", runs)
    assert f"{other.name} was trained on another data than {names[0]}; combine members with the same data" in text
    assert "got 1 of the newest data set" in refused("combine", "--runs", runs)


def test_members_of_another_split(refused: Callable[..., str], runs: Path, train_tiny: Callable[..., Any]) -> None:
    other = train_tiny(runs, epochs=1, folds=2)
    names = [path.name for path in sorted((runs / "members").iterdir()) if path.name != other.name]
    text = refused("combine", names[0], other.name, "--runs", runs)
    assert f"{other.name} was trained on another split than {names[0]}" in text


def test_an_ensemble_given_as_a_member(ens: Ens, refused: Callable[..., str], runs: Path) -> None:
    path = ens(
        "combine", "--method", "average", "--folds", "2", "--runs", runs, "--quiet", "--no-picture"
    ).stdout.strip()
    member = next((runs / "members").iterdir())
    assert f"expected a member, got the ensemble {path}" in refused("combine", path, member, "--runs", runs)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("unet-baseline-cee", "DATA", "--out", "OUT/x.csv"),
            "unknown member or ensemble 'unet-baseline-cee'; did you",
        ),
        (
            ("MEMBER", "nowhere/", "--out", "OUT/x.csv"),
            "there is no file or folder nowhere; give an npz file (its test images), a data set (its test part), a"
            " folder, one image, 'sample', or 'stored' (the test images of the members' data)",
        ),
        (("MEMBER", "DATA", "--out", "OUT/x.tif"), "x.tif holds the mask of one image, but 5 images came; give a"),
        (
            ("MEMBER", "DATA", "--out", "OUT/x.csv", "--probabilities"),
            "csv holds masks only, but probabilities were asked for; write an npz, or a folder",
        ),
        (
            ("MEMBER", "DATA", "--out", "OUT/x.npz", "--uncertainty", "entropy, mutual-information"),
            "expected several members for the mutual information, which measures how much they disagree, but",
        ),
        (("MEMBER", "DATA", "--out", "OUT/x.csv", "--device", "gpu"), "unknown device 'gpu'"),
    ],
)
def test_options_of_predict(
    refused: Callable[..., str], runs: Path, tiny_npz: Path, tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    member = next((runs / "members").iterdir())
    places = {"MEMBER": str(member), "DATA": str(tiny_npz)}
    filled = [places.get(part, part).replace("OUT", str(tmp_path)) for part in arguments]
    assert text in refused("predict", *filled, "--runs", runs)


def test_images_with_other_bands(refused: Callable[..., str], runs: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "bands.tif", np.zeros((5, 32, 32), np.uint8), planarconfig="separate")
    member = next((runs / "members").iterdir())
    text = refused("predict", member, tmp_path / "bands.tif", "--out", tmp_path / "out")
    assert "expected 1 band (or 3 colours" in text
    assert "got 5 in " in text


def test_predicting_with_an_unfinished_member(refused: Callable[..., str], runs: Path, tiny_npz: Path) -> None:
    (status,) = (runs / "members").glob("*dice*/status.json")
    write_json(status, sealed(read_json(status) | {"state": "interrupted"}))
    text = refused("predict", status.parent, tiny_npz, "--out", runs / "x.csv")
    assert "is not finished; repeat its train command to resume it" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("results", "--runs", "nowhere"), "there is no folder nowhere; train a member with `ens train` first"),
        (("results", "--sort", "mio", "--runs", "RUNS"), "unknown column 'mio'; did you mean 'miou'?"),
        (("results", "--format", "xlsx", "--runs", "RUNS"), "unknown format 'xlsx'"),
        (
            ("results", "--format", "parquet", "--runs", "RUNS"),
            "expected a file for Parquet, which is binary; pass one as out",
        ),
        (("list", "loses"), "unknown list 'loses'; did you mean 'losses'?"),
        (("data", "summary", "nowhere.npz"), "there is no file or folder nowhere.npz"),
    ],
)
def test_options_of_the_others(refused: Callable[..., str], runs: Path, arguments: tuple[str, ...], text: str) -> None:
    assert text in refused(*(str(runs) if part == "RUNS" else part for part in arguments))


# ---------------------------------------------------------------- names that no file can have


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "summary", LONG),
        ("train", f"{LONG}.npz", *TRAIN),
        ("train", "DATA", *TRAIN, "--exclude", LONG),
        ("train", "DATA", *TRAIN, "--augment", f"{LONG}.toml"),
        ("train", "DATA", *TRAIN, "--out", LONG),
        ("train", "DATA", *TRAIN, "--plugin", f"{LONG}.py"),
        ("train", "DATA", "--arch", f"linknet(encoder=resnet18, encoder_weights={LONG}.pt)", "--loss", "ce"),
        ("study", f"{LONG}.toml"),
        ("predict", LONG, "DATA", "--out", "out"),
        ("predict", "MEMBER", LONG, "--out", "out"),
        ("predict", "MEMBER", "DATA", "--out", LONG),
        ("import-member", f"{LONG}.npz", "--data", "DATA", "--name", "x"),
        ("combine", LONG),
        ("combine", "--runs", LONG),
        ("results", "--runs", LONG),
        ("verify", "--runs", LONG),
        ("report", LONG),
        ("report", "--runs", "RUNS", "--out", f"{LONG}.html"),
        ("explain", LONG),
        ("remove", LONG),
    ],
    ids=lambda arguments: " ".join(part for part in arguments[:1]),
)
def test_a_name_that_is_too_long_is_one_sentence(
    refused: Callable[..., str], runs: Path, tiny_npz: Path, arguments: tuple[str, ...]
) -> None:
    places = {"DATA": tiny_npz, "MEMBER": next((runs / "members").iterdir()), "RUNS": runs}
    assert refused(*(places.get(part, part) for part in arguments))


def test_the_data_of_a_recipe_are_named_with_the_option_that_gives_others(
    ens: Ens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = ens("study", "grid", "--dry-run")
    assert result.exit_code == 2
    text = "error: the recipe grid is about mars.npz, and there is no such file or folder here; give --data\n"
    assert result.stderr.endswith(text)


def test_no_word_is_guessed_for_another_thing(ens: Ens, tmp_path: Path) -> None:
    result = ens("train", "sample", "--arch", "unet(encoder=resnet18)", "--out", tmp_path)
    assert "unknown option 'encoder' of architecture 'unet'. Known: " in " ".join(result.stderr.split())
