"""New images: planted disagreement ranks first, groups and near-duplicates, and what is left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.inference import batching
from ensemble.inference.disagreement import load_members
from ensemble.inference.image_sources import Images, Stack
from ensemble.inference.open_images import open_images
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor
from ensemble.inference.resizing import Resizing
from ensemble.report import choose_next
from ensemble.report.choose_next import choose_new
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member

SURE = 0.9


@dataclass(frozen=True)
class Planted:
    """A network that says the first class of dark pixels, and another class of bright ones."""

    bright: int
    resizing: Resizing = field(default_factory=Resizing)
    reach: int = 0
    side: int = 512
    device: str = "cpu"

    def of(self, images_nhwc: NDArray[Any], *, tiles: bool = False) -> NDArray[np.float32]:
        decided_nhw = np.where(images_nhwc[..., 0] >= 128, self.bright, 0)
        found = np.where(decided_nhw[:, None] == np.arange(3)[:, None, None], SURE, (1 - SURE) / 2)
        return found.astype(np.float32)


@pytest.fixture(scope="module")
def predictor(tiny_runs: Path) -> Predictor:
    """Two members that disagree about bright pixels."""
    members: list[Any] = [Planted(0), Planted(1)]
    loaded = load_members([Member.open(path) for path in find_members(tiny_runs)])
    return replace(loaded, networks=PooledNetworks(members, Pool.uniform(2, 3)))


def full_information() -> float:
    """Mutual information where the two members disagree: entropy of their mean, minus that of one."""
    rest = (1 - SURE) / 2
    mean, one = np.array([(SURE + rest) / 2, (SURE + rest) / 2, rest]), np.array([SURE, rest, rest])
    return float((one * np.log(one)).sum() - (mean * np.log(mean)).sum())


def image(seed: int, bright: int) -> NDArray[np.uint8]:
    """Dark clouds (40, 40), of which this number of pixels is bright."""
    small = np.random.default_rng(seed).random((6, 6))
    pixels = np.asarray(Image.fromarray((100 * small).astype(np.uint8)).resize((40, 40), Image.Resampling.BICUBIC))
    order = np.argsort(-pixels, axis=None, kind="stable")
    pixels = pixels.clip(0, 100).ravel()
    pixels[order[:bright]] = 200
    return pixels.reshape(40, 40)


def write(folder: Path, images: dict[str, NDArray[np.uint8]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("tiled", [False, True])
def test_planted_disagreement_ranks_first(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tiled: bool
) -> None:
    monkeypatch.setattr(batching, "WHOLE_PIXELS", 1000 if tiled else 10**6)
    bright = {"a": 20, "b": 800, "c": 0, "d": 300, "e": 160}
    folder = write(tmp_path, {name: image(seed, count) for seed, (name, count) in enumerate(bright.items())})
    found = choose_new(predictor, open_images(folder), 4)
    assert (found.ids, found.total) == (["b", "d", "e", "a"], 5)
    expected = [bright[name] / 1600 * full_information() for name in found.ids]
    assert found.information == pytest.approx(expected, abs=1e-6)
    for name, (picture, map_hw) in zip(found.ids, found.pictures, strict=True):
        assert picture.shape == (40, 40, 3)
        np.testing.assert_allclose(
            map_hw, (image("abcde".index(name), bright[name]) == 200) * full_information(), atol=1e-6
        )


def test_near_duplicates_are_chosen_once_and_the_best_of_each_group_first(predictor: Predictor, tmp_path: Path) -> None:
    images = {"berlin_1": image(0, 700), "oslo_1": image(0, 709), "berlin_2": image(1, 500), "rome_1": image(2, 100)}
    folder = write(tmp_path / "test", images)
    found = choose_new(predictor, open_images(folder), 9)
    assert found.ids == ["oslo_1", "berlin_2", "rome_1"]
    found = choose_new(predictor, described(tmp_path, "^([a-z]+)_"), 9)
    assert (found.ids, found.groups) == (["oslo_1", "berlin_2", "rome_1"], ["oslo", "berlin", "rome"])
    write(folder, {"berlin_3": image(3, 1000), "berlin_4": image(4, 900)})
    found = choose_new(predictor, described(tmp_path, "^([a-z]+)_"), 9)
    assert found.ids == ["berlin_3", "oslo_1", "rome_1", "berlin_4", "berlin_2"]


def described(root: Path, pattern: str) -> Images:
    """Open the test images of a description with this pattern of names."""
    (root / "data.toml").write_text(
        f"group_pattern = '{pattern}'\n[train]\nimages = 'images/{{id}}.png'\nmasks = 'masks/{{id}}.png'\n"
        "[test]\nimages = 'test/{id}.png'\n"
    )
    write(root / "images", {"x": image(99, 5)})
    write(root / "masks", {"x": image(99, 5) // 128})
    return open_images(root / "data.toml")


def test_a_map_that_was_given_up_too_early_is_predicted_again(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first image takes the place of the third one, until its near-duplicate in another group is seen."""
    bright = {"g2_a": 400, "g1_c": 350, "g2_b": 300, "g1_x": 409, "g1_y": 600}
    images = {name: image(0 if name == "g1_x" else seed, bright[name]) for seed, name in enumerate(bright)}
    order = {name: f"{place}_{name}" for place, name in enumerate(images)}  # predicted in this order
    write(tmp_path / "test", {order[name]: pixels for name, pixels in images.items()})
    predicted, disagreements = list[int](), choose_next.disagreements

    def counted(*arguments: Any) -> Any:
        for one in disagreements(*arguments):
            predicted.append(one.row)
            yield one

    monkeypatch.setattr(choose_next, "disagreements", counted)
    found = choose_new(predictor, described(tmp_path, "_(g.)_"), 2)
    assert found.ids == [order["g1_y"], order["g2_b"]]
    assert predicted == [0, 1, 2, 3, 4, 2]
    np.testing.assert_allclose(found.pictures[1][1], (images["g2_b"] == 200) * full_information(), atol=1e-6)


def test_labelled_copies_are_left_out_also_those_that_were_held_out(
    predictor: Predictor, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    labelled = tiny_arrays["training_set"][:, 0]
    folder, notes = write(tmp_path / "new", {f"old{row}": labelled[row] for row in range(24)}), list[str]()
    with pytest.raises(
        EnsError, match=r"hold labelled copies of all 24 \(old0, old1, old10, \.\.\.\); give other images"
    ):
        choose_new(predictor, open_images(folder), 3)
    write(folder, {"new": image(0, 700)[:32, :32], "small": image(1, 10)[:30]})
    found = choose_new(predictor, open_images(folder), 3, on_note=notes.append)
    assert (found.ids, found.total) == (["new", "small"], 2)
    assert notes == ["left out, because the members' data hold labelled copies: 24 images (old0, old1, old10, ...)"]


def test_training_data_that_changed_are_named(
    predictor: Predictor, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    members = [
        replace(member, facts=member.facts.model_copy(update={"data_hash": "f" * 32})) for member in predictor.members
    ]
    notes, stack = list[str](), Stack(["0"], tiny_arrays["training_set"][:1, 0, ..., None], "stack")
    found = choose_new(replace(predictor, members=tuple(members)), stack, 3, on_note=notes.append)
    assert found.ids == ["0"]
    (note,) = notes
    assert note.endswith("tiny.npz are not as they were, so copies of their images are not found")


def test_notes_on_bands_and_dark_images(predictor: Predictor, tmp_path: Path) -> None:
    notes = list[str]()
    dark = np.zeros((9, 9, 3), np.uint8)
    dark[:, 5:, 2] = 1  # a little blue
    found = choose_new(predictor, open_images(write(tmp_path, {"a": dark})), 1, on_note=notes.append)
    np.testing.assert_array_equal(found.pictures[0][0], 255 * dark)  # in its own colours
    assert notes[0].startswith("this model knows grey images, but got 1 colour image (a)")
    assert notes[1].startswith("no pixel of the images is above 1")
    four = Stack(["0"], np.zeros((1, 9, 9, 4), np.uint8), "four.npz")
    with pytest.raises(EnsError, match=r"expected 1 band \(or 3 colours, .* for the members, got 4 in image 0 of four"):
        choose_new(predictor, four, 1)
    with pytest.raises(EnsError, match="expected images of which the next ones to label are chosen, got none"):
        choose_new(predictor, Stack([], np.zeros((0, 9, 9, 1), np.uint8), "none"), 1)
