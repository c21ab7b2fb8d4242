"""Every damaged or missing file is named, and nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ensemble import results
from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.runs import verify as module
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_run
from ensemble.runs.member import Member
from ensemble.runs.remove import remove
from ensemble.runs.status import write_status
from ensemble.runs.tables import read_tables
from ensemble.runs.verify import verify


@pytest.fixture(scope="module")
def combined(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trained members and an ensemble of them."""
    runs = Path(shutil.copytree(tiny_runs, tmp_path_factory.mktemp("verified") / "runs"))
    members = [Member.open(path) for path in sorted((runs / "members").iterdir())]
    combine(members, method="average", runs=runs, folds=2)
    return runs


@pytest.fixture
def runs(combined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(combined, tmp_path / "runs"))


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_whole_runs_have_no_problem_and_every_file_with_a_checksum_is_looked_at(runs: Path) -> None:
    ticks: list[tuple[int, int]] = []
    found = verify(runs, lambda task, done, total, *_: ticks.append((done, total)))
    assert (found.members, found.ensembles, found.looks, found.unfinished, found.problems) == (2, 1, 1, [], [])
    files = [file for file in runs.rglob("*") if file.is_file() and file.name != "log.txt"]
    assert found.files == len(files)
    assert ticks == [(1, 3), (2, 3), (3, 3)]


def test_every_file_is_missed_and_its_damage_is_seen(runs: Path) -> None:
    for file in sorted(file for file in runs.rglob("*") if file.is_file() and file.name != "log.txt"):
        content = file.read_bytes()
        flip(file)
        (problem,) = verify(runs).problems
        assert str(file) in problem
        file.unlink()
        missed = verify(runs).problems
        if file.is_relative_to(runs / "looks"):  # no list of them exists that could miss one
            assert missed == []
        else:
            (problem,) = missed
            assert str(file if file.name != "status.json" else file.parent) in problem
        file.write_bytes(content)
    assert verify(runs).problems == []


def test_all_damaged_files_are_named_at_once(runs: Path) -> None:
    one, other = sorted((runs / "members").iterdir())
    damaged = [one / "weights-f0.safetensors", one / "scores.json", other / "probabilities/test/chunk-00000.zst"]
    for file in damaged:
        flip(file)
    (other / "status.json").write_text("{")
    problems = verify(runs).problems
    named = [*damaged[:2], other / "status.json"]  # without a status nobody knows what the other one should hold
    assert [any(str(file) in problem for problem in problems) for file in named] == [True] * 3
    assert len(problems) == 3


@pytest.mark.parametrize("files", [None, [], {"scores.json": 3}])
def test_checksums_that_are_missing_are_problems(runs: Path, files: Any) -> None:
    path = next((runs / "members").iterdir())
    write_json(path / "status.json", sealed(read_json(path / "status.json") | {"files": files}))
    problems = verify(runs).problems
    assert len(problems) == 5
    advice = f"remove it with `ens remove {path.name} --runs {path.parent.parent}` and train it again"
    assert all(problem.endswith(f"differs from what was written (damaged or edited); {advice}") for problem in problems)


def test_an_ensemble_without_its_member_is_told(runs: Path) -> None:
    gone = next((runs / "members").iterdir())
    shutil.rmtree(gone)
    (problem,) = verify(runs).problems
    assert problem.endswith(f"needs the member {gone.name}, which is missing; copy it there, or train it again")
    assert verify(runs).damaged == []


def test_an_unfinished_member_is_no_damage_but_its_checkpoint_may_be(
    runs: Path, train_tiny: Callable[..., Member]
) -> None:
    def stop(task: str, done: int, total: int, note: str = "", /) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_tiny(runs, seed=9, progress=stop)
    found = verify(runs)
    assert (found.members, found.problems) == (2, [])
    assert found.unfinished == ["unet-baseline-ce-s9-" + found.unfinished[0][20:26] + " (interrupted)"]
    (checkpoint,) = (runs / "members").glob("*/checkpoint-f0.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    (problem,) = verify(runs).problems
    assert f"{checkpoint} is damaged" in problem
    assert verify(runs).damaged == []  # one fold is to be trained again, not all of them


def test_a_folder_without_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"there is no folder .*nowhere; give the folder that holds members"):
        verify(tmp_path / "nowhere")
    with pytest.raises(EnsError, match=r"expected members/ or ensembles/ in .*, but it holds neither; check"):
        verify(tmp_path)


# ---------------------------------------------------------------- what belongs to another run


def members_of(runs: Path) -> tuple[Path, Path]:
    one, other = sorted((runs / "members").iterdir())
    return one, other


def test_probabilities_of_another_member_are_named_and_refused(runs: Path) -> None:
    one, other = members_of(runs)
    shutil.rmtree(one / "probabilities")
    shutil.copytree(other / "probabilities", one / "probabilities")
    problems = verify(runs).problems
    assert [f"{one / 'probabilities' / split / 'manifest.json'} differs" in text for split, text in
            zip(("validation", "test"), problems, strict=True)] == [True, True]  # fmt: skip
    with pytest.raises(EnsError, match=r"manifest.json differs from what was written"):
        combine(method="geometric", runs=runs, folds=2)
    with pytest.raises(EnsError, match=r"manifest.json differs from what was written"):
        read_tables(one)


def test_exchanged_directories_are_named_and_refused(runs: Path) -> None:
    one, other = members_of(runs)
    one.rename(runs / "aside")
    other.rename(one)
    (runs / "aside").rename(other)
    problems = verify(runs).problems
    for path, held in ((one, other), (other, one)):
        text = f"{path} holds the run {held.name}: the directory was renamed or exchanged; give it that name again"
        assert text in problems
        with pytest.raises(EnsError, match="was renamed or exchanged"):
            Member.open(path)
    assert len(results.scan(runs)[1]) == 2
    assert len(problems) == 2
    assert (verify(runs).damaged, verify(runs).dependents) == ([], [])


def test_a_renamed_member_needs_its_name_only(runs: Path) -> None:
    one, _ = members_of(runs)
    aside = one.rename(one.with_name("mine"))
    found = verify(runs)
    text = f"{aside} holds the run {one.name}: the directory was renamed or exchanged; give it that name again"
    assert (found.problems, found.damaged, found.dependents) == ([text], [], [])
    flip(aside / "scores.json")  # its name comes first: `ens remove` with a wrong name could take another run
    assert len(verify(runs).problems) == 2
    assert verify(runs).damaged == []


def test_a_run_of_a_newer_version_is_not_to_be_deleted(runs: Path) -> None:
    one, other = members_of(runs)
    write_json(one / "status.json", read_json(one / "status.json") | {"format_version": 99})
    found = verify(runs)
    (problem,) = found.problems
    assert problem.endswith("; upgrade ens-toolkit")
    assert (found.damaged, found.dependents) == ([], [])
    flip(other / "scores.json")
    assert verify(runs).damaged == [other.name]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_removed_split_is_named_and_never_looks_absent(runs: Path, split: str) -> None:
    one, _ = members_of(runs)
    shutil.rmtree(one / "probabilities" / split)
    (problem,) = verify(runs).problems
    assert f"{one / 'probabilities' / split / 'manifest.json'} is missing" in problem
    with pytest.raises(EnsError, match=r"manifest.json is missing"):
        Member.open(one).has_store(split)


def test_a_store_that_was_added_is_not_used(runs: Path, make_member: Callable[..., Member]) -> None:
    member = make_member(runs, "unet")
    shutil.copytree(member.path / "probabilities" / "validation", member.path / "probabilities" / "test")
    assert not Member.open(member.path).has_store("test")


@pytest.mark.parametrize("file", ["status.json", "environment.json"])
def test_an_edited_number_is_named(runs: Path, file: str) -> None:
    one, _ = members_of(runs)
    content = read_json(one / file)
    content["parameters" if file == "status.json" else "cpu"] = 7
    write_json(one / file, content)
    (problem,) = verify(runs).problems
    assert f"{one / file} differs from what was written (damaged or edited); remove it with `ens remove" in problem
    frame, problems = results.scan(runs)
    assert one.name not in set(frame["name"])
    assert problems == [problem]


def test_a_lost_status_has_a_sentence_and_hides_nothing(runs: Path) -> None:
    one, _ = members_of(runs)
    (one / "status.json").unlink()
    removal = f"ens remove {one.name} --runs {runs}"
    text = f"{one} has lost its status.json, so nobody knows what it should hold; remove it with `{removal}`"
    assert any(text in problem for problem in verify(runs).problems)
    assert any(text in problem for problem in results.scan(runs)[1])
    with pytest.raises(EnsError, match=r"has lost its status\.json"):
        combine(method="geometric", runs=runs, folds=2)


def test_a_folder_that_is_no_run_is_no_damage(runs: Path) -> None:
    one, _ = members_of(runs)
    (runs / "members" / "notes").mkdir()
    (runs / "members" / "notes" / "todo.txt").touch()
    (runs / "ensembles" / "empty").mkdir()
    for hidden in (".unet.tmp", ".unet.old", ".unet.removed"):
        shutil.copytree(one, runs / "members" / hidden)
    assert verify(runs).problems == []
    assert len(results.load(runs)) == 3
    with pytest.raises(
        EnsError, match=r"\.unet\.old is hidden: a left-over of a command that was stopped; give the name"
    ):
        find_run(runs / "members" / ".unet.old", runs)


def test_the_advice_names_what_needs_the_damaged_member_and_works(runs: Path) -> None:
    one, _ = members_of(runs)
    (one / "config.json").write_text("{")
    found = verify(runs)
    assert found.damaged == [one.name]
    assert found.dependents == [path.name for path in (runs / "ensembles").iterdir()]
    remove([*found.damaged, *found.dependents], runs)
    assert verify(runs).problems == []


def test_an_ensemble_knows_the_member_that_it_was_fitted_on(runs: Path, train_tiny: Callable[..., Member]) -> None:
    one, _ = members_of(runs)
    (ensemble,) = (runs / "ensembles").iterdir()
    assert len(Ensemble.open(ensemble).members()) == 2
    config = read_json(ensemble / "config.json")
    config["members"][one.name] = "0" * 32
    write_json(ensemble / "config.json", config)
    status = read_json(ensemble / "status.json")
    status["files"]["config.json"] = file_digest(ensemble / "config.json")
    write_json(ensemble / "status.json", sealed(status))
    (problem,) = verify(runs).problems
    assert f"was fitted on other predictions of {one.name} than that member holds now; remove it with" in problem
    with pytest.raises(EnsError, match="was fitted on other predictions"):
        Ensemble.open(ensemble).members()


@pytest.mark.parametrize("name", ["../members/x", "/etc", "..", ".hidden", "a/b", "C:x"])
def test_a_received_ensemble_cannot_point_elsewhere(runs: Path, name: str) -> None:
    (ensemble,) = (runs / "ensembles").iterdir()
    config = read_json(ensemble / "config.json")
    config["settings"]["members"][0] = name
    write_json(ensemble / "config.json", config)
    status = read_json(ensemble / "status.json")
    status["files"]["config.json"] = file_digest(ensemble / "config.json")
    write_json(ensemble / "status.json", sealed(status))
    text = re.escape(f"names the member {name!r}, which is no name of a member")
    with pytest.raises(EnsError, match=text):
        Ensemble.open(ensemble).members()
    with pytest.raises(EnsError, match=text):
        read_tables(ensemble)
    assert any(re.search(text, problem) for problem in verify(runs).problems)


# ---------------------------------------------------------------- what changes while it is looked at


def test_what_goes_away_meanwhile_is_no_damage(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ensemble,) = (runs / "ensembles").iterdir()
    check = module.check_files

    def remove_first(path: Path, *others: Any) -> None:
        if path == ensemble:
            shutil.rmtree(path, ignore_errors=True)
        check(path, *others)

    monkeypatch.setattr(module, "check_files", remove_first)
    assert verify(runs).problems == []
    assert not ensemble.exists()


def test_a_checkpoint_that_its_training_has_removed_is_no_damage(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = runs / "members" / "fpn-ce-s0-123456"
    path.mkdir()
    write_status(path, "member", "training")
    (path / "checkpoint-f0.pt").touch()
    assert len(verify(runs).problems) == 1
    check = module.check_archive
    monkeypatch.setattr(module, "check_archive", lambda file: (file.unlink(), check(file)))
    assert verify(runs).problems == []
