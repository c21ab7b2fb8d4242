"""The report as a file: it is self-contained, shows the numbers of the table, and names what it leaves out."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from markupsafe import Markup
from typer.testing import CliRunner, Result

import ensemble
from ensemble import results
from ensemble.cli import report as command
from ensemble.cli.console import Commands
from ensemble.core.errors import EnsError
from ensemble.core.files import file_digest, read_json, sealed, write_json
from ensemble.core.progress import no_progress
from ensemble.core.registry import IMPORTED
from ensemble.evaluation.confusion import pixel_accuracy
from ensemble.report.figures.charts import run_charts
from ensemble.report.image_browser import PER_REASON, browse
from ensemble.report.page import Report, write_report
from ensemble.report.report_data import read_report_data
from ensemble.runs.member import Member
from ensemble.runs.tables import read_tables

MakeRuns = Callable[..., Path]
PLAIN = ("soil", "bedrock", "sand", "big rock")


class Page(HTMLParser):
    """The elements of a page with their attributes, and its texts with the tag around each."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures for tests that need only their titles."""
    monkeypatch.setattr("ensemble.report.figures.svg.Chart.html", lambda chart: Markup(""))


@pytest.fixture
def page(made: tuple[Path, Report]) -> Page:
    return Page(made[1].path)


def titles(page: Page) -> list[str]:
    return page.said("h2")


# ---------------------------------------------------------------- the file


def test_nothing_is_fetched_and_one_script_runs(page: Page, made: tuple[Path, Report]) -> None:
    links = [
        value for _, each in page.elements for name, value in each.items() if name in ("src", "href", "xlink:href")
    ]
    assert links
    assert all(link.startswith(("#", "data:")) for link in links)
    (policy,) = (each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", made[1].path.read_text(encoding="utf-8"), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert len(page.of("script")) == 1
    assert not [each for _, each in page.elements if any(name.startswith("on") for name in each)]
    assert made[1].size == made[1].path.stat().st_size < 1_000_000


def test_every_picture_has_a_text_and_every_link_a_target(page: Page) -> None:
    assert page.open == []
    assert all(each["alt"] for each in page.of("img"))
    assert all(each["role"] == "img" and each["aria-label"] for each in page.of("svg"))
    counts = Counter(each["id"] for _, each in page.elements if "id" in each)
    assert max(counts.values()) == 1
    named = [each[key].lstrip("#") for _, each in page.elements for key in ("href", "aria-labelledby") if key in each]
    assert {name for name in named if not name.startswith("data:")} <= set(counts)


def test_every_part_is_there(page: Page) -> None:
    assert titles(page) == [
        *("Results", "Steps", "Architecture and loss", "Classes", "Learning", "Confusions", "Pixels left open"),
        *("Diversity", "Contributions", "Reliability", "Risk and coverage", "Images", "Notes"),
    ]


def test_names_are_shown_as_they_are(page: Page) -> None:
    heads = page.said("button")
    for name in ("<script>document.title = 'owned'</script>", "a$b^$", '"><img src=x onerror=alert(1)>'):
        assert name in heads
    assert "x" not in [each.get("src") for each in page.of("img")]


def test_numbers_are_those_of_the_table(page: Page, made: tuple[Path, Report]) -> None:
    frame = results.load(made[0])
    assert [each["data-key"] for each in page.of("th") if each.get("scope") == "row"] == frame["name"].tolist()
    keys = [float(each["data-key"]) for each in page.of("td") if "data-key" in each and each["data-key"][0].isdigit()]
    assert set(frame["miou"]) <= set(keys)
    assert set(frame["log_loss"]) <= set(keys)
    assert "Dice %" in page.said("button")
    best = 100 * frame["miou"].max()
    assert f"{best:.1f}" in page.said("td")
    low, high = (f"{100 * frame[f'miou_{end}'].iloc[0]:.1f}" for end in ("low", "high"))
    assert f"{low}\u2013{high}" in page.said("small")


def test_question_and_answer_are_those_of_the_verdict(page: Page, made: tuple[Path, Report]) -> None:
    runs, done = made
    (path,) = (runs / "ensembles").iterdir()
    scores = read_json(path / "scores.json")
    where = f"tiny.npz ({scores['images']} images in {scores['groups']} independent groups)"
    assert done.question == f"Is the average of 3 networks better than a single network on {where}?"
    assert page.said("h1") == [done.question]
    score = f"{100 * scores['miou']:.1f} % mIoU (95 % interval {100 * scores['miou_low']:.1f} to"
    assert done.answer.startswith(scores["verdict"]["advice"])
    assert score in done.answer
    assert done.answer in page.said("p")
    assert "3 members, 1 ensemble" in " ".join(page.said("p"))


# ---------------------------------------------------------------- images


def test_requested_and_ranked_images_are_shown(made: tuple[Path, Report]) -> None:
    data = read_report_data(made[0])
    shown = browse(data, ["7"])
    by_reason = {reason: [one.id for one in shown.images if reason in one.reasons] for reason in shown.reasons}
    assert by_reason["chosen by you"] == ["7"]
    assert shown.images[0].id == "7"
    read = read_tables(data.best.path)
    confusions = read.confusions_nkk
    accuracy = pixel_accuracy(confusions)
    full = confusions.sum((1, 2)) >= np.median(confusions.sum((1, 2)))
    worst = [str(read.ids[row]) for row in np.argsort(np.where(full, accuracy, 2), kind="stable")[:PER_REASON]]
    assert sorted(by_reason["worst"]) == sorted(worst)
    assert len({one.id for one in shown.images}) == len(shown.images)
    for one in shown.images:
        assert one.photograph
        assert len(one.tiles) == 1 + 3 + 1 + 2
        assert one.ratio == 1.5


def test_an_unknown_image_is_one_sentence(made: tuple[Path, Report], tmp_path: Path) -> None:
    with pytest.raises(EnsError, match=r"expected the id of an image .* such as 0, got 'x'"):
        write_report(made[0], tmp_path / "x.html", images=["x"])
    assert not list(tmp_path.iterdir())


def test_pictures_beyond_the_budget_are_left_out_and_counted(
    made: tuple[Path, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = read_report_data(made[0])
    whole = browse(data)
    from ensemble.report import image_browser

    monkeypatch.setattr(image_browser, "BUDGET", whole.images[0].size + whole.images[1].size)
    cut = browse(data)
    assert cut.images == whole.images[:2]
    assert f"The report shows 2 of {len(whole.images)} chosen images, to keep the file small." in cut.notes


# ---------------------------------------------------------------- other runs


def test_members_without_an_ensemble(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, combined=False, classes=PLAIN)
    done = write_report(runs, tmp_path / "report.html")
    page = Page(done.path)
    assert done.question.startswith("Which of 3 networks is best on tiny.npz (")
    best = results.load(runs)["name"][0]
    assert done.answer.startswith(f"{best} scores highest with ")
    assert "significantly more than each of the 2 others" in done.answer
    assert titles(page) == [
        *("Results", "Steps", "Architecture and loss", "Classes", "Learning", "Confusions", "Calibration"),
        *("Images", "Notes"),
    ]
    assert any("average of 3: " in text for text in page.said("figcaption"))


@pytest.mark.usefixtures("undrawn")
def test_imported_members_have_no_curves_and_no_costs(tiny_runs: Path, tiny_npz: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(tiny_runs, tmp_path / "runs"))
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], (24, 32, 32)).transpose(0, 3, 1, 2).astype(np.float32)
    np.savez_compressed(tmp_path / "other.npz", probabilities=probs, rows=np.arange(24))
    for name in ("one", "two"):
        ensemble.import_member(tmp_path / "other.npz", name=name, data=tiny_npz, runs=runs)
    ensemble.combine(method="average", runs=runs)
    data = read_report_data(runs)
    assert len(data.members) == 4
    page = Page(write_report(runs, tmp_path / "report.html").path)
    assert {"Learning", "Diversity", "Images"} <= set(titles(page))
    shutil.rmtree(runs / "ensembles")
    for member in data.members:
        if member.settings.architecture.origin != IMPORTED:
            shutil.rmtree(member.path)
    page = Page(write_report(runs, tmp_path / "report.html").path)
    assert "Learning" not in titles(page)
    assert {"Steps", "Images"} <= set(titles(page))
    assert "params M" not in page.said("button")


@pytest.mark.usefixtures("undrawn")
def test_classes_with_similar_names_stay_apart(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, members=1, combined=False, classes=("big rock", "big_rock", "soil"))
    page = Page(write_report(runs, tmp_path / "report.html").path)
    assert [text for text in page.said("button") if text in ("big rock", "big_rock", "soil")][:3] == [
        *("big rock", "big_rock", "soil")
    ]
    iou = read_report_data(runs).members[0].scores["iou"]
    cells = page.said("td")
    at = cells.index(f"{100 * iou['big rock']:.1f}")
    assert cells[at : at + 3] == [f"{100 * iou[name]:.1f}" for name in ("big rock", "big_rock", "soil")]
    assert [each["style"] for each in page.of("span") if "style" in each] == [
        *("background:#e69f00", "background:#56b4e9", "background:#f0e442")
    ]


@pytest.mark.usefixtures("undrawn")
def test_one_member_whose_data_are_gone(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, members=1, combined=False, classes=PLAIN)
    (tmp_path / "tiny.npz").unlink()
    done = write_report(runs, tmp_path / "report.html")
    page = Page(done.path)
    (name,) = results.load(runs)["name"]
    assert done.question.startswith(f"How good is {name} on tiny.npz (")
    assert titles(page) == ["Results", "Classes", "Learning", "Confusions", "Calibration", "Images", "Notes"]
    said = "The data (tiny.npz) cannot be opened any more, so the report shows the maps without the images."
    assert said in page.said("p")
    assert "image" not in page.said("figcaption")
    assert page.said("figcaption").count("truth") == len(page.of("article")) > 3


def test_other_data_under_the_same_name_are_not_shown(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, members=1, combined=False, classes=PLAIN)
    with np.load(tmp_path / "tiny.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(tmp_path / "tiny.npz", **arrays | {"training_set": arrays["training_set"][::-1]})
    shown = browse(read_report_data(runs))
    assert [one.photograph for one in shown.images] == [""] * len(shown.images)
    assert "The data (tiny.npz) have changed, so the report shows the maps without the images." in shown.notes


def test_runs_of_another_split_are_left_out_and_counted(
    make_runs: MakeRuns, make_member: Callable[..., Member], make_world: Callable[..., Any], tmp_path: Path
) -> None:
    runs = make_runs(tmp_path, members=2, combined=False, classes=PLAIN)
    late = make_member(runs, "late", world=make_world(split_hash="9" * 32), finished="2026-12-01T00:00:00+00:00")
    data = read_report_data(runs)
    assert [member.name for member in data.members] == [late.name]
    others = ", ".join(name for name in results.load(runs)["name"] if name != late.name)
    assert data.notes == [f"Left out, because they were scored on other images or classes: {others}."]


def test_a_note_does_not_name_hundreds_of_runs(
    make_member: Callable[..., Member], make_world: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.report.report_data.MOST_NAMES", 1)
    for seed in range(3):
        make_member(tmp_path, "net", seed=seed)
    make_member(tmp_path, "late", world=make_world(split_hash="9" * 32), finished="2026-12-01T00:00:00+00:00")
    (note,) = read_report_data(tmp_path).notes
    assert re.search(r"other images or classes: net-ce-s\d-\w{6} and 2 more\.$", note)


def test_an_ensemble_with_a_damaged_or_missing_member_is_left_out_with_its_cause(
    make_runs: MakeRuns, tmp_path: Path
) -> None:
    runs = make_runs(tmp_path, members=3, classes=PLAIN)
    (whole,) = (runs / "ensembles").iterdir()
    one, other, _ = sorted((runs / "members").iterdir())
    pair = ensemble.combine([other.name, one.name], method="average", runs=runs).ensemble.path
    (one / "scores.json").write_text("{")
    damage, *causes = read_report_data(runs).notes
    assert f"{one / 'scores.json'} differs from what was written" in damage
    text = f"because its member {one.name} cannot be read."
    assert sorted(causes) == sorted(f"Left out: the ensemble {path.name}, {text}" for path in (whole, pair))
    shutil.rmtree(one)
    alone = read_report_data(runs, pair.name)
    assert [run.name for run in (*alone.members, *alone.ensembles)] == [pair.name]
    text = f"The classes of {pair.name} are not known, because its member {one.name} is missing."
    assert alone.notes == [f"Left out: {other.name}. {text}"]


def test_an_ensemble_of_more_members_than_are_shown(
    make_runs: MakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ensemble.report.report_data.MOST_RUNS", 2)
    done = write_report(make_runs(tmp_path, classes=PLAIN), tmp_path / "report.html", about="Study <i>: 1 < 2?")
    assert "The report shows the 2 of 3 members with the best mIoU." in done.notes
    page = Page(done.path)
    assert "Images" in titles(page)
    assert "Study <i>: 1 < 2?" in page.said("p")


def test_a_run_has_the_same_name_in_all_figures(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, combined=False, classes=PLAIN)
    for number, path in enumerate(sorted((runs / "members").iterdir())):
        name = f"net-ce-s{number}-abcde{number}"  # they differ in nothing but the seed
        write_json(path / "config.json", read_json(path / "config.json") | {"name": name})
        status = read_json(path / "status.json")
        files = status["files"] | {"config.json": file_digest(path / "config.json")}
        write_json(path / "status.json", sealed(status | {"files": files}))
        path.rename(path.with_name(name))
    ensemble.combine(method="average", runs=runs)
    data = read_report_data(runs)
    best, *others = (data.short[member.name] for member in data.members)
    assert {best, *others} == {"net-ce-s0", "net-ce-s1", "net-ce-s2"}
    found = {chart.key: chart.draw() for chart in run_charts(data, no_progress) if chart.key in ("steps", "confusions")}
    assert [axis.get_title() for axis in found["confusions"].axes] == ["average-3", best]
    rungs = [label.get_text() for label in found["steps"].axes[0].get_yticklabels()]
    assert rungs[-1].splitlines() == ["average-3", f"against {best}"]


def test_a_report_of_named_runs_does_not_mention_others(make_runs: MakeRuns, tmp_path: Path) -> None:
    runs = make_runs(tmp_path, members=3, combined=False, classes=PLAIN)
    names = [member.name for member in read_report_data(runs).members]
    (runs / "members" / names[0] / "status.json").write_text("{")
    data = read_report_data(runs, names=names[1:])
    assert [member.name for member in data.members] == names[1:]
    assert data.notes == []
    assert len(read_report_data(runs).notes) == 1


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_run_is_left_out_by_name(made: tuple[Path, Report], tmp_path: Path) -> None:
    runs = Path(shutil.copytree(made[0], tmp_path / "runs"))
    names = [member.name for member in read_report_data(runs).members]
    for name, file in zip(names, ("scores.json", "history.csv", "probabilities"), strict=True):
        path = runs / "members" / name / file
        shutil.rmtree(path) if path.is_dir() else path.write_text("{")
    done = write_report(runs, tmp_path / "report.html")
    assert done.question.startswith(f"How good is {names[2]} on")
    notes = "\n".join(done.notes)
    assert f"{names[0]}/scores.json differs from what was written" in notes
    assert f"{names[1]}/history.csv differs from what was written" in notes
    assert re.search(r"The report shows no images: .*manifest\.json is missing", notes)
    assert "Images" not in titles(Page(done.path))
    assert done.notes[0] in Page(done.path).said("li")


@pytest.mark.usefixtures("undrawn")
def test_an_ensemble_whose_members_are_gone_has_its_scores(made: tuple[Path, Report], tmp_path: Path) -> None:
    shutil.copytree(made[0] / "ensembles", tmp_path / "runs" / "ensembles")
    done = write_report(tmp_path / "runs", tmp_path / "report.html")
    assert done.question.startswith("Is the average of 3 networks better")
    assert titles(Page(done.path)) == ["Results", "Classes", "Notes"]
    assert any("does not explain" in note for note in done.notes)


def test_the_best_of_two_ensembles_is_explained_unless_one_is_named(made: tuple[Path, Report], tmp_path: Path) -> None:
    runs = Path(shutil.copytree(made[0], tmp_path / "runs"))
    other = ensemble.combine(method="vote", runs=runs).ensemble
    data = read_report_data(runs)
    assert len(data.ensembles) == 2
    assert data.featured is not None
    assert data.featured.scores["miou"] == max(each.scores["miou"] for each in data.ensembles)
    lead = data.ensembles[0].scores["miou"] - data.ensembles[1].scores["miou"]
    assert ("looks larger than it is" in data.notes[-1]) == (lead >= 0.00005)
    alone = read_report_data(runs, other.name)
    assert [each.name for each in alone.ensembles] == [other.name]
    assert len(alone.members) == 3
    assert alone.notes == []


@pytest.mark.parametrize(("lead", "flattered"), [(0.00004, False), (0.00006, True)])
def test_a_lead_that_rounds_to_zero_is_not_called_too_large(lead: float, flattered: bool) -> None:
    from ensemble.report.report_data import note_on_choice

    found: list[Any] = [SimpleNamespace(scores={"miou": 0.5 + each}) for each in (lead, 0.0)]
    note = note_on_choice(found)
    assert note.startswith("The report explains the ensemble with the best mIoU of 2.")
    assert ("looks larger than it is" in note) == flattered
    assert ("Another one has the same mIoU." in note) != flattered


@pytest.mark.usefixtures("undrawn")
def test_an_older_run_shows_the_scores_that_it_has(made: tuple[Path, Report], tmp_path: Path) -> None:
    runs = Path(shutil.copytree(made[0], tmp_path / "runs"))
    for path in (*(runs / "members").iterdir(), *(runs / "ensembles").iterdir()):
        old = (
            "miou",
            "iou",
            "images",
            "groups",
            "protocol",
            "selected",
            "verdict",
            "log_loss",
            "ece",
            "pixel_accuracy",
        )
        scores = {key: value for key, value in read_json(path / "scores.json").items() if key.startswith(old)}
        write_json(path / "scores.json", scores)
        with np.load(path / "confusions.npz") as archive:
            tables = {key: archive[key] for key in ("confusions", "log_loss")}
        np.savez_compressed(path / "confusions.npz", **tables)
        status = read_json(path / "status.json")
        status["files"] = {name: file_digest(path / name) for name in status["files"]}
        write_json(path / "status.json", sealed(status))
    shutil.rmtree(runs / "ensembles")
    page = Page(write_report(runs, tmp_path / "report.html").path)
    assert "Calibration" not in titles(page)
    assert {"Confusions", "Images", "Steps"} <= set(titles(page))
    assert "Dice %" not in page.said("button")


# ---------------------------------------------------------------- the command


@pytest.fixture
def run() -> Callable[..., Result]:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    app.command("report", epilog=command.EXAMPLE)(command.report)
    app.command("other")(lambda: None)
    return lambda *words: CliRunner().invoke(app, ["report", *map(str, words)])


def test_command_writes_prints_and_returns_json(
    run: Callable[..., Result], made: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def fake(root: Path, out: Path, *, ensemble: str | None, images: Any, progress: Any) -> Report:
        calls.append((root, out, ensemble, images))
        return made[1]

    monkeypatch.setattr("ensemble.report.page.write_report", fake)
    (name,) = (path.name for path in (made[0] / "ensembles").iterdir())
    whole = run("--runs", made[0], "--out", tmp_path / "x.html", "--image", 3, "--image", 4)
    assert (whole.exit_code, calls[-1]) == (0, (made[0], tmp_path / "x.html", None, ["3", "4"]))
    assert made[1].answer in " ".join(whole.stdout.split())
    printed = json.loads(run("average", "--runs", made[0], "--json").stdout)
    assert calls[-1] == (made[0], Path("report.html"), name, ())
    assert (printed["question"], printed["bytes"]) == (made[1].question, made[1].size)
    assert run(made[0] / "ensembles" / name, "--quiet").stdout.split()[0] == str(made[1].path)
    assert calls[-1][2] == name


def test_mistakes_are_one_sentence(run: Callable[..., Result], made: tuple[Path, Report], tmp_path: Path) -> None:
    member = next(path.name for path in (made[0] / "members").iterdir())
    (tmp_path / "empty").mkdir()
    cases = {
        (made[0],): "is a folder of runs, and no run; give it as runs",
        ("nowhere", "--runs", tmp_path / "no"): "unknown member or ensemble 'nowhere'",
        ("averag3", "--runs", made[0]): "unknown member or ensemble 'averag3'; did you mean 'average-3",
        (member, "--runs", made[0]): f"got the member {member}",
        ("--runs", tmp_path / "empty"): "expected a finished member in",
        ("--runs", made[0], "--out", tmp_path): "expected a file to write the report to, got the folder",
    }
    for words, message in cases.items():
        result = run(*words)
        assert result.exit_code == 2, words
        assert message in " ".join(result.stderr.split()), words
        assert result.stdout == ""
