"""``ens reproduce``, ``ens verify`` and ``ens remove`` as a person types them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from ensemble.core.files import file_digest, read_json, sealed, write_json

Ens = Callable[..., Result]


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    """A copy of the folder with two members."""
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.mark.parametrize("command", ["reproduce", "verify", "remove"])
def test_help_shows_an_example(ens: Ens, command: str) -> None:
    result = ens(command, "--help")
    assert result.exit_code == 0
    assert f"Example:  ens {command}" in " ".join(result.stdout.split("\n")).replace("\u2502", "")


# ---------------------------------------------------------------- reproduce


def test_reproduce_says_that_the_same_came_out(ens: Ens, runs: Path) -> None:
    name = next(path.name for path in (runs / "members").iterdir() if path.name.startswith("unet-baseline-ce"))
    result = ens("reproduce", name[:20], "--runs", runs)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[-1] == f"reproduced {name}: weights, probabilities and scores are bit-identical"
    assert lines[-2] == "  environment: unchanged"
    miou = read_json(runs / "members" / name / "scores.json")["miou"]
    assert f"  miou: {miou:.6f} then, {miou:.6f} now" in lines
    assert ens("reproduce", name, "--runs", runs, "--quiet").stdout == lines[-1] + "\n"


def test_reproduce_says_what_differs_and_why(ens: Ens, runs: Path, tmp_path: Path) -> None:
    (path,) = (runs / "members").glob("unet-baseline-ce-*")
    write_json(path / "environment.json", read_json(path / "environment.json") | {"cpu": "Z80"})
    scores, status = read_json(path / "scores.json"), read_json(path / "status.json")
    write_json(path / "scores.json", scores | {"miou": scores["miou"] - 0.25})
    digests = {name: file_digest(path / name) for name in status["files"]}
    write_json(path / "status.json", sealed(status | {"files": digests}))
    result = ens("reproduce", path, "--out", tmp_path / "again", "--runs", runs)
    assert result.exit_code == 1
    assert f"  the repetition is in {tmp_path / 'again' / 'members' / path.name}" in result.stdout
    assert "  environment: cpu Z80 then, " in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "not bit-identical, in another environment (cpu): weights agree to 0.0e+00, scores to 2.5e-01,"
        " class maps in 100.000 % of the pixels"
    )
    told = json.loads(ens("reproduce", path, "--out", tmp_path / "again", "--json").stdout)
    assert (told["exact"], told["weights"], told["environment"]["cpu"][0]) == (False, 0, "Z80")


# ---------------------------------------------------------------- verify


def test_verify_names_what_is_damaged(ens: Ens, runs: Path) -> None:
    result = ens("verify", "--runs", runs)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].endswith("files of 2 members and 0 ensembles: all are intact")
    one, other = sorted((runs / "members").iterdir())
    (one / "scores.json").write_text("{}")
    (other / "weights-f0.safetensors").unlink()
    result = ens("verify", "--runs", runs)
    assert result.exit_code == 1
    assert f"{one / 'scores.json'} differs from what was written (damaged or edited)" in result.stdout
    assert f"{other / 'weights-f0.safetensors'} is missing" in result.stdout
    assert f"`ens remove {one.name} {other.name} --runs {runs}`" in result.stdout
    assert result.stdout.splitlines()[-1].endswith("2 damaged or missing")
    told = json.loads(ens("verify", "--runs", runs, "--json").stdout)
    assert (len(told["problems"]), told["members"]) == (2, 2)
    assert len(ens("verify", "--runs", runs, "--quiet").stdout.splitlines()) == 1


def test_verify_recomputes_scores_that_were_edited_together_with_their_checksum(ens: Ens, runs: Path) -> None:
    result = ens("verify", "--runs", runs, "--recompute")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].endswith(
        "all are intact; 2 runs recomputed, except for what --help names: all values agree"
    )
    member = min((runs / "members").iterdir())
    scores = read_json(member / "scores.json")
    write_json(member / "scores.json", scores | {"dice": 0.875})
    status = read_json(member / "status.json")
    status["files"]["scores.json"] = file_digest(member / "scores.json")
    write_json(member / "status.json", sealed(status))
    assert ens("verify", "--runs", runs).exit_code == 0
    result = ens("verify", "--runs", runs, "--recompute")
    assert result.exit_code == 1
    assert f"  {member.name}: dice is 0.875, recomputed {scores['dice']}" in result.stdout
    assert result.stdout.splitlines()[-1].endswith(
        "all are intact; 2 runs recomputed, except for what --help names: 1 value differs"
    )
    content = json.loads(ens("verify", "--runs", runs, "--recompute", "--json").stdout)
    assert content["recomputed"]["differences"][0]["cell"] == "dice"


def test_verify_names_ensembles_of_which_an_earlier_version_did_not_store_the_rival(ens: Ens, runs: Path) -> None:
    assert ens("combine", "--cascade", "--method", "average", "--runs", runs, "--no-picture").exit_code == 0
    (path,) = (runs / "ensembles").iterdir()
    last = "3 runs recomputed, except for what --help names: all values agree"
    result = ens("verify", "--runs", runs, "--recompute")
    assert (result.exit_code, "earlier version" in result.stdout) == (0, False)
    assert result.stdout.splitlines()[-1].endswith(last)
    config, status = read_json(path / "config.json"), read_json(path / "status.json")
    del config["rival_pools"]
    write_json(path / "config.json", config)
    status["files"]["config.json"] = file_digest(path / "config.json")
    write_json(path / "status.json", sealed(status))
    result = ens("verify", "--runs", runs, "--recompute")
    assert result.exit_code == 0
    assert (
        "  combined by an earlier version, which did not store the weights of the full ensemble; scores are recomputed,"
        f" the verdict against it is not: {path.name}"
    ) in result.stdout
    assert result.stdout.splitlines()[-1].endswith(last)


def test_pack_names_the_file_and_how_to_check_it(ens: Ens, runs: Path, tmp_path: Path) -> None:
    out, (one, _) = tmp_path / "paper.zip", sorted((runs / "members").iterdir())
    result = ens("pack", one.name, "--out", out, "--runs", runs)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == str(out)
    assert "  1 run, " in result.stdout
    assert f"unzip {out} -d pack && python pack/check.py" in result.stdout
    assert json.loads(ens("pack", "--out", out, "--runs", runs, "--json").stdout)["left_out"] == []
    assert ens("pack", one.name, "nobody", "--out", out, "--runs", runs).exit_code == 2


def test_verify_offers_no_deletion_of_renamed_runs(ens: Ens, runs: Path) -> None:
    path = next((runs / "members").iterdir())
    path.rename(path.with_name("mine"))
    result = ens("verify", "--runs", runs)
    assert result.exit_code == 1
    assert "give it that name again" in result.stdout
    assert "ens remove" not in result.stdout


# ---------------------------------------------------------------- remove


def test_remove_asks_on_a_terminal_and_nowhere_else(ens: Ens, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = sorted((runs / "members").iterdir())
    result = ens("remove", one.name, "--runs", runs)
    assert (result.exit_code, one.is_dir()) == (2, True)
    assert "pass --yes to remove 1 directory (" in result.stderr
    assert "cannot ask for confirmation (not a terminal); pass --yes to remove" in result.stderr

    asked: list[str] = []

    def confirm(text: str, **_: object) -> bool:
        asked.append(text)
        return len(asked) > 1

    monkeypatch.setattr("ensemble.cli.remove.has_terminal", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)
    result = ens("remove", one.name, "--runs", runs)
    assert (result.exit_code, result.stdout.splitlines()[-1], one.is_dir()) == (1, "nothing removed", True)
    result = ens("remove", one.name, "--runs", runs)
    assert (result.exit_code, one.exists(), other.is_dir()) == (0, False, True)
    assert asked[0].startswith("remove 1 directory (")
    assert asked[0].endswith(" MB) for good?")


def test_remove_with_yes_says_what_went(ens: Ens, runs: Path) -> None:
    names = sorted(path.name for path in (runs / "members").iterdir())
    ens("combine", "--method", "average", "--folds", "2", "--runs", runs, "--quiet", "--no-picture")
    refused = ens("remove", names[0], "--runs", runs, "--yes")
    assert refused.exit_code == 2
    assert f"needs the member {names[0]}; remove the ensemble first, or name both" in refused.stderr
    result = ens("remove", "average", *names, "--runs", runs, "--yes", "--json")
    told = json.loads(result.stdout)
    assert [Path(path).name for path in told["removed"]][1:] == names
    assert told["bytes"] > 0
    assert [path.parent.name for path in runs.glob("*/*")] == ["looks"]  # what was judged stays known
    unknown = ens("remove", "unet", "--runs", runs, "--yes")
    assert (unknown.exit_code, unknown.stderr) == (2, "error: unknown member or ensemble 'unet'. Known: none\n")
