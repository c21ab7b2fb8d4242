"""What decides bits: random states, the deterministic mode, the optimiser's kind, the environment."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ensemble.architectures import ARCHITECTURES
from ensemble.config import Component, MemberSettings, OptimiserSettings, TrainSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.core.progress import Progress
from ensemble.runs.member import Member
from ensemble.training import progress_state, trainer
from ensemble.training.checkpoint import load_checkpoint, save_checkpoint
from ensemble.training.determinism import (
    deterministic,
    differences,
    random_states,
    restore_random_states,
    seed_everything,
    stored_environment,
)
from ensemble.training.optimiser import AdamW

Train = Callable[..., Member]


def draws() -> list[float]:
    return [float(torch.rand(())), float(np.random.rand()), random.random(), float(np.random.randn())]


def settings(**changes: Any) -> MemberSettings:
    return MemberSettings(architecture=Component(name="unet"), loss=Component(name="ce"), epochs=3, **changes)


# ---------------------------------------------------------------- random states


def test_a_seed_decides_what_every_generator_draws() -> None:
    seed_everything(5)
    first = draws()
    seed_everything(5)
    assert draws() == first
    seed_everything(6)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_random_states_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    seed_everything(5)
    draws()  # an odd number of normal draws: NumPy keeps the second one of a pair
    save_checkpoint(tmp_path / "c.pt", {"random": random_states("cpu")})
    first = draws()
    restored = load_checkpoint(tmp_path / "c.pt", "cpu")
    assert restored is not None
    restore_random_states(restored["random"], "cpu")
    assert draws() == first


class Wandering(nn.Module):
    """A network that draws from every generator while it is trained."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(in_channels, 4, 3, padding=1), nn.Conv2d(4, classes, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.first(images_nchw)).relu()
        if self.training:
            hidden = nn.functional.dropout(hidden, 0.3) * (1 + 0.3 * np.random.randn()) * (1 + 0.3 * random.random())
        return self.last(hidden)


@pytest.fixture
def wandering(monkeypatch: pytest.MonkeyPatch) -> None:
    for table in ("_own", "_origins"):
        monkeypatch.setattr(ARCHITECTURES, table, dict(getattr(ARCHITECTURES, table)))

    @ARCHITECTURES.register("wandering")
    def make_wandering(in_channels: int, classes: int) -> nn.Module:
        """A network that draws."""
        return Wandering(in_channels, classes)


@pytest.mark.usefixtures("wandering")
def test_a_network_that_draws_goes_on_within_an_epoch(
    train_tiny: Train,
    interrupt: Callable[[str, int], Progress],
    content_of: Callable[[Path], dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wish: dict[str, Any] = {"arch": "wandering", "augment": "none"}
    whole = content_of(train_tiny(tmp_path / "whole", **wish).path)
    monkeypatch.setattr(progress_state, "MOST_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "runs", progress=interrupt("training", 7), **wish)
    seed_everything(99)  # another process would not be where this one stopped
    assert content_of(train_tiny(tmp_path / "runs", **wish).path) == whole


# ---------------------------------------------------------------- deterministic mode


def modes() -> tuple[Any, ...]:
    backends = torch.backends
    return torch.get_deterministic_debug_mode(), backends.cudnn.benchmark, backends.mkldnn.deterministic


def test_the_mode_is_on_inside_and_as_before_outside() -> None:
    before = modes()
    with deterministic(True, "cpu"):
        assert modes() == (2, False, True)
        assert torch.are_deterministic_algorithms_enabled()
    assert modes() == before
    with deterministic(False, "cpu"):
        assert modes() == before


def test_an_operation_without_a_deterministic_form_is_named() -> None:
    pooled, places = nn.functional.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    text = r"needs max_unpooling2d\w*, which has no deterministic implementation on cpu; leave out deterministic, or"
    with pytest.raises(EnsError, match=text), deterministic(True, "cpu"):
        nn.MaxUnpool2d(2)(pooled, places)
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="must match"), deterministic(True, "cpu"):
        _ = torch.rand(2) + torch.rand(3)


def test_deterministic_changes_the_name_of_the_member_and_changes_no_other_name(
    train_tiny: Train, tmp_path: Path
) -> None:
    plain, exact = (train_tiny(tmp_path, deterministic=flag, epochs=1) for flag in (False, True))
    assert plain.name != exact.name
    assert read_json(exact.path / "config.json")["settings"]["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()
    kept = plain.settings.model_dump()
    del kept["deterministic"], kept["optimiser"]["kind"]  # as members were before these were stored
    old = MemberSettings(**kept)
    assert old == plain.settings
    assert old.directory_name(plain.facts.data_hash + plain.facts.split_hash) == plain.name


def test_names_are_those_of_members_trained_before() -> None:
    assert settings().directory_name("0" * 32) == "unet-ce-s0-31989a"
    assert settings(deterministic=True).directory_name("0" * 32) != "unet-ce-s0-31989a"


def test_the_kind_of_optimiser_is_stored_and_decides_the_kernel(tiny_npz: Path, tmp_path: Path) -> None:
    from ensemble.training.plan import plan_member

    assert settings().optimiser.kind == "adamw-fused"
    assert settings(device="mps").optimiser.kind == "adamw"
    assert settings(device="mps", optimiser=OptimiserSettings(lr=0.1)).optimiser == OptimiserSettings(
        lr=0.1, kind="adamw"
    )
    plan = plan_member(
        TrainSettings(data=str(tiny_npz), arch="unet-baseline", loss="ce", optimiser="adamw", device="cpu"), tmp_path
    )
    plain = plan.settings.model_copy(update={"optimiser": OptimiserSettings(kind="adamw")})
    assert plain.directory_name("x") != plan.settings.directory_name("x")
    for chosen, fused in ((plan.settings, True), (plain, False)):
        job = replace(plan.job(0, 1), settings=chosen)
        optimiser = trainer.start_training(job).optimiser
        assert isinstance(optimiser, AdamW)
        assert optimiser.defaults["fused"] is fused


# ---------------------------------------------------------------- environments


def test_differences_are_reported_package_by_package() -> None:
    then = {"cpu": "A", "cores": 2, "gone": 1, "packages": {"torch": "2.9", "numpy": "2.1"}}
    now = {"cpu": "A", "cores": 4, "packages": {"torch": "2.10", "numpy": "2.1", "timm": "1"}}
    assert differences(then, now) == {"cores": (2, 4), "gone": (1, None), "torch": ("2.9", "2.10"), "timm": (None, "1")}
    assert differences(then, then) == {}


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_an_environment_that_cannot_be_read_is_unknown(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "environment.json").write_text(content)
    assert stored_environment(tmp_path) == {}
