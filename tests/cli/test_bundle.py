"""``ens bundle`` and ``ens card``: one line, JSON for programs, the card as Markdown, errors in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ensemble.runs.bundle import open_bundle

Ens = Callable[..., Result]


@pytest.fixture
def name(tiny_runs: Path) -> str:
    return next((tiny_runs / "members").glob("*-ce-*")).name


def test_a_bundle_is_written_shown_and_predicts(
    ens: Ens, tiny_runs: Path, tiny_npz: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = ens("bundle", name[:16], "--out", "street.ens", "--runs", tiny_runs, "--licence", "MIT", "--quiet")
    assert made.exit_code == 0, made.output
    assert made.stdout == f"{name} in street.ens ({Path('street.ens').stat().st_size / 1e6:.1f} MB)\n"
    card = ens("card", "street.ens")
    assert card.stdout == open_bundle(Path("street.ens")).read("card.md").decode()
    assert f"# {name}\n" in card.stdout
    assert "**Licence:** MIT" in card.stdout
    for model, out in (("street.ens", "a.npz"), (tiny_runs / "members" / name, "b.npz")):
        assert ens("predict", model, tiny_npz, "--out", out, "--device", "cpu").exit_code == 0
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()


def test_json_holds_the_facts(ens: Ens, tiny_runs: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "street.ens"
    made = ens("bundle", name, "--out", out, "--runs", tiny_runs, "--no-latency", "--json")
    content = json.loads(made.stdout)
    assert (content["path"], content["bytes"], content["name"]) == (str(out), out.stat().st_size, name)
    shown = json.loads(ens("card", out, "--json").stdout)
    assert shown["latency"] is None
    assert [one["name"] for one in shown["classes"]] == ["soil", "rock", "ripples"]
    assert shown["files"].keys() >= {"card.md", f"members/{name}/config.json"}


def test_a_run_has_the_card_of_its_bundle(ens: Ens, tiny_runs: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "street.ens"
    assert ens("bundle", name, "--out", out, "--runs", tiny_runs, "--no-latency").exit_code == 0
    bundled = ens("card", out).stdout
    for model in (name[:16], tiny_runs / "members" / name):
        shown = ens("card", model, "--runs", tiny_runs)
        assert shown.exit_code == 0, shown.stderr
        first, _, text = shown.stdout.partition("\n\n")
        assert first == f"> Card of a run, not of a file: `ens bundle {name} --out FILE.ens` writes the file."
        assert text == bundled
    assert json.loads(ens("card", name, "--runs", tiny_runs, "--json").stdout)["name"] == name


def test_mistakes_get_one_sentence(ens: Ens, tiny_runs: Path, tiny_npz: Path, tmp_path: Path, name: str) -> None:
    bad = tmp_path / "bad.ens"
    bad.write_bytes(b"PK\3\4 cut short")
    for command, text in (
        (("bundle", name, "--runs", tiny_runs, "--out", tmp_path / "model.zip"), "ends in .ens"),
        (
            ("bundle", name, "--runs", tiny_runs, "--out", bad),
            "holds something that is no whole bundle",
        ),
        (
            ("bundle", "nothing", "--runs", tiny_runs, "--out", tmp_path / "x.ens"),
            "unknown member or ensemble 'nothing'",
        ),
        (("card", bad), "was cut short or is damaged"),
        (("card", tmp_path / "gone.ens"), "there is no file"),
        (("card", "gone", "--runs", tiny_runs), "unknown member or ensemble 'gone'"),
        (("predict", bad, tiny_npz, "--out", tmp_path / "masks"), "was cut short or is damaged"),
        (("evaluate", tmp_path / "gone.ens", tiny_npz), "there is no file"),
    ):
        result = ens(*command)
        assert result.exit_code == 2, command
        assert text in result.stderr.replace("\n", " "), result.stderr
        assert result.stderr.count("error:") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"bad.ens"}
