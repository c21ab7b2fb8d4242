"""A user's own components: from a file, from an installed package, and what goes wrong with them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import ensemble
from ensemble import plugins
from ensemble.architectures import ARCHITECTURES
from ensemble.cli import app
from ensemble.config import MemberSettings
from ensemble.core import registry
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.core.registry import BUILT_IN, Registry
from ensemble.data.formats.registry import FORMATS
from ensemble.inference.network import load_networks
from ensemble.losses import LOSSES
from ensemble.runs.bundle import open_bundle
from ensemble.runs.layout import weights_name

PLUGIN = '''
from torch import nn
from ensemble.architectures import ARCHITECTURES
from ensemble.losses import LOSSES
from ensemble.losses.cross_entropy import cross_entropy
from ensemble.losses.module import LossModule
from ensemble.runs.bundle import open_bundle

@ARCHITECTURES.register("two-convs")
def two_convs(in_channels: int, classes: int, *, width: int = 4) -> nn.Module:
    """Two convolutions."""
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, classes, 1))

@LOSSES.register("my-ce")
def my_ce(counts_c, *, scale: float = 1.0):
    """Cross-entropy again."""
    return LossModule(cross_entropy)
'''


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries and the list of loaded files are as before after each test."""
    monkeypatch.setattr(plugins, "_loaded", {})
    for each in (ARCHITECTURES, LOSSES, FORMATS):
        monkeypatch.setattr(each, "_own", dict(each._own))  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(each, "_origins", dict(each._origins))  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "my_nets.py"
    file.write_text(PLUGIN)
    return file


def test_a_file_registers_and_is_told_from_what_is_built_in(plugin: Path) -> None:
    origin = ensemble.load_plugin(plugin)
    assert re.fullmatch(r"my_nets\.py [0-9a-f]{8}", origin)
    assert ARCHITECTURES.origin("two-convs") == LOSSES.origin("my-ce") == origin
    assert ARCHITECTURES.origin("unet") == LOSSES.origin("ce") == BUILT_IN
    assert ensemble.load_plugin(plugin) == origin  # a second time changes nothing


def test_a_member_of_a_plugin_trains_and_predicts(
    plugin: Path, train_tiny: Callable[..., Any], tmp_path: Path, tiny_arrays: dict[str, Any]
) -> None:
    origin = ensemble.load_plugin(plugin)
    member = train_tiny(tmp_path / "runs", arch="two-convs", loss="0.5*my-ce + 0.5*dice")
    settings = read_json(member.path / "config.json")["settings"]
    assert settings["architecture"]["origin"] == settings["loss"]["origin"] == origin
    assert ensemble.load(member.path)(tiny_arrays["test_set"]).shape == (5, 3, 32, 32)


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_layers_may_share_their_weights(
    plugin: Path, train_tiny: Callable[..., Any], tmp_path: Path, tiny_arrays: dict[str, Any], optimiser: str
) -> None:
    layers = "nn.Conv2d(in_channels, 16, 1), shared, nn.ReLU(), shared, nn.Conv2d(16, classes, 1)"
    code = PLUGIN.replace(
        "    return nn.Sequential", "    shared = nn.Conv2d(16, 16, 3, padding=1)\n    return nn.Sequential"
    )
    plugin.write_text(re.sub(r"nn\.Sequential\(.*\)", f"nn.Sequential({layers})", code))
    ensemble.load_plugin(plugin)
    member = train_tiny(tmp_path / "runs", arch="two-convs", optimiser=optimiser)
    weights = [id(weight) for _, weight in load_networks(member)[0].named_parameters(remove_duplicate=False)]
    assert (len(weights), len(set(weights))) == (8, 6)
    stored = load_file(member.path / weights_name(0))
    equal = [other for name, one in stored.items() for other in stored if name < other and one.equal(stored[other])]
    assert len(equal) == 2
    assert ensemble.load(member.path)(tiny_arrays["test_set"]).shape == (5, 3, 32, 32)


def test_predicting_without_the_plugin_or_with_a_changed_one_is_refused(
    plugin: Path, train_tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = dict(ARCHITECTURES._own)  # pyright: ignore[reportPrivateUsage]
    ensemble.load_plugin(plugin)
    member = train_tiny(tmp_path / "runs", arch="two-convs")
    monkeypatch.setattr(ARCHITECTURES, "_own", built_in)
    with pytest.raises(EnsError, match=rf"'two-convs' of {member.name} comes from my_nets\.py .*load the file \(--p"):
        ensemble.load(member.path)
    with pytest.raises(EnsError, match=rf"'two-convs' of {member.name} comes from my_nets\.py"):
        ensemble.reproduce(member.path)
    plugin.write_text(PLUGIN.replace("nn.ReLU()", "nn.GELU()").replace("my-ce", "other-ce"))
    monkeypatch.setattr(plugins, "_loaded", {})
    ensemble.load_plugin(plugin)
    with pytest.raises(EnsError, match=rf"{member.name} was trained with the architecture 'two-convs' of .* but here"):
        ensemble.load(member.path)


def test_a_name_like_no_other_may_be_that_of_a_plugin(train_tiny: Callable[..., Any], tmp_path: Path) -> None:
    for wrong in ({"arch": "two-convs"}, {"loss": "my-ce"}):
        with pytest.raises(EnsError, match=r"Known: .*; if it is your own, load its file \(--plugin FILE\.py, "):
            train_tiny(tmp_path / "runs", **wrong)
    with pytest.raises(EnsError, match="did you mean 'unet'") as mistyped:
        train_tiny(tmp_path / "runs", arch="unett")
    assert "plugin" not in str(mistyped.value)


def test_measuring_a_budget_needs_the_plugin_of_the_members(
    plugin: Path, train_tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = dict(ARCHITECTURES._own)  # pyright: ignore[reportPrivateUsage]
    plugin.write_text(PLUGIN.partition("@LOSSES")[0])
    ensemble.load_plugin(plugin)
    first, _ = (train_tiny(tmp_path / "runs", arch="two-convs", seed=seed, epochs=1) for seed in (0, 1))
    monkeypatch.setattr(ARCHITECTURES, "_own", built_in)
    monkeypatch.setattr(plugins, "_loaded", {})
    words = ["combine", "--within", "9GFLOPs", "--no-picture", "--runs", str(tmp_path / "runs")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert f"of {first.name} comes from my_nets.py" in " ".join(refused.output.split())
    done = CliRunner().invoke(app, [*words, "--plugin", str(plugin)])
    assert done.exit_code == 0, done.output


def test_a_bundle_names_the_plugin_that_it_needs_and_never_runs_code(
    plugin: Path, train_tiny: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built_in = dict(ARCHITECTURES._own)  # pyright: ignore[reportPrivateUsage]
    origin, notes = ensemble.load_plugin(plugin), list[str]()
    member = train_tiny(tmp_path / "runs", arch="two-convs")
    file = ensemble.bundle(member.path, tmp_path / "mine.ens", latency=False, on_note=notes.append).path
    assert notes[-1].startswith(f"predicting with it needs {origin}, which no bundle holds: install it, or give the")
    assert f"It needs {origin}, which is not in this file" in open_bundle(file).read("card.md").decode()
    assert not [part for part in open_bundle(file).digests if part.endswith(".py")]
    image = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(ensemble.load(file)(image), ensemble.load(member.path)(image))
    monkeypatch.setattr(ARCHITECTURES, "_own", built_in)
    with pytest.raises(EnsError, match=rf"'two-convs' of {member.name} comes from my_nets\.py .*load the file \(--p"):
        ensemble.load(file)
    plugin.write_text(PLUGIN.replace("nn.ReLU()", "nn.GELU()").replace("my-ce", "other-ce"))
    monkeypatch.setattr(plugins, "_loaded", {})
    ensemble.load_plugin(plugin)
    with pytest.raises(EnsError, match=r"was trained with the architecture 'two-convs' of my_nets\.py .* but here"):
        ensemble.load(file)


def test_a_changed_plugin_makes_another_member(plugin: Path) -> None:
    first = ensemble.load_plugin(plugin)
    settings = [
        MemberSettings.model_validate({"architecture": {"name": "a", "origin": origin}, "loss": {"name": "ce"}})
        for origin in (first, "my_nets.py 00000000")
    ]
    assert settings[0].content_hash() != settings[1].content_hash()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\n", "registers nothing; decorate a factory with @LOSSES.register"),
        ("a = 1\nb = 1 / 0\n", r"failed in line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n", r"failed in line 1: SyntaxError"),
        (PLUGIN.replace("two-convs", "unet"), r"architecture 'unet' is registered twice \(by built-in and my_nets.py"),
    ],
)
def test_a_plugin_that_fails_leaves_nothing_behind(plugin: Path, code: str, message: str) -> None:
    plugin.write_text(code)
    before = list(ARCHITECTURES), list(LOSSES)
    with pytest.raises(EnsError, match=message):
        ensemble.load_plugin(plugin)
    assert (list(ARCHITECTURES), list(LOSSES)) == before


def test_a_plugin_that_is_not_there_or_changed_while_loaded(plugin: Path) -> None:
    with pytest.raises(EnsError, match=r"expected a Python file .* found none at gone.py"):
        ensemble.load_plugin("gone.py")
    ensemble.load_plugin(plugin)
    plugin.write_text(PLUGIN + "# more\n")
    with pytest.raises(EnsError, match="changed after it was loaded; start Python again"):
        ensemble.load_plugin(plugin)


def test_commands_take_plugins(plugin: Path, tiny_npz: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = json.loads(run(app, ["list", "losses", "--plugin", str(plugin), "--json"]).stdout)
    origins = {row["name"]: row["origin"] for row in listed}
    assert origins.pop("my-ce").startswith("my_nets.py ")
    assert set(origins.values()) == {BUILT_IN}
    assert "my_nets.py" in run(app, ["list", "losses", "--plugin", str(plugin)]).stdout
    tiny = ["--epochs", "1", "--batch-size", "4", "--quiet", "--out", str(tmp_path / "runs")]
    words = ["train", str(tiny_npz), "--arch", "two-convs", "--loss", "my-ce", "--plugin", str(plugin), *tiny]
    result = run(app, words)
    assert result.exit_code == 0, result.output
    out = tmp_path / "masks.npz"
    member = Path(result.stdout.strip())
    result = run(app, ["predict", str(member), str(tiny_npz), "--out", str(out), "--plugin", str(plugin)])
    assert result.exit_code == 0, result.output
    with np.load(out) as archive:
        assert archive["masks"].shape == (5, 32, 32)
    shutil.rmtree(member)
    result = run(app, ["list", "losses", "--plugin", "gone.py"])
    assert result.exit_code == 2
    assert "expected a Python file" in result.output


# ---------------------------------------------------------------- installed packages


def offer(monkeypatch: pytest.MonkeyPatch, value: str, name: str = "zero") -> Registry[Any]:
    point = EntryPoint(name=name, value=value, group="ens.toys")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "ens.toys" else [])
    return Registry("toy", group="ens.toys")


def test_a_package_offers_a_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = offer(monkeypatch, "torch.nn:Identity")
    assert list(toys) == ["zero"]
    assert toys.origin("zero") == "torch.nn:Identity"  # of an installed package: its name and version


@pytest.mark.parametrize("value", ["torch.no_such_module:f", "torch.nn:NoSuchThing"])
def test_a_package_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    toys = offer(monkeypatch, value)
    with pytest.raises(EnsError, match=r"the toy 'zero' of the package torch.* cannot be loaded .*uninstall"):
        list(toys)


def test_a_package_may_not_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = offer(monkeypatch, "torch.nn:Identity")

    @toys.register("zero")
    def zero() -> None:
        """Nothing."""

    with pytest.raises(EnsError, match=r"toy 'zero' is registered twice \(by built-in and torch.nn:Identity\)"):
        list(toys)
