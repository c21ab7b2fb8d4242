"""Augmentations as text: sums, options and TOML pipelines, complete without their files and harmless to masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import albumentations as A
import numpy as np
import pytest

from ensemble.core.component_text import parse_component
from ensemble.core.errors import EnsError, UnknownName
from ensemble.data import VOID, Dataset
from ensemble.data.augmentation.expression import (
    build_augmentation,
    describe_augmentation,
    resolve_augmentation,
    try_augmentation,
)
from ensemble.data.augmentation.pipelines import build_pipeline, read_pipeline, save_pipeline
from ensemble.data.augmentation.steps import AUGMENTATIONS
from ensemble.data.windows import TrainingImages

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)

# ---------------------------------------------------------------- names and options


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("flips", "flips"),
        ("hflip+scale( high=2 )", "hflip + scale(low=0.75, high=2.0, border=void)"),
        (" flips+geometric ", "flips + geometric"),
        ("copy-paste", "copy-paste(count=8, margin=2)"),
        ("copy-paste()", "copy-paste(count=8, margin=2)"),
        ("geometric + copy-paste( margin = 0,count=3 )", "geometric + copy-paste(count=3, margin=0)"),
        ("cutmix(alpha=2e+0) + flips", "cutmix(p=0.5, alpha=2.0) + flips"),
    ],
)
def test_the_canonical_text_is_complete_and_comes_back_unchanged(text: str, canonical: str) -> None:
    assert resolve_augmentation(text) == canonical
    assert resolve_augmentation(canonical) == canonical
    assert describe_augmentation(canonical) == canonical


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_every_option_has_a_default(name: str) -> None:
    assert parse_component(name, AUGMENTATIONS).options.keys() == AUGMENTATIONS.options(name).keys()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flip", r"unknown augmentation 'flip'; did you mean 'flips'\? Known: copy-paste, cutmix, flips, full"),
        ("flips + copypaste", "unknown augmentation 'copypaste'; did you mean 'copy-paste'"),
        ("copy-paste(cont=3)", "unknown option 'cont' of augmentation 'copy-paste'; did you mean 'count'"),
        ("copy-paste(count=few)", "expected a whole number for option count of augmentation 'copy-paste', got 'few'"),
        ("copy-paste(count=0)", "expected count >= 1 and margin >= 0 for 'copy-paste', got count=0, margin=2"),
        ("copy-paste(margin=-1)", "got count=8, margin=-1"),
        ("cutmix(p=1.5)", "expected p in 0..1 and alpha above 0 for 'cutmix', got p=1.5, alpha=1"),
        ("cutmix(alpha=0)", "got p=0.5, alpha=0"),
        ("", r"expected an augmentation written as name or name\(option=value, ...\), got ''"),
        ("flips +", "got ''"),
        ("flips geometric", "got 'flips geometric'"),
        ("copy-paste(count=3", r"the bracket \( in 'copy-paste\(count=3' is never closed; add \)"),
        ("copy-paste(3)", "expected the options of augmentation 'copy-paste' as name=value, got '3'"),
    ],
)
def test_mistakes_are_told(text: str, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        resolve_augmentation(text)


@pytest.mark.parametrize(("recipe", "value"), [("invert + halve", 0), ("halve + invert", 127)])
def test_steps_follow_one_another_from_left_to_right(
    recipe: str, value: int, dataset_of: Callable[..., Dataset]
) -> None:
    pipelines = {
        "invert": {"__class_fullname__": "InvertImg", "p": 1.0},  # 200 -> 55, 128 -> 127
        "halve": {"__class_fullname__": "Posterize", "p": 1.0, "num_bits": [1, 1]},  # 200 -> 128, 55 -> 0
    }
    images, labels = np.full((2, 32, 32, 1), 200, np.uint8), np.zeros((2, 32, 32), np.uint8)
    augment = build_augmentation(
        {"recipe": recipe, "pipelines": pipelines}, TrainingImages(dataset_of(images, labels), np.arange(2))
    )
    changed, _ = augment(images, labels, np.random.default_rng(0))
    assert set(np.unique(changed)) == {value}


# ---------------------------------------------------------------- pipelines from TOML


def own_pipeline() -> A.Compose:
    choice = A.OneOf([A.HorizontalFlip(p=1.0), A.GaussNoise(std_range=(0.05, 0.1), p=0.5)], p=0.8)
    return A.Compose([choice, A.Rotate(limit=(-20, 20), fill_mask=VOID, p=0.7), A.Blur(p=0.2)], p=0.9)


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def transform(name: str, *lines: str) -> str:
    return "\n".join(["[transform]", f'__class_fullname__ = "{name}"', *lines])


def test_the_pipeline_that_the_page_shows_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "ensemble" / "data" / "README.md").read_text(encoding="utf-8")
    shown = page.split("```toml\n# mine.toml")[1].split("```")[0]
    kinds = [each["__class_fullname__"] for each in read_pipeline(Path(written(tmp_path, "#" + shown)))["transforms"]]
    assert kinds == ["Rotate", "MotionBlur"]


def test_a_saved_pipeline_is_read_back_with_all_its_arguments(tmp_path: Path) -> None:
    save_pipeline(own_pipeline(), tmp_path / "mine.toml")
    found = read_pipeline(tmp_path / "mine.toml")
    assert found == json.loads(json.dumps(A.to_dict(own_pipeline())["transform"]))
    assert json.loads(json.dumps(found)) == found


def test_a_member_can_be_made_again_when_the_file_is_gone(tmp_path: Path, dataset_of: Callable[..., Dataset]) -> None:
    save_pipeline(own_pipeline(), tmp_path / "mine.toml")
    content = resolve_augmentation(f"{tmp_path / 'mine.toml'} + cutmix")
    assert isinstance(content, dict)
    assert content["recipe"] == describe_augmentation(content) == "mine.toml + cutmix(p=0.5, alpha=1.0)"
    (tmp_path / "mine.toml").unlink()
    images = IMAGE[None].repeat(6, 0)
    labels = np.random.default_rng(1).integers(0, 3, (6, 48, 64)).astype(np.uint8)
    donors = TrainingImages(dataset_of(images, labels), np.arange(6))
    one, two = (
        build_augmentation(made, donors)(images, labels, np.random.default_rng(0))
        for made in (content, json.loads(json.dumps(content)))
    )
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(one[0], images)
    assert set(np.unique(one[1])) == {0, 1, 2, VOID}  # Rotate fills corners


def test_a_file_does_what_albumentations_does(tmp_path: Path, dataset_of: Callable[..., Dataset]) -> None:
    content = resolve_augmentation(written(tmp_path, transform("HorizontalFlip", "p = 1.0")))
    labels = np.arange(48 * 64).reshape(1, 48, 64).astype(np.uint8) % 3
    augment = build_augmentation(content, TrainingImages(dataset_of(IMAGE[None], labels), np.arange(1)))
    images, moved = augment(IMAGE[None], labels, np.random.default_rng(0))
    np.testing.assert_array_equal(images[0], IMAGE[:, ::-1])
    np.testing.assert_array_equal(moved, labels[:, :, ::-1])


def test_arguments_of_base_classes_are_not_written(tmp_path: Path) -> None:
    """Albumentations serialises arguments that RGBShift and SafeRotate themselves refuse."""
    save_pipeline(A.Compose([A.RGBShift(), A.SafeRotate(fill_mask=VOID)]), tmp_path / "mine.toml")
    shift, rotate = read_pipeline(tmp_path / "mine.toml")["transforms"]
    assert "noise_type" not in shift
    assert "shear" not in rotate
    assert rotate["limit"] == [-90.0, 90.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[", "cannot be read as TOML"),
        ("p = 1", r"expected the table \[transform\] in .*mine.toml"),
        ("[transform]\np = 1.0", "expected the name of every transform in mine.toml as __class_fullname__"),
        (transform("HorizontalFlop", "p = 1.0"), "'HorizontalFlop' in mine.toml; did you mean 'HorizontalFlip'"),
        (transform("Blur", "p = 1.0", "limit = 3"), "Argument.* 'limit' are not valid for transform Blur"),
        (transform("Blur"), "Transform Blur has no 'p' parameter"),
        (transform("Blur", "p = 'often'"), "mine.toml is no pipeline that albumentations 2.* takes: 1 validation err"),
        (transform("Compose"), "missing 1 required positional argument: 'transforms'"),
        (transform("Rotate", "p = 0.5"), r"expected fill_mask = 255 \(void\) for Rotate in mine.toml, got 0.0"),
        (transform("PixelDropout", "p = 0.5", "mask_drop_value = 1"), "expected mask_drop_value = 255"),
        (
            transform("Rotate", "p = 0.5", "fill_mask = 255", "mask_interpolation = 1"),
            r"expected mask_interpolation = 0 \(nearest\) for Rotate in mine.toml, got 1",
        ),
        (
            transform("OneOf", "p = 1.0", 'transforms = [{__class_fullname__ = "Affine", p = 1.0}]'),
            "expected fill_mask = 255",
        ),
        (
            transform("SelectiveChannelTransform", "p = 1.0", 'transforms = [{__class_fullname__ = "Blur", p = 1.0}]'),
            "does not serialise the channels of SelectiveChannelTransform",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EnsError, match=message):
        resolve_augmentation(written(tmp_path, text))


@pytest.mark.parametrize("lines", [("fill_mask = 255",), ("border_mode = 4",)])  # 4: mirrored, nothing filled in
def test_pipelines_that_keep_masks_masks_are_taken(tmp_path: Path, lines: tuple[str, ...]) -> None:
    try_augmentation(resolve_augmentation(written(tmp_path, transform("Rotate", "p = 0.1", *lines))), IMAGE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (transform("Transpose", "p = 0.01"), r"turns \(48, 64, 3\) uint8 into \(64, 48, 3\) uint8"),
        (transform("ToFloat", "p = 0.01"), r"turns \(48, 64, 3\) uint8 into \(48, 64, 3\) float32"),
        (transform("RandomCrop", "p = 0.01", "height = 90", "width = 90", "fill_mask = 255"), "take"),
        # it has no fill_mask, and brings zeros in
        (transform("GridElasticDeform", "p = 0.01", "num_grid_xy = [4, 4]", "magnitude = 8"), "such as 0; use nearest"),
    ],
)
def test_what_cannot_be_seen_in_the_file_is_seen_on_an_image(tmp_path: Path, text: str, message: str) -> None:
    content = resolve_augmentation(written(tmp_path, text))
    with pytest.raises(EnsError, match=message):
        try_augmentation(content, IMAGE)


def test_grey_images_and_normalised_ones_are_refused_where_the_pipeline_does_not_fit(tmp_path: Path) -> None:
    colours = resolve_augmentation(written(tmp_path, transform("HueSaturationValue", "p = 0.5")))
    try_augmentation(colours, IMAGE)
    bands = np.zeros((48, 64, 5), np.uint8)
    with pytest.raises(EnsError, match=r"mine.toml cannot take an image \(h, w, bands\) of \(48, 64, 5\) uint8: "):
        try_augmentation(colours, bands)
    normalised = resolve_augmentation(written(tmp_path, transform("Normalize", "p = 0.5")))
    with pytest.raises(EnsError, match=r"leaves pixels in -2.*; expected 0..1, remove what normalises them"):
        try_augmentation(normalised, (IMAGE / 255).astype(np.float32))


def test_names_alone_have_nothing_to_try() -> None:
    try_augmentation("geometric + copy-paste(count=8, margin=2)", IMAGE)


def test_pipelines_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match="expected fill_mask = 255"):
        save_pipeline(A.Compose([A.Rotate()]), tmp_path / "mine.toml")
    with pytest.raises(EnsError, match="this pipeline cannot be saved as text"):
        save_pipeline(A.Compose([A.FDA(metadata_key="others")]), tmp_path / "mine.toml")
    assert not (tmp_path / "mine.toml").exists()


def test_two_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [
        written(tmp_path / "a", transform("Blur", "p = 0.5")),
        written(tmp_path / "b", transform("Blur", "p = 1.0")),
    ]
    with pytest.raises(EnsError, match=r"two different files are called mine\.toml"):
        resolve_augmentation(" + ".join(paths))
    content = resolve_augmentation(f"{paths[0]} + flips + {paths[0]}")
    assert describe_augmentation(content) == "mine.toml + flips + mine.toml"


def test_a_missing_file_is_told() -> None:
    with pytest.raises(EnsError, match=r"there is no file nowhere/mine.toml; check the path"):
        resolve_augmentation("nowhere/mine.toml")


def test_an_unknown_transform_is_an_unknown_name() -> None:
    with pytest.raises(UnknownName):
        build_pipeline({"__class_fullname__": "Turn", "p": 1.0}, "mine.toml")
