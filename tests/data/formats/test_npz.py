"""npz files in the homework layout: what is accepted, what is refused and in which words, what is never loaded."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.arrays import read_npz
from ensemble.core.errors import EnsError
from ensemble.data.formats.npz import MARS_CLASSES, from_arrays, open_npz
from ensemble.data.formats.pixels import limits_of, pixel_span, to_unit

Arrays = dict[str, Any]
UNPICKLED: list[str] = []


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return UNPICKLED.append, ("boom",)


@pytest.fixture
def arrays() -> Arrays:
    generator = np.random.default_rng(0)
    training = generator.integers(0, 256, (4, 2, 5, 6), dtype=np.uint8)
    training[:, 1] %= 3
    return {
        "training_set": training,
        "test_set": generator.integers(0, 256, (3, 5, 6), dtype=np.uint8),
        "training_groups": np.array(["a", "a", "b", "c"]),
        "classes": np.array(["background", "sky", "sea"]),
    }


def save(path: Path, arrays: Arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_all_keys_are_read(tmp_path: Path, arrays: Arrays) -> None:
    source = open_npz(save(tmp_path / "d.npz", arrays))
    assert source.ids == ("0", "1", "2", "3")
    assert source.test_ids == ("0", "1", "2")
    assert source.groups == ("a", "a", "b", "c")
    assert source.names == {0: "background", 1: "sky", 2: "sea"}
    assert source.default_background == "void"
    assert source.images_nhwc.dtype == np.uint8
    np.testing.assert_array_equal(source.images([2, 0]), arrays["training_set"][[2, 0], 0, :, :, None])
    np.testing.assert_array_equal(source.masks([3]), arrays["training_set"][[3], 1])
    np.testing.assert_array_equal(source.test_images(range(3)), arrays["test_set"][..., None])


def test_only_the_training_set_is_required(tmp_path: Path, arrays: Arrays) -> None:
    source = open_npz(save(tmp_path / "d.npz", {"training_set": arrays["training_set"]}))
    assert source.test_ids == ()
    assert source.groups is None
    assert source.names is None
    assert source.test_images([]).shape == (0, 5, 6, 1)


def test_numbers_are_fine_as_groups(arrays: Arrays) -> None:
    assert from_arrays({**arrays, "training_groups": np.arange(4)}, "d").groups == ("0", "1", "2", "3")


@pytest.mark.parametrize(("shape", "top", "named"), [((64, 128), 4, True), ((64, 128), 3, False), ((64, 64), 4, False)])
def test_tiles_of_the_homework_get_its_class_names(shape: tuple[int, int], top: int, named: bool) -> None:
    training = np.zeros((2, 2, *shape), np.uint8)
    training[0, 1, 0, 0], training[1, 1, 0, 0] = top, 255
    assert from_arrays({"training_set": training}, "d").names == (MARS_CLASSES if named else None)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float32, 1), (np.float64, 1 / 255), (np.uint16, 257), (np.int64, 1), (np.float16, 1)],
)
def test_every_number_type_becomes_the_same_pixels(arrays: Arrays, dtype: Any, scale: float) -> None:
    grey = arrays["training_set"][:, 0]
    raw = (grey * np.float64(scale)).astype(dtype)
    converted = to_unit(raw, pixel_span({"x": limits_of(raw)}, raw.dtype), "x")
    assert converted.dtype == np.float32
    assert converted.max() <= 1
    np.testing.assert_allclose(converted.astype(np.float64), grey / 255, atol=1e-3 if dtype is np.float16 else 1e-6)


def test_one_scale_serves_training_and_test(arrays: Arrays) -> None:
    training = arrays["training_set"].astype(np.float32)
    dark = np.full((1, *training.shape[2:]), 0.5, np.float64)  # alone it would pass for 0..1
    source = from_arrays({"training_set": training, "test_set": np.concatenate([dark, dark * 510])}, "d")
    assert source.span == (0, 255)
    np.testing.assert_allclose(source.test_images([0, 1])[:, 0, 0, 0].astype(np.float64), [0.5 / 255, 1], atol=1e-6)


def test_float_training_set_holds_float_masks(arrays: Arrays) -> None:
    source = from_arrays({**arrays, "training_set": arrays["training_set"].astype(np.float32)}, "d")
    np.testing.assert_array_equal(source.masks_nhw, arrays["training_set"][:, 1])
    assert source.masks_nhw.dtype == np.uint8
    assert source.images_nhwc.dtype == np.float32


def test_a_training_set_with_nan_or_text_is_refused(arrays: Arrays) -> None:
    training = arrays["training_set"].astype(np.float32)
    training[0, 0, 0, 0] = np.nan
    with pytest.raises(EnsError, match="pixels in image 0 of training_set of d, got NaN or infinity at 1 of 30 values"):
        from_arrays({"training_set": training}, "d")
    with pytest.raises(EnsError, match=r"whole numbers|expected numbers as training_set in d, got <U"):
        from_arrays({"training_set": arrays["training_set"].astype(str)}, "d")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"training_set": np.zeros((4, 5, 6), np.uint8)}, r"training_set of shape \(N, 2, H, W\) .* got \(4, 5, 6\)"),
        ({"training_set": np.zeros((4, 3, 5, 6), np.uint8)}, r"got \(4, 3, 5, 6\)"),
        ({"training_set": np.zeros((0, 2, 5, 6), np.uint8)}, r"got \(0, 2, 5, 6\)"),
        ({"test_set": np.zeros((3, 5, 7), np.uint8)}, r"test_set of shape \(M, 5, 6\) .* got \(3, 5, 7\)"),
        ({"test_set": np.zeros((5, 6), np.uint8)}, r"got \(5, 6\)"),
        ({"training_groups": np.arange(3)}, r"training_groups of shape \(4,\), one per image, got \(3,\)"),
    ],
)
def test_wrong_shapes_say_what_was_expected(arrays: Arrays, changes: Arrays, text: str) -> None:
    with pytest.raises(EnsError, match=text):
        from_arrays({**arrays, **changes}, "d.npz")


def test_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"there is no file or folder .*gone\.npz; give an npz .* or 'sample'"):
        open_npz(tmp_path / "gone.npz")


def test_missing_key_lists_what_was_found(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", {"y": np.zeros(1), "x": np.zeros(1)})
    with pytest.raises(EnsError, match=r"expected the key 'training_set' \(N, 2, H, W\) in .*, found x, y; add it"):
        open_npz(path)


def test_a_zip_archive_without_arrays_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("training_set", "hello")
    with pytest.raises(EnsError, match="found nothing; add it"):
        open_npz(path)


@pytest.mark.parametrize("key", ["training_set", "training_groups", "classes"])
def test_objects_in_an_npz_are_never_loaded(tmp_path: Path, arrays: Arrays, key: str) -> None:
    bombs = np.array([Bomb()] * 4, dtype=object)
    path = tmp_path / "d.npz"
    changed: Arrays = {**arrays, key: bombs}
    np.savez(path, **changed)
    with pytest.raises(EnsError, match=rf"holds Python objects under '{key}', which are never loaded .*save it as"):
        open_npz(path)
    assert not UNPICKLED


def test_a_pickle_that_is_called_npz_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(EnsError, match=r"is not an npz file or was cut short .*numpy\.savez_compressed"):
        open_npz(path)
    assert not UNPICKLED


def test_a_pickle_followed_by_a_zip_archive_is_never_loaded(tmp_path: Path, arrays: Arrays) -> None:
    path = tmp_path / "d.npz"
    path.write_bytes(pickle.dumps(Bomb()) + save(tmp_path / "good.npz", arrays).read_bytes())
    with pytest.raises(EnsError, match="is not an npz file"):
        open_npz(path)
    assert not UNPICKLED


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, arrays: Arrays, share: float) -> None:
    path = save(tmp_path / "d.npz", arrays)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(EnsError, match="cut short"):
        open_npz(path)


def test_a_flipped_byte_is_an_error_or_harmless(tmp_path: Path, arrays: Arrays) -> None:
    content = save(tmp_path / "d.npz", arrays).read_bytes()
    path, refused = tmp_path / "flipped.npz", 0
    for position in range(0, len(content), 3):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            found = read_npz(path)
        except EnsError:
            refused += 1
        else:
            assert all((found[key] == arrays[key]).all() for key in set(found) & set(arrays))
    assert refused > len(content) / 6  # some bytes of an archive are dates and the like


def test_fingerprint_is_of_the_content_not_of_the_place(tmp_path: Path, arrays: Arrays) -> None:
    (tmp_path / "elsewhere").mkdir()
    first = open_npz(save(tmp_path / "a.npz", arrays)).fingerprint
    np.savez(tmp_path / "elsewhere" / "b.npz", **dict(reversed(arrays.items())))  # other order, not compressed
    assert open_npz(tmp_path / "elsewhere" / "b.npz").fingerprint == first


def test_fingerprint_changes_with_each_part(arrays: Arrays) -> None:
    pixel, test, type_ = arrays["training_set"].copy(), arrays["test_set"].copy(), arrays["test_set"].astype(np.float32)
    pixel[0, 0, 0, 0] ^= 1
    test[0, 0, 0] ^= 1
    variants: list[Arrays] = [
        arrays,
        {**arrays, "training_set": pixel},
        {**arrays, "test_set": test},
        {**arrays, "test_set": type_},
        {**arrays, "training_groups": np.array(["a", "b", "b", "c"])},
        {**arrays, "classes": np.array(["background", "sky", "land"])},
        {**arrays, "classes": np.array(["background", "sky", "sea", "land"])},
        {key: value for key, value in arrays.items() if key != "classes"},
        {key: value for key, value in arrays.items() if key != "test_set"},
        {key: value for key, value in arrays.items() if key != "training_groups"},
    ]
    assert len({from_arrays(variant, "d").fingerprint for variant in variants}) == len(variants)
