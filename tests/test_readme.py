"""The READMEs are true: shown commands parse or run, Python blocks run, links lead somewhere, numbers are measured."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer.main
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from ensemble.architectures import ARCHITECTURES
from ensemble.cli import app
from ensemble.combining.advice import advise
from ensemble.core.registry import Registry
from ensemble.data.formats.registry import FORMATS
from ensemble.evaluation.caveats import ENOUGH_GROUPS
from ensemble.evaluation.paired import Comparison
from ensemble.losses import LOSSES
from ensemble.losses import registry as loss_registry
from ensemble.training import length

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in (
        "*.md",
        "architectures/*.md",
        "losses/*.md",
        "experiments/*.md",
        ".github/*.md",
        "ensemble/**/README.md",
    )
    for path in sorted(ROOT.glob(pattern))
    if path.name != "CHANGELOG.md"  # it names commands and options that are gone
}
ROOMS = [page for page in PAGES if page.startswith("ensemble/") and page.count("/") > 1]
COMMANDS: Any = typer.main.get_command(app)


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shown_commands(text: str) -> list[str]:
    """Return every ``ens`` command of a page: lines of shell blocks, indented lines and code within sentences."""
    text = text.replace("\\\n", " ")
    shell = "\n".join([*blocks(text, "sh"), *blocks(text, "bash"), *re.findall(r"^    (.*)$", text, re.MULTILINE)])
    lines = re.findall(r"^(?:.*&& )?(ens .*)$", shell, re.MULTILINE)
    return [line.split(" #")[0].strip() for line in [*lines, *re.findall(r"`(ens [a-z][^`]*)`", text)]]


# ---------------------------------------------------------------- commands


def test_the_two_commands_are_these() -> None:
    lines = README.splitlines()
    assert "pip install . && ens quickstart" in lines
    assert "pip install '.[test]' && pytest -n 2 --dist loadfile" in lines


@pytest.mark.parametrize(("page", "line"), [(page, line) for page in PAGES for line in shown_commands(PAGES[page])])
def test_every_shown_command_parses(page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ensemble.plugins.load_plugin", lambda _: None)
    words = [word for word in shlex.split(line)[1:] if word != "..."]
    command: Any = COMMANDS
    while hasattr(command, "commands") and words:
        command = command.commands[words.pop(0)]
    try:
        command.make_context("ens", words)
    except Exception as error:
        # Text such as `ens train DATA` shows a part. The class is typer's own and has no public name.
        if type(error).__name__ != "MissingParameter":
            raise


def test_the_check_of_shown_commands_finds_a_wrong_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for line in ("ens train DATA --architecture unet", "ens data check --filters 3", "ens combine --method"):
        with pytest.raises(Exception, match=r"No such option|requires an argument"):
            test_every_shown_command_parses("README.md", line, tmp_path, monkeypatch)
    with pytest.raises(KeyError):
        test_every_shown_command_parses("README.md", "ens trian DATA", tmp_path, monkeypatch)


def test_every_command_has_a_row_and_no_row_is_dead() -> None:
    rows = PAGES["ensemble/cli/README.md"]
    shown = set(re.findall(r"^\| `ens ((?:data )?[a-z-]+)", rows, re.MULTILINE))
    data = COMMANDS.commands["data"].commands
    assert shown == {*(name for name in COMMANDS.commands if name != "data"), *(f"data {name}" for name in data)}


# ---------------------------------------------------------------- the five commands and the same from Python


@pytest.fixture
def street(tiny_arrays: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folders that the README speaks of, in a working directory of their own."""
    for folder in ("street/images", "street/masks", "photos"):
        (tmp_path / folder).mkdir(parents=True)
    for row, (image, mask) in enumerate(tiny_arrays["training_set"]):
        Image.fromarray(image).save(tmp_path / f"street/images/{row:02d}.png")
        Image.fromarray(mask).save(tmp_path / f"street/masks/{row:02d}.png")
    for row, image in enumerate(tiny_arrays["test_set"]):
        Image.fromarray(image).save(tmp_path / f"photos/{row}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(length, "DEFAULT_STEPS", 1)
    return tmp_path


def test_the_five_commands_run(street: Path) -> None:
    lines = next(block for block in blocks(README, "sh") if block.count("\nens") == 4).splitlines()
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)[1:]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert len(list((street / "masks").glob("*.png"))) == 5


def test_the_same_from_python_runs(street: Path, tiny_arrays: dict[str, Any]) -> None:
    code = next(block for block in blocks(README, "python") if "ensemble.train(" in block)
    names: dict[str, Any] = {"images": tiny_arrays["test_set"]}
    exec(compile(code.replace("epochs=30", "epochs=1"), "README.md", "exec"), names)
    assert names["probabilities"].shape == (5, 4, 32, 32)
    assert len(names["table"]) == 3


# ---------------------------------------------------------------- the loss in one file


@pytest.fixture
def example_loss(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Return the loss of the README, executed as a file in an empty registry."""
    registry: Registry[nn.Module] = Registry("loss")
    monkeypatch.setattr(loss_registry, "LOSSES", registry)
    exec(compile(brier_file(), "brier.py", "exec"), {"__name__": "brier"})
    return registry.create("brier", torch.ones(3))


def brier_file() -> str:
    """Return the file of the README's example."""
    return next(block for block in blocks(README, "python") if "LOSSES.register" in block)


def test_the_example_loss_is_the_brier_score(example_loss: nn.Module) -> None:
    generator = np.random.default_rng(0)
    logits = torch.from_numpy(generator.normal(size=(2, 3, 4, 5)).astype(np.float32))
    labels = generator.integers(0, 3, (2, 4, 5))
    labels[0, 0] = 255
    probs = torch.softmax(logits, 1).numpy().transpose(0, 2, 3, 1)
    known = labels != 255
    expected = ((probs[known] - np.eye(3)[labels[known]]) ** 2).sum(-1).mean()
    assert float(example_loss(logits, torch.from_numpy(labels))) == pytest.approx(expected, abs=1e-6)


def test_the_example_loss_ignores_void(example_loss: nn.Module) -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    loss = example_loss(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.fixture
def brier_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the example as ``brier.py`` into the working directory; the registry forgets it after the test."""
    monkeypatch.setattr(LOSSES, "_own", dict(LOSSES._own))  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(FORMATS, "_own", dict(FORMATS._own))  # pyright: ignore[reportPrivateUsage]
    (tmp_path / "brier.py").write_text(brier_file(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("brier_plugin")
@pytest.mark.parametrize("page", ROOMS)
def test_the_python_blocks_of_the_rooms_run(page: str) -> None:
    for code in blocks(PAGES[page], "python"):
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(code, page, "exec"), names)
        for test in [value for name, value in names.items() if name.startswith("test_")]:
            test()


# ---------------------------------------------------------------- links and names


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    dead: list[str] = []
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            dead.append(link)
    assert not dead


def test_every_architecture_and_loss_that_the_readme_uses_exists() -> None:
    for kind, registry in (("arch", ARCHITECTURES), ("loss", LOSSES)):
        names = set(re.findall(rf'--{kind} "?([a-z][\w-]*)', "\n".join(PAGES.values())))
        assert names - set(registry) <= {"brier", "dilated", "mynet"}


# ---------------------------------------------------------------- numbers


def test_the_verdict_has_the_words_of_the_program() -> None:
    table = pd.read_csv(ROOT / "experiments" / "results" / "quickstart-verdict.csv")
    columns = ["difference", "points", "low", "high"]
    differences = {
        pair: Comparison(points / 100, low / 100, high / 100, 0.5)
        for pair, points, low, high in table[columns].to_numpy()
    }
    (best,), (groups,) = set(table.best_member), set(table.groups)
    advice = advise("learned", best, differences, groups).text
    block = next(block for block in blocks(README, "") if "verdict: " in block)
    assert " ".join(block.split("verdict: ")[1].split()) == advice
    text = " ".join(README.split())
    assert f"prints this one, from {table.images[0]} images in {groups} groups" in text
    assert f"a win of {table.points[table.difference == 'method - member'].item():.1f} points for the ensemble" in text


def test_the_worst_cells_of_the_intervals_are_quoted() -> None:
    rates = pd.read_csv(ROOT / "experiments" / "results" / "verdict-rates.csv")
    rates = rates[
        (rates.score == "difference in mIoU") & (rates.groups_with_rock == "any") & (rates.interval == "logits")
    ]
    worst = rates.misses[rates.groups >= ENOUGH_GROUPS].max()
    advice = pd.read_csv(ROOT / "experiments" / "results" / "advice-rates.csv").false_claims.max()
    text = " ".join(README.split())
    assert f"a difference in mIoU misses the truth in at most {100 * worst:.1f} % of planted cases" in text
    assert f"the advice states something false in at most {100 * advice:.1f} %" in text
