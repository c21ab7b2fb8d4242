"""Near-duplicates and their cache."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ensemble.config import DataSettings
from ensemble.core.cache import Cache
from ensemble.data import Dataset, open_dataset
from ensemble.data import dataset as dataset_module
from ensemble.data import groups as groups_module
from ensemble.data.groups import image_groups, perceptual_hashes


def scenery(seed: int) -> NDArray[np.uint8]:
    """Smooth clouds, a different picture for each seed."""
    small = np.random.default_rng(seed).integers(20, 200, (6, 9), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((72, 48), Image.Resampling.BICUBIC))


def dataset(tmp_path: Path, images: list[NDArray[np.uint8]], name: str = "d", **more: Any) -> Dataset:
    stack = np.stack(images)
    masks = np.zeros_like(stack)
    masks[:, 2:], masks[:, 5:] = 1, 2
    np.savez(tmp_path / f"{name}.npz", training_set=np.stack([stack, masks], axis=1), **more)
    return open_dataset(DataSettings(source=str(tmp_path / f"{name}.npz")))


def compressed(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="jpeg", quality=30)
    return np.asarray(Image.open(stream))


def test_copies_share_a_group_and_other_images_do_not(tmp_path: Path, cache: Path) -> None:
    base = scenery(0)
    images = [
        base,
        scenery(1),
        compressed(base),
        (base * 0.8 + 30).astype(np.uint8),
        scenery(2),
        compressed(scenery(1)),
    ]
    assert image_groups(dataset(tmp_path, images)) == tuple(f"image-{n}" for n in (0, 1, 0, 0, 2, 1))


def test_unlike_images_stay_apart(tmp_path: Path, cache: Path) -> None:
    assert len(set(image_groups(dataset(tmp_path, [scenery(seed) for seed in range(40)])))) == 40


def test_copies_are_found_across_batches(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "BATCH", 2)
    monkeypatch.setattr(groups_module, "CHUNK", 3)
    ticks: list[tuple[str, int, int]] = []
    images = [scenery(0), scenery(1), scenery(2), scenery(3), compressed(scenery(3))]
    groups = image_groups(dataset(tmp_path, images), lambda task, done, total, *_: ticks.append((task, done, total)))
    assert groups[3] == groups[4]
    assert len(set(groups)) == 4
    assert ticks == [("looking for near-duplicates", done, 5) for done in (2, 4, 5)]


def test_uniform_images_do_not_chain(tmp_path: Path, cache: Path) -> None:
    flat = [np.full((48, 72), grey, np.uint8) for grey in (10, 60, 200, 10)]
    noise = [np.random.default_rng(n).integers(99, 102, (48, 72), dtype=np.uint8) for n in range(3)]
    groups = image_groups(dataset(tmp_path, [*flat, *noise, scenery(0)]))
    assert groups[0] == groups[3]  # the same image twice
    assert len(set(groups)) == 7


def test_equal_hashes_alone_link_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups_module, "perceptual_hashes", lambda *_: np.zeros(5, np.uint64))
    images = [scenery(0), scenery(1), scenery(2), compressed(scenery(0)), np.full((48, 72), 50, np.uint8)]
    assert image_groups(dataset(tmp_path, images)) == tuple(f"image-{n}" for n in (0, 1, 2, 0, 3))


def test_given_groups_are_kept_and_nothing_is_hashed(tmp_path: Path, cache: Path) -> None:
    data = dataset(tmp_path, [scenery(0), scenery(0)], training_groups=np.array(["a", "b"]))
    assert image_groups(data) == ("a", "b")
    assert not cache.exists()


def test_float_images_hash_like_their_bytes(tmp_path: Path, cache: Path) -> None:
    images = [scenery(seed) for seed in range(4)]
    stack = np.stack(images).astype(np.uint16) * 257
    np.savez(tmp_path / "wide.npz", training_set=np.stack([stack, (stack > 9_000) + np.uint16(stack > 30_000)], axis=1))
    wide = perceptual_hashes(open_dataset(DataSettings(source=str(tmp_path / "wide.npz"))))
    distance = np.bitwise_count(wide ^ perceptual_hashes(dataset(tmp_path, images)))
    assert distance.max() <= 2


# ---------------------------------------------------------------- the cache


def test_hashes_are_made_once_and_read_after(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path, [scenery(0), scenery(1)])
    first = perceptual_hashes(data)
    assert [file.name for file in cache.iterdir()] == [f"phash-v2-{data.source.fingerprint}.bin"]
    with monkeypatch.context() as patch:
        patch.setattr("imagehash.phash", lambda *_: pytest.fail("hashed again"))
        np.testing.assert_array_equal(perceptual_hashes(data), first)
    other = dataset(tmp_path, [scenery(1), scenery(0)], name="other")
    np.testing.assert_array_equal(perceptual_hashes(other), first[::-1])


def test_no_flipped_byte_of_the_cache_changes_the_split(tmp_path: Path, cache: Path) -> None:
    data = dataset(tmp_path, [scenery(0), scenery(1), compressed(scenery(0)), scenery(2)])
    first, groups = perceptual_hashes(data), image_groups(data)
    file = cache / f"phash-v2-{data.source.fingerprint}.bin"
    content = file.read_bytes()
    for position in range(len(content)):
        file.write_bytes(content[:position] + bytes([content[position] ^ 0x40]) + content[position + 1 :])
        np.testing.assert_array_equal(perceptual_hashes(data), first)
        assert file.read_bytes() == content  # it was made again
    assert image_groups(data) == groups


@pytest.mark.parametrize("damage", ["empty", "short", "text", "other data", "other version"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    data = dataset(tmp_path, [scenery(0), scenery(1)])
    first = perceptual_hashes(data)
    file = cache / f"phash-v2-{data.source.fingerprint}.bin"
    content = file.read_bytes()
    wrong = {
        "empty": b"",
        "short": content[:-3],
        "text": b"nothing of the kind",
        "other data": Cache("phash", 2, "0" * 32).packed(bytes(16)),
        "other version": Cache("phash", 1, data.source.fingerprint).packed(bytes(16)),
    }
    file.write_bytes(wrong[damage])
    np.testing.assert_array_equal(perceptual_hashes(data), first)
    assert file.read_bytes() == content


def test_groups_are_remembered(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = scenery(0)
    data = dataset(tmp_path, [base, scenery(1), compressed(base)])
    groups = image_groups(data)
    assert groups == ("image-0", "image-1", "image-0")
    monkeypatch.setattr(groups_module, "near_duplicates", lambda *_: pytest.fail("looked for again"))
    assert image_groups(open_dataset(DataSettings(source=str(tmp_path / "d.npz")))) == groups


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: tmp_path / "file" / "cache")
    assert len(perceptual_hashes(dataset(tmp_path, [scenery(0), scenery(1)]))) == 2
