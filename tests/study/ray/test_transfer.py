"""Files on their way: packed, unpacked, kept on a node, brought home."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ensemble.core.errors import EnsError
from ensemble.core.files import write_json
from ensemble.runs.member import Member
from ensemble.runs.status import read_status
from ensemble.study.jobs import check_name
from ensemble.study.ray.receive import receive_member
from ensemble.study.ray.transfer import FileBundle, files_of, pack, state_of, unpack, whole
from ensemble.study.ray.worker import KEPT, fetch
from ensemble.training.train import plan_training

MakeMember = Callable[..., Member]


class Keeper:
    """Keeps parts of parcels in memory, as a cluster's store does; ``left`` of them can be fetched."""

    def __init__(self, left: int = 10**6) -> None:
        self.parts: list[bytes] = []
        self.left = left

    def put(self, part: bytes) -> int:
        self.parts.append(part)
        return len(self.parts) - 1

    def get(self, place: int) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise LookupError("the node is gone")
        return self.parts[place]


def contents(parcel: FileBundle, keeper: Keeper) -> dict[str, bytes]:
    return {name: stream.read() for name, stream in unpack(parcel, keeper.get)}


# ---------------------------------------------------------------- parcels


def test_files_travel_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble.study.ray.transfer.PART", 1000)
    monkeypatch.setattr("ensemble.study.ray.transfer.BLOCK", 512)
    sizes = {"empty": 0, "small": 1, "block": 512, "large": 70_001}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    files = [(f"in/{name}", tmp_path / name) for name in sizes]
    keeper = Keeper()
    parcel = pack(files, keeper.put)
    assert len(parcel.parts) > 10
    assert max(len(part) for part in keeper.parts) < 2000
    assert contents(parcel, keeper) == {name: path.read_bytes() for name, path in files}


def test_the_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    def digest(name: str, content: bytes) -> str:
        (tmp_path / "file").write_bytes(content)
        return pack([(name, tmp_path / "file")], Keeper().put).digest

    first = digest("name", b"content")
    os.utime(tmp_path / "file", (1, 1))
    assert pack([("name", tmp_path / "file")], Keeper().put).digest == first
    assert len({first, digest("other", b"content"), digest("name", b"CONTENT")}) == 3


@pytest.mark.parametrize("name", ["../file", "/file", "a/../../file"])
def test_a_parcel_cannot_write_elsewhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    keeper = Keeper()
    parcel = pack([(name, tmp_path / "file")], keeper.put)
    with pytest.raises(EnsError, match="expected files of a folder"):
        contents(parcel, keeper)


def test_of_a_folder_of_images_goes_what_is_read(tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    for name in ("images/a.png", "masks/a.png", "test/b.png", "groups.csv", "notes.txt", "old/a.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    assert [name for name, _ in files_of(root)] == [
        "tiles/images/a.png",
        "tiles/masks/a.png",
        "tiles/test/b.png",
        "tiles/groups.csv",
    ]
    assert files_of(root / "groups.csv") == [("groups.csv", root / "groups.csv")]


def test_checkpoints_are_read_first_and_the_status_last(tmp_path: Path) -> None:
    names = ["status.json", "weights-f0.safetensors", "history-f0.json", "config.json", "checkpoint-f1.pt", "log.txt"]
    for name in [*names, ".lock", ".owner.json", ".config.json.x.tmp", "probabilities/validation/0.zst"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    order = [name for name, _ in state_of(tmp_path)]
    assert set(order) == set(names)
    assert order[0] == "checkpoint-f1.pt"
    assert order[-1] == "status.json"
    everything = [name for name, _ in whole(tmp_path)]
    assert set(everything) == {*names, "probabilities/validation/0.zst"}
    assert everything[-1] == "status.json"


# ---------------------------------------------------------------- on the node


def test_a_node_writes_what_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    (tmp_path / "tiles.npz").write_bytes(b"pixels")
    keeper = Keeper()
    parcel = pack(files_of(tmp_path / "tiles.npz"), keeper.put)
    with pytest.raises(LookupError):
        fetch(parcel, Keeper(left=0).get)
    place = fetch(parcel, keeper.get)
    assert place.name == "tiles.npz"
    assert parcel.digest in place.parts
    assert place.read_bytes() == b"pixels"
    assert fetch(parcel, Keeper(left=0).get) == place
    assert not list(place.parents[1].glob("*.arriving"))


def test_a_node_forgets_what_nobody_has_asked_for_in_weeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    keeper, places = Keeper(), list[Path]()
    for name in ("first.npz", "second.npz"):
        (tmp_path / name).write_bytes(name.encode())
        places.append(fetch(pack(files_of(tmp_path / name), keeper.put), keeper.get))
    first, second = places
    long_ago = time.time() - KEPT - 60
    for place in places:
        os.utime(place.parent, (long_ago, long_ago))
    assert fetch(pack(files_of(tmp_path / "second.npz"), keeper.put), keeper.get) == second  # asked for again
    assert second.read_bytes() == b"second.npz"
    assert not first.parent.exists()


def test_a_node_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(EnsError, match=r"cannot write on .*: No such file or directory .*set TMPDIR to another place"):
        fetch(FileBundle("0", ()), Keeper().get)


def test_another_member_than_planned_is_refused(tiny_npz: Path, tmp_path: Path) -> None:
    arguments = {"data": tiny_npz, "arch": "unet-baseline", "loss": "ce", "precision": "fp32", "out": tmp_path}
    made = plan_training(arguments, threads=1)
    check_name(made.path.name, made)
    with pytest.raises(EnsError, match=r"the study planned other, but on .* it would be unet-.*-s0-.*1 threads"):
        check_name("other", made)


# ---------------------------------------------------------------- coming home


def test_a_member_comes_home_under_the_names_of_home(make_member: MakeMember, tmp_path: Path) -> None:
    there = make_member(tmp_path / "node")
    keeper = Keeper()
    parcel = pack(whole(there.path), keeper.put)
    home = tmp_path / "runs" / "members" / there.name
    for name in ("checkpoint-f0.pt", "history-f0.json", ".owner.json", "probabilities/test/0.zst"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    receive_member(parcel, home, keeper.get, {"gone.npz": "/data/mine.npz"})
    member = Member.open(home)
    assert member.settings.data.source == "/data/mine.npz"
    assert member.scores == there.scores
    member.store().verify()
    assert {path.name for path in home.iterdir()} == {path.name for path in there.path.iterdir()} | {".owner.json"}
    assert not (home / "probabilities" / "test").exists()


def test_a_node_lost_on_the_way_home_leaves_what_can_be_resumed(
    make_member: MakeMember, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.study.ray.transfer.PART", 2000)
    monkeypatch.setattr("ensemble.study.ray.transfer.BLOCK", 512)
    there = make_member(tmp_path / "node")
    keeper = Keeper()
    parcel = pack(whole(there.path), keeper.put)
    home = tmp_path / "runs" / "members" / there.name
    write_json(home / "status.json", {"kind": "member", "format_version": 1, "state": "training"})
    (home / "checkpoint-f0.pt").write_bytes(b"epoch 3")
    lost = 0
    for left in range(len(parcel.parts)):
        keeper.left = left
        try:
            receive_member(parcel, home, keeper.get, {})
        except LookupError:
            lost += 1
            assert read_status(home)["state"] == "training"
            assert (home / "checkpoint-f0.pt").read_bytes() == b"epoch 3"
            assert not list(home.glob(".*.tmp"))
        else:  # what is missing is the padding of the last part
            break
    assert lost > 3
    assert Member.open(home).scores == there.scores
