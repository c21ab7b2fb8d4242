"""Two members of one configuration: how far weights, probabilities, scores and losses are apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ensemble.core.files import read_json
from ensemble.core.progress import no_progress
from ensemble.runs.member import Member
from ensemble.runs.store import Store, StoreWriter
from ensemble.training import same_bits
from ensemble.training.same_bits import (
    _store_apart,  # pyright: ignore[reportPrivateUsage]
    compare,
)
from tests.conftest import SIZES

Rewrite = Callable[..., None]


def test_how_far_apart_two_members_are(member: Path, trained: Path, rewrite: Rewrite) -> None:
    weights = load_file(member / "weights-f1.safetensors")
    name = max(weights, key=lambda name: weights[name].size)
    largest = np.abs(weights[name]).argmax()
    weights[name].flat[largest] *= np.float32(1.25)
    rewrite(member, "weights-f1.safetensors", b"")
    save_file(weights, member / "weights-f1.safetensors")
    rewrite(member, "weights-f1.safetensors", (member / "weights-f1.safetensors").read_bytes())
    scores = read_json(member / "scores.json")
    rewrite(member, "scores.json", scores | {"miou": scores["miou"] + 0.125, "ece": None})
    history = (member / "history.csv").read_text().splitlines()
    cells = history[2].split(",")
    cells[3] = "9.5"
    rewrite(member, "history.csv", "\n".join([*history[:2], ",".join(cells), *history[3:]]).encode())
    environment = read_json(member / "environment.json")
    changed = environment | {"cpu": "Z80", "packages": {**environment["packages"], "torch": "1"}}
    rewrite(member, "environment.json", changed)
    found = compare(Member.open(trained), Member.open(member))
    assert not found.exact
    assert found.files == ("weights-f1.safetensors",)
    assert found.weights == pytest.approx(0.25, rel=1e-6)
    assert found.scores["miou"] == (scores["miou"], scores["miou"] + 0.125)
    assert found.scores_apart == np.inf  # one has no calibration error
    assert found.epoch == (2, 1)
    assert found.environment == {"cpu": (environment["cpu"], "Z80"), "torch": (environment["packages"]["torch"], "1")}


def test_pixels_that_change_class_are_counted(make_member: Callable[..., Member], tmp_path: Path) -> None:
    one = make_member(tmp_path / "one")
    probs = np.concatenate([probs for _, probs, _ in one.store().batches()])
    labels = np.concatenate([labels for _, _, labels in one.store().batches() if labels is not None])
    changed = probs.copy()
    changed[0] = changed[0, [1, 2, 3, 0]]  # every pixel of the first image gets another class
    other = make_member(tmp_path / "other", probs=changed)
    for path in (one.path, other.path):
        save_file({"w": np.zeros(3, np.float32)}, path / "weights-f0.safetensors")
    found = compare(one, other)
    assert found.files == ("probabilities/validation", "confusions.npz")
    assert found.pixels == pytest.approx((labels[0] != 255).sum() / (labels != 255).sum())
    assert found.weights == 0
    save_file({"w": np.ones(3, np.float32)}, other.path / "weights-f0.safetensors")
    assert compare(one, other).weights == np.inf  # from nothing to something
    save_file({"v": np.zeros(3, np.float32)}, other.path / "weights-f0.safetensors")
    assert compare(one, other).weights == np.inf


def test_stores_with_other_compression_are_equal(
    make_member: Callable[..., Member], tmp_path: Path, rewrite: Rewrite
) -> None:
    import zstandard

    from ensemble.core.files import digest
    from ensemble.runs.store.manifest import read_manifest, write_manifest

    one, other = (make_member(tmp_path / name) for name in ("one", "other"))
    for path in (one.path, other.path):
        save_file({"w": np.zeros(3, np.float32)}, path / "weights-f0.safetensors")
    folder = other.path / "probabilities" / "validation"
    manifest = read_manifest(folder)
    (chunk,) = manifest.chunks
    plain = zstandard.ZstdDecompressor().decompress((folder / chunk.file).read_bytes())
    packed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(plain)
    (folder / chunk.file).write_bytes(packed)
    other_chunk = replace(chunk, bytes=len(packed), digest=digest(packed))
    write_manifest(folder, replace(manifest, chunks=(other_chunk,)))
    rewrite(other.path, "probabilities/validation/manifest.json", (folder / "manifest.json").read_bytes())
    assert packed != (one.path / "probabilities" / "validation" / chunk.file).read_bytes()
    assert compare(one, Member.open(other.path)).exact


@pytest.mark.parametrize("compared", [8 << 20, 300])
def test_stores_of_many_sizes_are_compared_pixel_by_pixel(
    tmp_path: Path, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(name: str, turned: int) -> Store:
        noise, meta = np.random.default_rng(0), {"split": "validation", "split_hash": "s", "data_hash": "d"}
        with StoreWriter(tmp_path / name, classes=("a", "b"), meta=meta) as writer:
            for row, size in enumerate(SIZES):
                probs = noise.dirichlet([1, 1], size).astype(np.float32).transpose(2, 0, 1)
                labels = np.zeros(size, np.uint8)
                labels[0] = 255
                if row == 5:
                    probs[:, : turned + 1] = probs[::-1, : turned + 1]  # the void row does not count
                writer.append([str(row)], probs[None], labels[None])
        return Store.open(tmp_path / name)

    monkeypatch.setattr(same_bits, "COMPARED", compared)
    then = written("then", 0)
    labelled = sum((height - 1) * width for height, width in SIZES)
    assert _store_apart(then, written("now", 7), no_progress) == 7 * SIZES[5][1] / labelled
    assert _store_apart(then, written("void", -1), no_progress) == 0.0
    assert _store_apart(then, written("again", 0), no_progress) is None
