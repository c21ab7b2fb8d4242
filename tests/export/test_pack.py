"""With Python and NumPy alone, a reviewer recomputes table and verdicts from a pack, and sees what was edited."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.combining.budget import Budget
from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError
from ensemble.export.pack import pack
from ensemble.results.table import load
from ensemble.runs.member import Member

METHODS: tuple[dict[str, Any], ...] = (
    {"method": "average"},
    {"method": "learned", "calibrate": "both", "decide": "expected-iou", "smallest_object": "auto"},
    {"method": "stacking(neighbourhood=3)"},
    {"method": "vote", "decide": "offsets"},
    {"method": "geometric", "decide": "expected-dice", "decide_from": "images", "smallest_object": 4},
    {"method": "per-class"},
    {"method": "average", "calibrate": "pool", "keep_gain": 0.8},
    {"method": "per-class", "within": (3.0, 4.0, 20.0)},  # costs of the members
)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that holds NumPy and nothing else."""
    folder, installed = tmp_path_factory.mktemp("bare"), Path(np.__file__).parent
    for package in (installed, installed.with_name("numpy.libs")):
        if package.exists():
            (folder / package.name).symlink_to(package)
    return folder


@pytest.fixture(scope="session")
def run_bare(bare: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python without any package but NumPy, with warnings as errors, from another working directory."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PYTHONPATH": str(bare), "OMP_NUM_THREADS": "1", "SYSTEMROOT": os.environ.get("SYSTEMROOT", "")}
        command = [sys.executable, "-S", "-W", "error", *arguments]
        return subprocess.run(command, cwd=bare, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="module")
def runs(
    make_member: Callable[..., Member],
    make_evaluation: Callable[[Path, Member], Path],
    make_world: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Members of images with and without background, ensembles of most kinds, and an evaluation."""
    runs = tmp_path_factory.mktemp("packed") / "runs"
    world = make_world(40, (10, 14), source="/home/ann/secret/street.npz")
    members = [
        make_member(runs, name, quality=1 + 0.4 * m, world=world, background=mode, resamples=10_000)
        for m, (name, mode) in enumerate((("unet", "void"), ("linknet", "zero-weight"), ("pspnet", "class")))
    ]
    for options in METHODS:
        costs = dict(zip((member.name for member in members), options.get("within", ()), strict=False))
        within: dict[str, Any] = {"within": Budget(9, "ms", costs)} if costs else {}
        combine(members, runs=runs, folds=3, **options | within)
    make_evaluation(runs, members[2])
    return runs


@pytest.fixture(scope="module")
def packed(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pack") / "paper.zip"
    found = pack(runs, out=out)
    assert (len(found.runs), found.left_out, found.bytes) == (12, (), out.stat().st_size)
    return out


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    """The pack of one ensemble and a member, which is checked faster, in a folder that a test may change."""
    return unpack(packed, tmp_path / "paper", lambda path, _: "/learned-" in path or "/unet-" in path)


@pytest.fixture
def cheaper(packed: Path, tmp_path: Path) -> Path:
    """The pack of an ensemble with a budget and of a cascade."""
    return unpack(packed, tmp_path / "cheaper", lambda _, run: bool(run.get("rival_pools")))


def unpack(packed: Path, folder: Path, wanted: Callable[[str, dict[str, Any]], bool]) -> Path:
    """Unpack all runs; the table keeps those that are wanted by path and description."""
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(folder)
    first, *rows = csv.reader((folder / "results.csv").read_text().splitlines())
    kept = [row for row in rows if wanted(row[-1], json.loads((folder / row[-1] / "run.json").read_text()))]
    write_rows(folder / "results.csv", [first, *kept])
    return folder


def write_rows(file: Path, rows: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    file.write_text(text.getvalue())


def test_the_environment_of_the_check_is_bare(run_bare: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    for name in ("pandas", "scipy", "torch", "ensemble", "zstandard"):
        assert f"No module named '{name}'" in run_bare("-c", f"import {name}").stderr
    assert run_bare("-c", "import numpy").returncode == 0


def test_every_score_and_every_verdict_is_recomputed_in_a_bare_environment(
    packed: Path, runs: Path, tmp_path: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
    done = run_bare(str(tmp_path / "check.py"))
    assert (done.stderr, done.returncode) == ("", 0)
    *each, last = done.stdout.splitlines()
    assert [line.split(":")[0] for line in each] == ["agrees"] * 12
    assert last.endswith("of 12 runs: none differ by more than 1e-09")
    table = load(runs)
    columns = json.loads((tmp_path / "columns.json").read_text())
    numbers = table.select_dtypes("float64").columns.difference(["parameters", "seconds", "gflops", "latency_ms"])
    assert set(numbers) <= set(columns)  # every score
    questions = 5 * 4 * (4 + 1) + 4  # pairs of systems, numbers of each, classes and their mean; decision
    budget, cascade = 4, 9  # limit, cost, cost of the full ensemble, members left out; gain and shares with limits
    scores = int(table[list(columns)].notna().sum().sum())
    assert int(last.split()[0]) == scores + len(METHODS) * questions + budget + cascade


def test_edited_cells_are_named_with_both_values(
    unpacked: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    edited = {"miou": "0.99", "iou_sand_low": "0.5", "ece_sand": "0", "boundary_f1_high": "", "groups": "21"}
    rows = list(csv.reader((unpacked / "results.csv").read_text().splitlines()))
    for column, value in edited.items():
        rows[1][rows[0].index(column)] = value
    write_rows(unpacked / "results.csv", rows)
    done = run_bare(str(unpacked / "check.py"))
    assert done.returncode == 1
    named = {line.split(":")[0].strip(): line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert named.keys() == edited.keys()
    for column, value in edited.items():
        assert named[column].startswith(f"  {column}: results.csv {value or 'nothing'}, recomputed ")
    assert f"{len(edited)} differ by more than" in done.stdout


def test_an_edited_verdict_is_named(unpacked: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (file,) = unpacked.glob("ensembles/learned-*/run.json")
    run = json.loads(file.read_text())
    assert not {"advice", "notes"} & run["verdict"].keys(), "sentences that nobody recomputes"
    run["verdict"]["use"] = "method" if run["verdict"]["use"] != "method" else "average"
    run["verdict"]["per_class"]["average - member"]["sand"]["high"] += 1e-8
    file.write_text(json.dumps(run))
    done = run_bare(str(unpacked / "check.py"))
    assert done.returncode == 1
    assert "  verdict, use: " in done.stdout
    assert "  verdict, average - member sand high: " in done.stdout
    assert "2 differ by more than" in done.stdout


def edit_run(folder: Path, key: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the description of the run that has a key."""
    for file in folder.glob("ensembles/*/run.json"):
        run = json.loads(file.read_text())
        if key in run:
            change(run)
            file.write_text(json.dumps(run))


def test_an_edited_verdict_on_a_budget_or_a_cascade_is_named(
    cheaper: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def less(run: dict[str, Any]) -> None:
        run["verdict"]["differences"]["method - average"]["low"] += 1e-8
        run["verdict"]["per_class"]["average - best member"]["sand"]["difference"] += 1e-8
        run["budget"]["cost"] = 3.0
        run["budget"]["left_out"] = []

    def more(run: dict[str, Any]) -> None:
        assert run["cascade"]["proven"]  # so that a share of the gain has an interval
        run["verdict"]["differences"]["method - average"]["probability_of_improvement"] = 1.0
        run["verdict"]["rival"] = "the average"
        run["cascade"]["kept"]["low"] += 1e-8
        run["cascade"]["evaluations"]["share"] -= 1e-8

    edit_run(cheaper, "budget", less)
    edit_run(cheaper, "cascade", more)
    done = run_bare(str(cheaper / "check.py"))
    assert (done.returncode, done.stderr) == (1, "")
    named = {line.split(":")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ")}
    expected = ["method - average  low", "average - best member sand difference", "budget cost", "budget left_out"]
    expected += ["method - average  probability_of_improvement", "rival"]
    expected += ["cascade kept low", "cascade evaluations share"]
    assert named == {f"verdict, {each}" for each in expected}


def test_another_full_ensemble_and_other_stages_are_named(
    cheaper: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    edit_run(cheaper, "budget", lambda run: run.update(rival_pools=run["rival_pools"][:1] + [run["pool"]] * 3))
    edit_run(cheaper, "cascade", lambda run: run["pool"]["thresholds"].__setitem__(0, 1e3))
    done = run_bare(str(cheaper / "check.py"))
    assert (done.returncode, done.stderr) == (1, "")
    assert "  other rival_confusions than recorded" in done.stdout
    assert "  verdict, cascade evaluations share: " in done.stdout


def test_a_verdict_of_an_earlier_version_is_not_recomputed_and_a_sentence_says_so(
    cheaper: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for key in ("budget", "cascade"):
        edit_run(cheaper, key, lambda run: [run.pop(name) for name in ("rival_pools", "pool", "verdict")])
    done = run_bare(str(cheaper / "check.py"))
    assert (done.returncode, done.stderr) == (0, "")
    note = "  note: the verdict is not recomputed: an earlier version did not store the full ensemble's weights"
    assert done.stdout.splitlines()[:-1:2] == [note, note]


def test_other_probabilities_labels_and_tables_are_named(
    unpacked: Path, run_bare: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def edit(file: Path, name: str, change: Callable[[Any], None]) -> None:
        arrays = dict(np.load(file))
        change(arrays[name])
        np.savez_compressed(file, allow_pickle=False, **arrays)

    def better(table: Any) -> None:
        table[0, 0] += table[0, 1]

    (member,) = unpacked.glob("members/unet-*")
    edit(member / "tables.npz", "confusions", lambda table: better(table[7]))
    edit(member / "tables.npz", "log_loss", lambda table: table.__setitem__(4, table[4] / 3))
    done = run_bare(str(unpacked / "check.py"))
    assert done.returncode == 1
    assert "other confusions than recorded" in done.stdout
    assert "beyond what its codes allow" in done.stdout
    edit(member / "probabilities.npz", "labels-00003", lambda labels: labels.__setitem__(np.s_[:], 1))
    done = run_bare(str(unpacked / "check.py"))
    assert done.stdout.count("differs: ") == 2  # the member, and the ensemble that pools it


def test_the_same_runs_give_the_same_bytes(packed: Path, runs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    elsewhere = Path(shutil.copytree(runs, tmp_path / "elsewhere" / "runs"))
    monkeypatch.chdir(elsewhere.parent)
    pack("runs", out="again.zip")
    assert Path("again.zip").read_bytes() == packed.read_bytes()


def contents(file: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            yield entry.filename, archive.read(entry)


def test_a_pack_holds_no_path_no_image_and_no_pickle(packed: Path, runs: Path) -> None:
    names = set[str]()
    for name, content in contents(packed):
        names.add(Path(name).name)
        assert b"/home" not in content
        assert b"secret" not in content
        assert str(runs).encode() not in content
        if name.endswith(".npz"):
            arrays: Mapping[str, Any] = np.load(io.BytesIO(content), allow_pickle=False)
            assert all(array.dtype != object for array in arrays.values())
    assert names == {
        *("README.txt", "check.py", "columns.json", "results.csv", "run.json", "tables.npz", "probabilities.npz"),
        *("__init__.py", "probabilities.py", "objects.py", "images.py", "recount.py", "intervals.py", "scores.py"),
        *("verdict.py", "cheaper.py"),
    }


def test_the_text_of_the_pack_explains_every_file_and_column(packed: Path) -> None:
    texts = dict(contents(packed))
    text = texts["README.txt"].decode()
    assert "holds 3 members, 8 ensembles, 1 evaluation" in text
    for column in texts["results.csv"].decode().splitlines()[0].split(","):
        shown = any(line.split()[:1] == [column] for line in text.splitlines())
        empty = all(not row[column] for row in csv.DictReader(io.StringIO(texts["results.csv"].decode())))
        assert shown != empty, column


def test_named_runs_bring_their_members(runs: Path, tmp_path: Path) -> None:
    found = pack(runs, out=tmp_path / "some.zip", members=["learned"])
    assert sorted(name.split("-")[0] for name in found.runs) == [
        "ensembles/learned", "members/linknet", "members/pspnet", "members/unet",
    ]  # fmt: skip
    assert sorted(pack(runs, out=tmp_path / "one.zip", members=["unet"]).runs)[0].startswith("members/unet")


def test_few_groups_two_classes_and_many_sizes_are_recomputed(
    make_member: Callable[..., Member],
    make_world: Callable[..., Any],
    many_sizes: Any,
    tmp_path: Path,
    run_bare: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    few = tmp_path / "few"
    world = make_world(8, (5, 7))
    world = replace(world, masks_nhw=np.minimum(world.masks_nhw, 1), classes=("nucleus",))
    for name in ("unet", "linknet"):
        make_member(few, name, world=world, background="class", resamples=10_000)
    combine(runs=few, method="average", folds=2)
    combine(runs=many_sizes.runs, method="geometric", calibrate="members", folds=2)
    for runs in (few, many_sizes.runs):
        out, folder = tmp_path / "pack.zip", tmp_path / f"unpacked-{runs.name}"
        pack(runs, out=out)
        with zipfile.ZipFile(out) as archive:
            archive.extractall(folder)
        done = run_bare(str(folder / "check.py"))
        assert (done.stderr, done.returncode) == ("", 0), done.stdout
        if runs == few:
            first = next(csv.DictReader((folder / "results.csv").read_text().splitlines()))
            assert first["foreground_iou"]
            assert not first["foreground_iou_low"]


def test_mistakes_are_refused_before_a_file_is_written(runs: Path, tmp_path: Path) -> None:
    for out, members, text in (
        ("paper.tar", [], "expected a zip file to write"),
        ("paper.zip", ["vgg"], "unknown member or ensemble 'vgg'"),
    ):
        with pytest.raises(EnsError, match=text):
            pack(runs, out=tmp_path / out, members=members)
    with pytest.raises(EnsError, match="there is no folder"):
        pack(tmp_path / "nothing", out=tmp_path / "paper.zip")
    (tmp_path / "empty").mkdir()
    expected = "expected finished members in .*; choose the folder that holds members/, or train one first"
    with pytest.raises(EnsError, match=expected):
        pack(tmp_path / "empty", out=tmp_path / "paper.zip")
    assert not list(tmp_path.glob("*paper*"))


def test_an_ensemble_that_lacks_a_member_is_left_out_and_named(runs: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copytree(runs, tmp_path / "runs"))
    (lost,) = (changed / "members").glob("linknet-*")
    shutil.rmtree(lost)
    found = pack(changed, out=tmp_path / "paper.zip")
    assert not any(name.startswith("ensembles") for name in found.runs)
    assert len(found.left_out) == len(METHODS)
    assert f"is left out: its members {lost.name} are not in the pack" in found.left_out[0]
