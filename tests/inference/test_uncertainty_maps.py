"""Maps of uncertainty: against entropies of SciPy, in every form of output, in tiles, kept, and refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import entropy

from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.data.formats.image_files import read_image
from ensemble.inference import batching, large_files, pooled_networks
from ensemble.inference.load import load
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor
from ensemble.inference.tiles import Tiling
from ensemble.inference.uncertainty_maps import UNCERTAINTIES, Predicted, with_information
from ensemble.inference.write_masks import predict
from ensemble.runs.folder import find_run

SIZES = {"a": (36, 40), "b": (32, 32), "c": (32, 32)}


@pytest.fixture(scope="module")
def model(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble of two members."""
    runs = tmp_path_factory.mktemp("uncertain") / "runs"
    shutil.copytree(tiny_runs, runs)
    return combine(method="average", calibrate="pool", runs=runs).ensemble.path


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return load(model)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, noise = tmp_path_factory.mktemp("images"), np.random.default_rng(1)
    for name, size in SIZES.items():
        Image.fromarray(noise.integers(0, 256, size, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def expected(predictor: Predictor, image: NDArray[np.generic]) -> dict[str, Any]:
    """The maps of one image, by SciPy's entropy."""
    pooled = predictor(image)
    members = np.stack([member.of(image[None])[0] for member in predictor.networks.members])
    between = entropy(members.mean(0), axis=0) - entropy(members, axis=1).mean(0)
    return {"entropy": entropy(pooled, axis=0), "mutual-information": between}


def test_maps_lie_next_to_the_masks(predictor: Predictor, model: Path, images: Path, tmp_path: Path) -> None:
    predict(model, images, tmp_path, uncertainty=UNCERTAINTIES, device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}{ending}" for name in SIZES for ending in (".png", ".entropy.tif", ".mutual-information.tif")
    }
    for name, size in SIZES.items():
        for kind, values in expected(predictor, read_image(images / f"{name}.png")).items():
            found = tifffile.imread(tmp_path / f"{name}.{kind}.tif")
            assert (found.shape, found.dtype) == (size, np.float32)
            np.testing.assert_allclose(found, values, atol=2e-6)


def test_an_npz_holds_maps(predictor: Predictor, model: Path, tiny_npz: Path, tmp_path: Path) -> None:
    predict(model, tiny_npz, tmp_path / "p.npz", uncertainty=UNCERTAINTIES, probabilities=True, device="cpu")
    predict(model, tiny_npz, tmp_path / "plain.npz", device="cpu")
    with np.load(tmp_path / "p.npz") as found, np.load(tmp_path / "plain.npz") as plain, np.load(tiny_npz) as data:
        names = ["classes", "entropy", "ids", "masks", "mutual_information", "probabilities"]
        assert (sorted(found.files), sorted(plain.files)) == (names, ["classes", "ids", "masks"])
        np.testing.assert_array_equal(found["masks"], plain["masks"])
        assert found["probabilities"].shape == (5, 3, 32, 32)
        for place, image in enumerate(data["test_set"]):
            for kind, values in expected(predictor, image[..., None]).items():
                np.testing.assert_allclose(found[kind.replace("-", "_")][place], values, atol=2e-6)


def test_maps_in_tiles_are_those_of_the_whole_image(
    predictor: Predictor, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (300, 210), dtype=np.uint8)).save(tmp_path / "x.png")
    whole = expected(predictor, read_image(tmp_path / "x.png"))
    monkeypatch.setattr(pooled_networks, "tiling_for", lambda *_: Tiling(160, 32))
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 50_000)
    predict(model, tmp_path / "x.png", tmp_path / "mask.tif", uncertainty=UNCERTAINTIES, device="cpu")
    for kind, values in whole.items():
        np.testing.assert_allclose(tifffile.imread(tmp_path / f"mask.{kind}.tif"), values, atol=1e-5)
    monkeypatch.setattr(large_files, "LARGE_PIXELS", 50_000)
    with pytest.raises(EnsError, match=r"of which more than the mask is written, got 300x210 in .*x\."):
        predict(model, tmp_path / "x.png", tmp_path / "other.tif", uncertainty=["entropy"], device="cpu")


@pytest.mark.parametrize("out", ["pictures", "archives.npz"])  # images of two sizes: a folder of archives
def test_a_repeated_command_adds_what_is_missing(model: Path, images: Path, tmp_path: Path, out: str) -> None:
    for kinds, is_there in (([], False), (["entropy"], False), (["entropy"], True), (UNCERTAINTIES, False)):
        notes = list[str]()
        predict(model, images, tmp_path / out, uncertainty=kinds, device="cpu", on_note=notes.append)
        kept = "3 of 3 predictions are there already, by the same model for the same images"
        assert (kept in notes) is is_there
    names = {path.name for path in (tmp_path / out).with_suffix("").iterdir()}
    if out == "pictures":
        assert {"a.entropy.tif", "a.mutual-information.tif"} <= names
    else:
        assert names == {"a.npz", "b.npz", "c.npz"}
        with np.load(tmp_path / "archives" / "a.npz") as found:
            assert {"entropy", "mutual_information"} <= set(found.files)


def test_what_cannot_be_written_is_one_sentence(model: Path, tiny_runs: Path, images: Path, tmp_path: Path) -> None:
    member = find_run("unet-baseline-dice", tiny_runs)
    for name, kinds, out, text in (
        (model, ["entropi"], "out", "unknown map of uncertainty 'entropi'; did you mean 'entropy'?"),
        (
            member,
            ["mutual-information"],
            "out",
            r"expected several members for the mutual information",
        ),
        (model, ["entropy"], "x.csv", "csv holds masks only, but maps of uncertainty were asked for; write an npz, or"),
    ):
        with pytest.raises(EnsError, match=text):
            predict(name, images, tmp_path / out, uncertainty=kinds, device="cpu")
    assert not list(tmp_path.iterdir())
    assert predict(member, images, tmp_path / "one", uncertainty=["entropy"], device="cpu") == 3


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_information_is_between_zero_and_its_limits(members: int, classes: int, seed: int) -> None:
    probs_mnchw = np.random.default_rng(seed).dirichlet(np.full(classes, 0.1), (members, 2, 3, 4))
    probs_mnchw = np.moveaxis(probs_mnchw, -1, 2).astype(np.float32)
    pooled = with_information(PooledNetworks([], lambda probs: probs.mean(0))).pool(probs_mnchw)
    one = Predicted([0, 1], pooled[:, :classes], pooled[:, classes])
    maps = one.maps(UNCERTAINTIES)
    np.testing.assert_array_equal(one.probs_nchw, probs_mnchw.mean(0))
    assert (maps["mutual-information"] >= 0).all()
    assert maps["mutual-information"].max() <= np.log(min(members, classes)) + 1e-4
    assert (maps["entropy"] - maps["mutual-information"] >= -1e-4).all()  # what remains is the members' mean entropy
    assert maps["entropy"].max() <= np.log(classes) + 1e-4
