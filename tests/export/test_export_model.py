"""One ONNX file of a member or an ensemble: the same numbers, in an interpreter without torch and this package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import ensemble
from ensemble.combining.combine import combine
from ensemble.core.errors import EnsError, UnknownName
from ensemble.export import export_model as module
from ensemble.export import onnx_model
from ensemble.export.export_model import Exported, export_model
from ensemble.export.measure import Parity
from ensemble.export.onnx_graph import open_session, run_session
from ensemble.inference.load import load
from ensemble.runs.member import Member

README = Path(__file__).parents[2] / "ensemble" / "export" / "README.md"


@pytest.fixture(scope="module")
def runs(small_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two small members and two ensembles of them."""
    runs = Path(shutil.copytree(small_runs, tmp_path_factory.mktemp("exported") / "runs"))
    combine(method="per-class", calibrate="both", decide="expected-iou", folds=2, runs=runs)
    combine(method="vote", folds=2, runs=runs)
    return runs


@pytest.fixture(scope="module")
def done(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The ensemble with weights per class as one file."""
    return export_model("per-class", tmp_path_factory.mktemp("onnx") / "both.onnx", runs=runs)


def test_an_ensemble_is_one_graph_with_its_numbers(runs: Path, done: Exported, tiny_arrays: dict[str, Any]) -> None:
    predictor = load("per-class", runs=runs)
    images = np.pad(tiny_arrays["test_set"], ((0, 0), (3, 6), (0, 9)))
    probs_nchw, ids_nhw = run_session(open_session(done.path.read_bytes()), images[..., None])
    expected_nchw = predictor(images)
    np.testing.assert_allclose(probs_nchw, expected_nchw, atol=1e-5)
    assert (ids_nhw == predictor.masks(expected_nchw)).mean() > 0.999
    assert done.parity.largest < 1e-5
    assert done.parity.sizes == ((32, 32), (21, 19), (48, 48))
    assert done.size == done.path.stat().st_size
    assert all(time.ratio > 0 for time in done.latency)
    assert [time.threads for time in done.latency] in ([1], [1, 2])
    assert done.change is None


def test_the_file_describes_itself(runs: Path, done: Exported) -> None:
    facts = open_session(done.path.read_bytes()).get_modelmeta().custom_metadata_map
    found = {key: json.loads(facts[key]) for key in ("classes", "ids", "colours", "bands", "span", "members", "data")}
    predictor = load("per-class", runs=runs)
    assert (found["classes"], found["ids"], found["bands"]) == (["soil", "rock", "ripples"], [1, 2, 3], 1)
    assert (found["span"], len(found["colours"]), len(found["colours"][0])) == ([0, 255], 3, 3)
    assert (facts["model"], facts["decision"], facts["precision"]) == (predictor.name, "expected-iou", "fp32")
    assert (facts["digest"], facts["made by"].startswith("ens-toolkit")) == (predictor.digest, True)
    assert [one["name"] for one in found["members"]] == [member.name for member in predictor.members]
    (network,) = predictor.networks.members[0].networks
    np.testing.assert_allclose(found["members"][0]["mean"][0], network.mean_c.flatten(), rtol=1e-6)
    assert "tmp" not in json.dumps(facts)  # no folder of this machine


def block(language: str) -> str:
    found = re.search(rf"<!-- {language} -->\n```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_the_examples_are_short(language: str) -> None:
    assert sum(bool(line.strip()) for line in block(language).splitlines()) <= 15


def test_the_example_writes_the_masks_of_ens_predict_without_torch_and_this_package(
    runs: Path, done: Exported, tmp_path: Path, tiny_arrays: dict[str, Any]
) -> None:
    Image.fromarray(tiny_arrays["test_set"][0]).save(tmp_path / "photo.png")
    (tmp_path / "example.py").write_text(block("python"))
    bare = "import runpy, sys; sys.modules |= dict.fromkeys(('torch', 'ensemble', 'architectures'))"
    code = f"{bare}; del sys.argv[0]; runpy.run_path('example.py', run_name='__main__')"
    command = [sys.executable, "-I", "-c", code, "example.py", str(done.path), "photo.png", "mask.png"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"{'soil': 0\.\d+, 'rock': ", ran.stdout)
    ensemble.predict("per-class", tmp_path / "photo.png", tmp_path / "own.png", runs=runs)
    mask, own = (np.asarray(Image.open(tmp_path / name)) for name in ("mask.png", "own.png"))
    np.testing.assert_array_equal(mask, own)


def test_a_member_in_8_bits_with_the_change_of_its_score(runs: Path, tmp_path: Path) -> None:
    (member,) = (runs / "members").glob("unet-baseline*")
    notes = list[str]()
    done = export_model(member, tmp_path / "small.onnx", precision="int8", on_note=notes.append)
    change = done.change
    assert change is not None
    assert (change.images, change.groups) == (12, 6)
    assert change.difference.difference == pytest.approx(change.graph - change.networks)
    assert 1e-6 < done.parity.largest < 0.5
    session = open_session(done.path.read_bytes())
    assert session.get_modelmeta().custom_metadata_map["precision"] == "int8"
    assert b"QuantizeLinear" in done.path.read_bytes()


@pytest.mark.slow
def test_a_member_in_16_bits_is_half_as_large(train_tiny: Callable[..., Member], tmp_path: Path) -> None:
    member = train_tiny(tmp_path / "runs", arch="unet-baseline(filters=32, depth=1)", epochs=1, folds=2)
    notes = list[str]()
    done = export_model(member.path, tmp_path / "half.onnx", precision="fp16", on_note=notes.append)
    assert done.size < 0.75 * done.weights
    assert done.parity.largest < 0.02
    assert notes == ["networks of folds have seen the validation images of the other folds, on which this is measured"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": "vote"}, "got the method 'vote', which the ONNX graph has no part for"),
        ({"to": "coreml"}, "unknown format 'coreml'"),
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"out": "model.pt"}, "expected a file that ends in .onnx, got model.pt; give FILE.onnx"),
        ({"data": "gone.npz"}, "at gone.npz, to compare the graph .* pass the new location as data"),
    ],
)
def test_mistakes_are_named_before_any_work(settings: dict[str, Any], text: str, runs: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": "per-class", "runs": runs, "out": tmp_path / "new.onnx"} | settings
    with pytest.raises(EnsError, match=text):
        export_model(**given)
    assert not list(tmp_path.iterdir())


def test_a_decision_from_the_predicted_images_is_noted(runs: Path, tmp_path: Path) -> None:
    class NotedError(Exception):
        """Ends the export, for the graph is of no interest."""

    def listen(note: str) -> None:
        if "by those of the images that it predicts, so masks differ" in note:
            raise NotedError

    own = Path(shutil.copytree(runs, tmp_path / "runs"))
    made = combine(method="average", decide="expected-iou", decide_from="images", folds=2, runs=own).ensemble
    with pytest.raises(NotedError):
        export_model(made.path, tmp_path / "new.onnx", on_note=listen)


def test_a_file_that_exists_is_kept(runs: Path, done: Exported) -> None:
    before = done.path.read_bytes()
    with pytest.raises(EnsError, match=r"expected a new file, but .*both.onnx exists; choose another name"):
        export_model("per-class", done.path, runs=runs)
    assert done.path.read_bytes() == before


def test_a_graph_with_other_probabilities_is_refused(
    runs: Path, done: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (member,) = (runs / "members").glob("unet-baseline*")
    content = done.path.read_bytes()
    monkeypatch.setattr(onnx_model, "to_onnx", lambda *_: onnx.load_from_string(content))  # the graph of another model
    with pytest.raises(EnsError, match=r"of unet-baseline\S* to 0.0001, but it differs by .* on images of 32x32"):
        export_model(member, tmp_path / "wrong.onnx")
    monkeypatch.setattr(module, "compare", lambda *_: Parity(float("nan"), 0.5, ((8, 9),)))
    with pytest.raises(EnsError, match="numbers that are not finite; export it with another precision"):
        export_model(member, tmp_path / "wrong.onnx", precision="fp16")
    assert not list(tmp_path.iterdir())


def test_names_are_suggested(runs: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'fp16'"):
        export_model("per-class", precision="f16", runs=runs)
