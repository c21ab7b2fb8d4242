"""Settings: frozen, strict, hashed by content; directory names; durations and sizes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

import ensemble
from ensemble.cli import app
from ensemble.config import (
    Component,
    DataFacts,
    DataSettings,
    MemberSettings,
    OptimiserSettings,
    PoolSettings,
    TrainSettings,
    slug,
)
from ensemble.core.errors import EnsError
from ensemble.core.settings import load_settings
from ensemble.core.units import parse_duration, parse_size


def member(**changes: Any) -> MemberSettings:
    fields: dict[str, Any] = {"architecture": Component(name="unet"), "loss": Component(name="ce"), "epochs": 3}
    return MemberSettings(**(fields | changes))


# ---------------------------------------------------------------- validation


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"val_fraction": 0}, "^expected val_fraction above 0, got 0$"),
        ({"val_fraction": 1}, "^expected val_fraction below 1, got 1$"),
        ({"folds": 1}, "^expected folds of at least 2, got 1$"),
        ({"background": "none"}, "^unknown value 'none' for background.* Known: class, void, zero-weight$"),
        (
            {"image_size": (64, 128)},
            r"^its images were resized to \(64, 128\) before they were scored, .* train it again",
        ),
        ({"sauce": 1}, "^unknown setting 'sauce'; did you mean 'source'"),
    ],
)
def test_unfit_data_settings_name_the_field(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        DataSettings(**fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"epochs": 0}, "epochs"),
        ({"budget_seconds": 0}, "budget_seconds"),
        ({"batch_size": 1}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"keep": "first"}, "keep"),
        ({"tta": "flip"}, "tta"),
        ({"precision": "fp16"}, "precision"),
        ({"threads": 0}, "threads"),
    ],
)
def test_unfit_member_settings_name_the_field(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(EnsError, match=f"^(expected {name} |unknown value .* for {name}[.;] )"):
        member(**fields)


@pytest.mark.parametrize("fields", [{"lr": 0}, {"weight_decay": -1}, {"warmup": 1}, {"clip": 0}, {"ema_span": 1}])
def test_unfit_optimiser_settings_name_the_field(fields: dict[str, Any]) -> None:
    with pytest.raises(EnsError, match=f"^expected {next(iter(fields))} "):
        OptimiserSettings(**fields)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        member().seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_settings_inside_settings_are_named_by_their_path() -> None:
    with pytest.raises(EnsError, match=r"^data: expected folds of at least 2, got 1$"):
        member(data={"folds": 1})


def test_members_in_one_cycle_of_a_development_version_are_read() -> None:
    stored = member().model_dump(mode="json")
    assert load_settings(MemberSettings, stored | {"cycles": 1, "snapshot": None}, Path("c.json")) == member()
    with pytest.raises(EnsError, match="cycles is no setting any more: the snapshots of one training were not worth"):
        load_settings(MemberSettings, stored | {"cycles": 4, "snapshot": None}, Path("c.json"))


def test_settings_survive_json() -> None:
    settings = member(
        data=DataSettings(folds=3), input_size=(64, 128), crop=(32, 32), loss=Component(name="ce", options={"a": 1})
    )
    assert load_settings(MemberSettings, settings.model_dump(mode="json"), Path("c.json")) == settings


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"loss": {"name": "ce"}}, "expected a value for architecture, found none; add it"),
        ({"architecture": {"name": 3}, "loss": {"name": "ce"}}, r"architecture: expected name to be text, got 3"),
        ([1], r"expected the content to be a table of settings, got \[1\]"),
        (None, r"expected the content to be a table of settings, got None"),
    ],
)
def test_a_file_of_unfit_settings_is_named(content: Any, text: str) -> None:
    with pytest.raises(EnsError, match=rf"^c\.json is not a valid configuration: {text}"):
        load_settings(MemberSettings, content, Path("c.json"))


# ---------------------------------------------------------------- hashes and names


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_scale": 0.3}, r"expected a multiple of 0\.125 as input_scale, got 0\.3; choose 0\.25 or 0\.375"),
        ({"input_scale": 2, "input_size": (64, 64)}, "expected either input_size or input_scale, got both"),
    ],
)
def test_what_a_network_sees_is_one_setting(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(EnsError, match=text):
        TrainSettings(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": Component(name="linknet")},
        {"architecture": Component(name="unet", options={"filters": 8})},
        {"loss": Component(name="dice")},
        {"data": DataSettings(folds=3)},
        {"data": DataSettings(background="class")},
        {"data": DataSettings(split_seed=1)},
        {"crop": (64, 64)},
        {"input_size": (64, 64)},
        {"input_scale": 2.0},
        {"augmentation": "none"},
        {"optimiser": OptimiserSettings(lr=0.1)},
        {"epochs": 4},
        {"batch_size": 8},
        {"seed": 1},
        {"keep": "best"},
        {"tta": "flips"},
        {"device": "cuda"},
        {"precision": "bf16"},
        {"threads": 2},
        {"encoder_lr": 0.1},
        {"freeze": "encoder"},
        {"freeze": 2},
        {"head_warmup": 0.1},
        {"standardise": "imagenet"},
    ],
    ids="-".join,
)
def test_everything_that_changes_a_member_changes_its_hash(changes: dict[str, Any]) -> None:
    assert member(**changes).content_hash() != member().content_hash()
    assert member(**changes).directory_name("data") != member().directory_name("data")


def test_every_field_of_a_member_is_known_to_count_or_not() -> None:
    assert set(MemberSettings.COUNTED) == set(MemberSettings.model_fields)
    assert set(MemberSettings.COUNTED_IF_CHANGED) < set(MemberSettings.COUNTED)


def test_what_a_user_sets_is_what_the_python_function_and_the_command_take() -> None:
    signature = inspect.signature(ensemble.train)
    assert set(signature.parameters) - {"out", "progress", "on_plan"} == set(TrainSettings.model_fields)
    assert signature.parameters["batch_size"].default == 32
    assert signature.parameters["budget"].annotation == str | float | None
    assert signature.parameters["input_size"].annotation == str | tuple[int, int] | None
    documentation = ensemble.train.__doc__ or ""
    assert all(
        f"{name}: {field.description}." in documentation
        for name, field in TrainSettings.model_fields.items()
        if name != "data"
    )
    help_text = CliRunner().invoke(app, ["train", "--help"], terminal_width=80, env={"COLUMNS": "80"}).output
    missing = [
        name
        for name in TrainSettings.model_fields
        if name != "data" and f"--{name.replace('_', '-')} " not in help_text
    ]
    assert not missing
    assert max(map(len, help_text.splitlines())) <= 80


def test_every_setting_has_a_help_text_and_a_panel() -> None:
    for name, field in TrainSettings.model_fields.items():
        extra: Any = field.json_schema_extra
        assert field.description, name
        assert extra["panel"] in ("Network", "Data", "Input", "Training", "Hardware"), name


def test_the_place_of_the_data_is_not_content_but_the_data_are() -> None:
    moved = member(data=DataSettings(source="elsewhere/d.npz"))
    assert moved.content_hash() == member().content_hash()
    assert moved.directory_name("one") != moved.directory_name("two")


def test_epochs_measured_from_a_budget_are_not_content() -> None:
    planned, measured = member(epochs=None, budget_seconds=300), member(epochs=17, budget_seconds=300)
    assert planned.content_hash() == measured.content_hash()
    assert planned.content_hash() != member(epochs=None, budget_seconds=299).content_hash()
    assert member(epochs=17).content_hash() != member(epochs=18).content_hash()


def test_stages_to_freeze_are_a_number_however_they_are_given() -> None:
    assert TrainSettings.model_validate({"freeze": "3"}) == TrainSettings(freeze=3)
    assert member(freeze="3").content_hash() == member(freeze=3).content_hash() != member(freeze=2).content_hash()


def test_members_without_tta_are_called_as_before_there_was_any() -> None:
    assert member(tta="none").directory_name("data") == "unet-ce-s0-b101e7"  # by the code before it


def test_member_directories_are_named_by_what_they_are() -> None:
    settings = member(loss=Component(name="0.5*dice + 0.5*Weighted-CE"), seed=7)
    assert settings.directory_name("d") == f"unet-0.5dice-0.5weighted-ce-s7-{settings.content_hash('d')[:6]}"


def test_pool_directories_are_named_by_what_they_are() -> None:
    fields: dict[str, Any] = {"members": ("a", "b"), "method": "learned", "data_hash": "d", "split_hash": "s"}
    pool = PoolSettings(**fields)
    assert pool.directory_name() == f"learned-2-{pool.content_hash()[:6]}"
    changes: list[dict[str, Any]] = [
        {"members": ("a", "c")},
        {"method": "average"},
        {"options": {"l": 1}},
        {"data_hash": "e"},
        {"split_hash": "t"},
        {"crossfit_folds": 3},
        {"seed": 1},
    ]
    assert len({PoolSettings(**(fields | change)).directory_name() for change in [{}, *changes]}) == 1 + len(changes)


@pytest.mark.parametrize(("background", "outputs"), [("void", 2), ("class", 2), ("zero-weight", 3)])
def test_outputs_are_classes_and_a_background_of_weight_zero(background: Any, outputs: int) -> None:
    facts = DataFacts(
        name="d",
        data_hash="d",
        split_hash="s",
        background=background,
        classes=("a", "b"),
        values=(1, 2),
        bands=1,
        height=4,
        width=4,
    )
    assert facts.outputs == outputs


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20))
def test_slugs_are_safe_names_and_stay_as_they_are(text: str) -> None:
    made = slug(text)
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert made == made.strip("-")
    assert slug(made) == made


# ---------------------------------------------------------------- durations and sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), (" 2 M ", 120), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5 min", "-5m", "0", "0.0s", "1e3", "5m30s", ".5h"])
def test_bad_durations_show_the_form(text: str) -> None:
    with pytest.raises(EnsError, match=f"expected a duration such as 90s, 5m or 1.5h, got '{text}'"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["64x128", " 64 X 128 ", "064x128"])
def test_sizes(text: str) -> None:
    assert parse_size(text) == (64, 128)


@pytest.mark.parametrize("text", ["", "64", "64x", "31x64", "64x31", "64*64", "64x64x3", "-64x64", "6.4x64"])
def test_bad_sizes_show_the_form(text: str) -> None:
    with pytest.raises(EnsError, match="expected HEIGHTxWIDTH of at least 32x32, such as 64x128, got '"):
        parse_size(text)
