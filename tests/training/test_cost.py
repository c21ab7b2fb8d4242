"""Costs of architectures: compared with counts by hand; errors stay in their row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from ensemble.cli import app
from ensemble.core.errors import EnsError
from ensemble.inference import memory
from ensemble.training import cost as measure
from ensemble.training import rehearsal
from ensemble.training.cost import COLUMNS, MeasureSettings
from ensemble.training.trainer import FoldJob


@pytest.mark.slow
def test_a_row_per_architecture_with_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the numpy.py of the working folder ran')")
    monkeypatch.chdir(tmp_path)  # from which nothing is imported
    frame = measure.architectures(
        ["unet-baseline", "linknet"],
        image_size=(32, 48),
        classes=3,
        batch_size=2,
        precision="fp32",
        options={"unet-baseline": {"filters": "4"}, "linknet": {"encoder": "tu-no_such_model"}},
    )
    assert tuple(frame.columns) == COLUMNS
    good, bad = frame.iloc[0], frame.iloc[1]
    # Encoder 196 + 896, bottleneck 3520, up-sampling 512 + 128, decoder 1760 + 448, head 15.
    assert good["parameters"] == 7475
    assert 0.001 < good["gflops"] < 0.1
    assert good["train_images_per_second"] > 0
    assert good["infer_images_per_second"] > 0
    assert good["peak_memory_mb"] > 0
    assert pd.isna(good["error"])
    assert bad.drop(["name", "error"]).isna().all()
    assert "unknown encoder 'tu-no_such_model'" in bad["error"]


def test_measuring_in_this_process_gives_the_same_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RUN_SECONDS", 0.0)
    settings = MeasureSettings(
        name="unet-baseline", options={"filters": 4}, height=32, width=48, classes=3, batch_size=2, precision="fp32"
    )
    row = measure.measure(settings)
    assert tuple(row) == COLUMNS
    assert row["parameters"] == 7475


@pytest.mark.parametrize(("asked", "taken"), [(None, "muon"), ("muon", "muon"), ("adamw", "adamw")])
def test_the_steps_are_those_of_the_optimiser(asked: Any, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[FoldJob] = []

    def note(job: FoldJob, _: float) -> None:
        jobs.append(job)
        raise EnsError("enough")

    monkeypatch.setattr(rehearsal, "rehearse", note)
    settings = MeasureSettings(name="unet-baseline", height=32, width=48, batch_size=2, optimiser=asked)
    with pytest.raises(EnsError, match="enough"):
        measure.measure(settings)
    assert [job.settings.optimiser.name for job in jobs] == [taken]


def test_a_batch_that_does_not_fit_is_an_error_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = MeasureSettings(name="unet", options={"filters": 16}, height=96, width=96, precision="fp32")
    monkeypatch.setattr(memory, "free_memory", lambda: 150_000_000)
    with pytest.raises(EnsError, match=r"a batch of .* images of 96x96 needs about .* GB of memory, but there are"):
        measure.measure(settings)


def test_main_prints_a_line_or_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "measure", lambda settings: {"name": settings.name})
    measure.main(MeasureSettings(name="unet").model_dump_json())
    assert json.loads(capsys.readouterr().out) == {"name": "unet"}
    with pytest.raises(SystemExit, match="expected a Python file"):
        measure.main(MeasureSettings(name="unet", plugins=(str(tmp_path / "gone.py"),)).model_dump_json())


def test_the_command_shows_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(settings: MeasureSettings) -> dict[str, object]:
        if settings.name == "pspnet":
            return {"name": settings.name, "error": "expected [something] else"}
        numbers = (2_000_000, 1.5, 60.0, 200.0, 400.0, None)
        return dict(zip(COLUMNS, (settings.name, *numbers), strict=True))

    monkeypatch.setattr(measure, "in_a_fresh_process", fake)
    result = CliRunner().invoke(app, ["list", "architectures", "--measure", "--image-size", "32x64"])
    assert result.exit_code == 0, result.output
    assert "train images/s" in result.stdout
    assert "pspnet: expected [something] else" in result.stdout
    assert any(line.split() == ["unet", "2.00", "1.50", "60", "200", "400"] for line in result.stdout.splitlines())
    rows = json.loads(CliRunner().invoke(app, ["list", "architectures", "--measure", "--json"]).stdout)
    assert next(row for row in rows if row["name"] == "pspnet")["gflops"] is None
    result = CliRunner().invoke(app, ["list", "losses", "--measure"])
    assert result.exit_code == 2
    assert "--measure works only for architectures, got losses" in result.output
