"""What one image costs: operations as counted for one network, milliseconds by a clock, and refused in one sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ensemble
from ensemble.cli import app
from ensemble.combining.cascade import Cascade
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.inference import member_costs
from ensemble.inference.load import load
from ensemble.inference.member_costs import measure_budget
from ensemble.inference.member_network import MemberNetwork
from ensemble.inference.network import load_networks, to_tensor
from ensemble.inference.operations import gflops
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.runs.member import Member
from ensemble.runs.select import choose_members


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_costs, "SECONDS", 0.0)


def test_operations_are_those_of_the_network(tiny_runs: Path) -> None:
    budget = measure_budget("300MFLOPs", runs=tiny_runs)
    assert (budget.limit, budget.unit) == (0.3, "GFLOPs")
    for member in choose_members(tiny_runs):
        (height, width), bands = member.store("validation").sizes[0], member.facts.bands
        image = to_tensor(np.zeros((1, height, width, bands), np.uint8), "cpu")
        (network,) = load_networks(member)
        views = {"none": 1, "hflip": 2}[member.settings.tta]
        assert budget.costs[member.name] == pytest.approx(views * gflops(network, image))


@pytest.mark.usefixtures("quick")
def test_milliseconds_are_medians_without_the_first_round(tiny_runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], [0]

    def of(self: PooledNetworks, _: Any) -> None:
        calls[0] += 1
        slow = calls[0] <= 2 or calls[0] == 5  # the first round, and once for the first member
        clock[0] += 9.0 if slow else 0.25 if calls[0] % 2 else 0.5

    monkeypatch.setattr(PooledNetworks, "of", of)
    monkeypatch.setattr(member_costs.time, "perf_counter", lambda: clock[0])
    budget = measure_budget("0.5 s", runs=tiny_runs)
    assert list(budget.costs.values()) == [250.0, 500.0]
    assert list(budget.costs) == [member.name for member in choose_members(tiny_runs)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("within", "task"), [("2GFLOPs", "counting operations of one image"), ("9s", "measuring the time of one image")]
)
def test_progress_says_which_member_is_measured_and_ends_where_it_should(
    tiny_runs: Path, within: str, task: str
) -> None:
    said: dict[str, list[tuple[int, int]]] = {}
    names = set[str]()

    def progress(name: str, done: int, total: int, note: str = "", /) -> None:
        said.setdefault(name, []).append((done, total))
        names.add(note)

    budget = measure_budget(within, runs=tiny_runs, progress=progress)
    assert list(said) == ["loading members", task]
    assert names - {""} == set(budget.costs)
    for steps in said.values():
        assert steps == sorted(set(steps))
        assert steps[-1][0] == steps[-1][1]


def test_an_image_in_tiles_costs_as_many_times_more_as_networks_see(
    tiny_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = choose_members(tiny_runs)[0]
    networks = load(member.path).networks
    monkeypatch.setattr(member_costs, "LARGEST_TILE", (32, 32))
    monkeypatch.setattr(member_costs, "is_tiled", lambda size: size[0] > 40)
    image, factor = member_costs._image(networks, (64, 64))  # pyright: ignore[reportPrivateUsage]
    assert image.shape[:3] == (1, 32, 32)
    assert factor == networks.seen((64, 64)) / networks.seen((32, 32))


def test_a_member_without_a_network_is_refused(many_sizes: Any) -> None:
    with pytest.raises(EnsError, match="was imported as probabilities and has no network"):
        measure_budget("20ms", runs=many_sizes.runs)


@pytest.mark.usefixtures("quick")
def test_the_command_measures_and_combines(tiny_runs: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    done = CliRunner().invoke(app, ["combine", "--within", "10GFLOPs", "--runs", str(runs), "--no-picture"])
    assert done.exit_code == 0, done.output
    assert "the budget leaves nobody out, the full ensemble takes" in " ".join(done.output.split())
    wrong = CliRunner().invoke(app, ["combine", "--within", "1KFLOPs", "--runs", str(runs)])
    assert wrong.exit_code
    cheap = CliRunner().invoke(app, ["combine", "--within", "0.000001MFLOPs", "--runs", str(runs)])
    assert cheap.exit_code
    assert "no member fits into 1e-09 GFLOPs per image: the cheapest" in " ".join(cheap.output.split())


def test_networks_of_later_members_run_only_on_images_that_need_them(
    tiny_runs: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = choose_members(tiny_runs)
    each = [load(member.path).networks.members[0] for member in members]
    classes = len(members[0].facts.classes)
    with np.load(tiny_npz) as data:
        images = data["training_set"][:6, 0][..., None]
    first = each[1].of(images)
    unsure = -(first * np.log(first)).sum(1).mean((1, 2))
    cascade = Cascade.of([Pool.uniform(1, classes), Pool.uniform(2, classes)], (1, 0), 2)
    cascade = cascade.stopping((float(np.median(unsure)),))
    expected = cascade(np.stack([member.of(images) for member in each]))
    seen: dict[int, list[int]] = {0: [], 1: []}
    real: Callable[..., Any] = MemberNetwork.of

    def counted(self: MemberNetwork, unit: Any, **more: Any) -> Any:
        seen[each.index(self)].append(len(unit))
        return real(self, unit, **more)

    monkeypatch.setattr(MemberNetwork, "of", counted)
    found = PooledNetworks(each, cascade).of(images)
    assert seen == {1: [6], 0: [3]}
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.usefixtures("quick")
def test_a_saved_cascade_predicts_alike_alone_in_batches_and_as_files(
    train_tiny: Callable[..., Member], tiny_npz: Path, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    members = [train_tiny(runs, seed=seed, epochs=1 + seed) for seed in range(2)]
    done = ensemble.combine(members, method="average", keep_gain=0.5, runs=runs)
    predictor = load(done.ensemble.path)
    assert isinstance(predictor.pool, Cascade)
    with np.load(tiny_npz) as data:
        images = data["training_set"][:4, 0]
    together = predictor(images)
    np.testing.assert_allclose(together, np.stack([predictor(image) for image in images]), atol=1e-6)
    ensemble.predict(done.ensemble.path, tiny_npz, tmp_path / "out.npz", probabilities=True, device="cpu")
    with np.load(tmp_path / "out.npz") as written:
        assert written["probabilities"].shape[1] == len(predictor.classes)
