"""Imported networks: the same numbers as where they were trained, honest claims, and one sentence for each mistake."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

import ensemble
from ensemble import plugins, results
from ensemble.architectures import ARCHITECTURES, is_weights_file
from ensemble.combining.combine import combine
from ensemble.config import DataSettings
from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.data import open_dataset, split_dataset
from ensemble.data.formats.registry import FORMATS
from ensemble.data.groups import image_groups
from ensemble.data.write_split import write_split
from ensemble.importing.import_network import import_network
from ensemble.importing.import_plan import NETWORK_FILES
from ensemble.importing.network_weights import Weights, fit_weights
from ensemble.inference.evaluate import evaluate
from ensemble.inference.load import load
from ensemble.losses import LOSSES
from ensemble.report.ladder import changes
from ensemble.runs.bundle import open_bundle
from ensemble.runs.layout import weights_name
from ensemble.runs.member import Member
from ensemble.runs.verify import verify

PLUGIN = '''
from torch import nn
from ensemble.architectures.padding import Padded
from ensemble.architectures.registry import ARCHITECTURES

@ARCHITECTURES.register("mynet")
def mynet(in_channels: int, classes: int, *, width: int = 4) -> nn.Module:
    """Half the size and back."""
    down = nn.Conv2d(in_channels, width, 3, stride=2, padding=1)
    up = nn.ConvTranspose2d(width, classes, 2, stride=2)
    return Padded(nn.Sequential(down, nn.BatchNorm2d(width), nn.ReLU(), up), in_channels, multiple=2)

@ARCHITECTURES.register("half")
def half(in_channels: int, classes: int) -> nn.Module:
    """Logits of half the size."""
    return nn.Conv2d(in_channels, classes, 1, stride=2)

class Pair(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.conv = nn.Conv2d(*sizes, 1)

    def forward(self, images):
        return {"out": self.conv(images)}

@ARCHITECTURES.register("pair")
def pair(in_channels: int, classes: int) -> nn.Module:
    """A dictionary of logits."""
    return Pair(in_channels, classes)

class Fixed(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.conv, self.place = nn.Conv2d(*sizes, 1), nn.Parameter(torch.ones(48, 48))

    def forward(self, images):
        return self.conv(images * self.place)

import torch

@ARCHITECTURES.register("fixed")
def fixed(in_channels: int, classes: int) -> nn.Module:
    """A network that knows one size."""
    return Fixed(in_channels, classes)
'''
Bring = Callable[..., Member]


@pytest.fixture(autouse=True)
def mynet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the plug-in; the registries forget it after the test."""
    monkeypatch.setattr(plugins, "_loaded", {})
    for each in (ARCHITECTURES, LOSSES, FORMATS):
        monkeypatch.setattr(each, "_own", dict(each._own))  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(each, "_origins", dict(each._origins))  # pyright: ignore[reportPrivateUsage]
    (tmp_path / "mynet.py").write_text(PLUGIN)
    ensemble.load_plugin(tmp_path / "mynet.py")


def body(seed: int = 0, classes: int = 3) -> nn.Sequential:
    """The network as its author wrote it, without the toolkit, after some training."""
    torch.manual_seed(seed)
    down, up = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, classes, 2, stride=2)
    made = nn.Sequential(down, nn.BatchNorm2d(4), nn.ReLU(), up)
    for _ in range(3):
        made(torch.rand(4, 1, 8, 8))  # moves the statistics of the batch norm
    return made.eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    state = {f"module.{name}": tensor for name, tensor in body().state_dict().items()}
    torch.save({"state_dict": state, "epoch": 7}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.fixture
def runs(tiny_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_runs, tmp_path / "runs"))


@pytest.fixture
def bring(runs: Path, tiny_npz: Path) -> Bring:
    def run(path: Any, **changed: Any) -> Member:
        given: dict[str, Any] = {"arch": "mynet", "data": tiny_npz, "runs": runs, "precision": "fp32"}
        return import_network(path, **(given | changed)).member

    return run


def by_hand(images_nhw: Any, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> Any:
    """Return the probabilities as plain torch computes them."""
    with torch.no_grad():
        logits = body(seed)((torch.from_numpy(images_nhw[:, None].astype(np.float32)) / 255 - mean) / std)
    return torch.softmax(logits, 1).numpy()


# ---------------------------------------------------------------- the same numbers


def test_it_predicts_what_plain_torch_predicts(bring: Bring, weights: Path, tiny_arrays: dict[str, Any]) -> None:
    member = bring(weights, mean=0.4, std=[0.2])
    assert member.name.startswith("net-")
    images = tiny_arrays["test_set"]
    np.testing.assert_allclose(load(member.path)(images), by_hand(images, 0.4, 0.2), atol=2e-6)
    (batch,) = member.store().batches()
    held_out = tiny_arrays["training_set"][[int(name) for name in member.store().ids], 0]
    np.testing.assert_allclose(batch[1], by_hand(held_out, 0.4, 0.2), atol=0.02)  # a byte per value
    assert member.scores["protocol"] == "hold-out, claimed"
    assert member.settings.trained_elsewhere
    assert member.has_store("test")


def test_a_member_of_the_toolkit_comes_back_bit_for_bit(bring: Bring, runs: Path) -> None:
    own = Member.open(next((runs / "members").glob("unet-baseline-ce-*")))
    again = bring(own.path / weights_name(0), arch="unet-baseline(filters=2, depth=1)", name="again")
    assert again.scores == own.scores | {"selected": None, "protocol": "hold-out, claimed"}
    np.testing.assert_array_equal(again.confusions(), own.confusions())
    for split in ("validation", "test"):
        mine, theirs = again.store(split), own.store(split)
        assert [chunk.digest for chunk in mine.chunks] == [chunk.digest for chunk in theirs.chunks]
    assert again.facts == own.facts
    assert again.status["parameters"] == own.status["parameters"]
    assert again.status["gflops"] == own.status["gflops"]


@given(
    wrap=st.sampled_from(["", "module.", "_orig_mod.module.", "model.", "segmentor.", "a.b."]),
    around=st.sampled_from(["network.", "net.", "", "x.y."]),
)
@settings(max_examples=20, deadline=None)
def test_wrappers_around_names_do_not_matter(wrap: str, around: str) -> None:
    inner, network = body(1), body(2)
    outer: nn.Module = network
    for part in reversed(around.split(".")[:-1]):
        outer = nn.ModuleDict({part: outer})
    state = {wrap + name: tensor for name, tensor in inner.state_dict().items()}
    fit_weights(outer, Weights(Path("w.pt"), state), "mynet", "1 band")
    for mine, theirs in zip(network.state_dict().values(), inner.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("form", ["plain.pt", "model.pth", "file.safetensors", "no counters.pt"])
def test_every_form_of_a_file_is_read(bring: Bring, weights: Path, tmp_path: Path, form: str) -> None:
    state, path = body().state_dict(), tmp_path / form
    if form == "no counters.pt":
        state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"model": state} if form.startswith("model") else state, path)
    assert is_weights_file(path)
    assert path.suffix in NETWORK_FILES
    one, other = bring(path), bring(weights)
    np.testing.assert_array_equal(one.confusions(), other.confusions())


def test_the_same_weights_again_are_the_same_member(bring: Bring, weights: Path, runs: Path, tiny_npz: Path) -> None:
    first = bring(weights)
    again = import_network(weights, arch="mynet", data=tiny_npz, runs=runs, precision="fp32")
    assert (again.member.path, again.new) == (first.path, False)
    others = [bring(weights, std=0.5), bring(weights, tta="hflip"), bring(weights, trained_on="none")]
    assert len({first.name, *(member.name for member in others)}) == 4
    assert load_file(first.path / weights_name(0))["std_c"].item() == 1


# ---------------------------------------------------------------- a member like any other


def test_it_is_combined_bundled_evaluated_and_listed(
    bring: Bring, weights: Path, runs: Path, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    member = bring(weights)
    other = next((runs / "members").glob("unet-baseline-ce-*"))
    whole = combine([member.path, other], method="average", runs=runs).ensemble.path
    images = tiny_arrays["test_set"]
    mean = (load(member.path)(images) + load(other)(images)) / 2
    np.testing.assert_allclose(load(whole)(images), mean, atol=1e-6)
    file = ensemble.bundle(whole, tmp_path / "both.ens", latency=False).path
    np.testing.assert_array_equal(load(file)(images), load(whole)(images))
    card = open_bundle(file).read("card.md").decode()
    assert f"Trained elsewhere, on images that nobody here knows: {member.name}. " in card
    assert "It needs mynet.py" in card
    found = evaluate(member.path, tiny_npz, part="val", runs=runs)
    assert found.scores["miou"] == pytest.approx(member.scores["miou"])
    table = results.load(runs)
    said = " ".join(results.notes(table))
    assert f"That {member.name} was not trained on the images that score it is the claim of whoever imported it" in said
    assert verify(runs).problems == []
    assert changes(member.settings, Member.open(other).settings) is None


def test_it_becomes_an_onnx_graph(
    bring: Bring, weights: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)  # else torch logs every step of an export
    member = bring(weights, mean=0.4, std=0.2)
    done = ensemble.export_model(member.path, tmp_path / "net.onnx", runs=runs)
    assert done.parity.largest < 1e-5
    assert (tmp_path / "net.onnx").stat().st_size == done.size


def test_nobody_can_train_it_again(bring: Bring, weights: Path, runs: Path) -> None:
    member = bring(weights)
    other = next((runs / "members").glob("unet-baseline-ce-*"))
    whole = combine([other, member.path], method="average", runs=runs).ensemble.path
    before = {*runs.rglob("*")}
    for model in (member.path, whole):
        with pytest.raises(EnsError, match=f"{member.name} was imported, and nobody here knows how it was trained"):
            ensemble.refit(model, runs=runs)
    with pytest.raises(EnsError, match="was imported as a trained network, and nobody here knows how"):
        ensemble.reproduce(member.path)
    assert {*runs.rglob("*")} == before


def test_without_its_plugin_it_is_refused(bring: Bring, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = bring(weights)
    built_in = {name: made for name, made in ARCHITECTURES._own.items() if name != "mynet"}  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(ARCHITECTURES, "_own", built_in)
    with pytest.raises(EnsError, match=rf"'mynet' of {member.name} comes from mynet\.py .*load the file \(--plug"):
        load(member.path)


# ---------------------------------------------------------------- what its training saw


def test_one_network_per_fold_predicts_its_fold(
    bring: Bring, tiny_npz: Path, tiny_arrays: dict[str, Any], tmp_path: Path
) -> None:
    files = [tmp_path / f"fold{fold}.pth" for fold in range(3)]
    for fold, file in enumerate(files):
        torch.save(body(fold).state_dict(), file)
    data = DataSettings(source=str(tiny_npz), folds=3)
    member = bring(files, data=data, name="folds")
    assert member.scores["protocol"] == "out-of-fold, claimed"
    dataset = open_dataset(data)
    split = split_dataset(dataset, image_groups(dataset), data)
    (batch,) = member.store().batches()
    for fold, rows in enumerate(split.validation):
        places = [member.store().ids.index(dataset.ids[row]) for row in rows]
        expected = by_hand(tiny_arrays["training_set"][rows, 0], seed=fold)
        np.testing.assert_allclose(batch[1][places], expected, atol=0.02)
    images = tiny_arrays["test_set"]
    mean = np.mean([by_hand(images, seed=fold) for fold in range(3)], axis=0)
    np.testing.assert_allclose(load(member.path)(images), mean, atol=2e-6)


def test_one_network_for_folds_must_have_seen_no_image(bring: Bring, weights: Path, tiny_npz: Path) -> None:
    data = DataSettings(source=str(tiny_npz), folds=3)
    with pytest.raises(EnsError, match="one network has no out-of-fold predictions of 3 folds if it was trained on"):
        bring(weights, data=data)
    member = bring(weights, data=data, trained_on="none")
    assert member.scores["protocol"] == "out-of-fold, claimed"
    assert member.scores["images"] == 24
    assert [path.name for path in member.path.glob("weights-*")] == [weights_name(0)]
    assert read_json(member.path / "config.json")["imported"]["claim"] == "no image of these data was in its training"
    assert bring(weights, std=0.5).scores["images"] == 6  # the split of the newest member that knows its own
    with pytest.raises(EnsError, match="has one network for the images of all folds, so it does not say which fold"):
        bring(weights, like=member.name)


def test_a_table_of_training_images_is_compared_with_the_split(
    bring: Bring, weights: Path, tiny_npz: Path, runs: Path, tmp_path: Path
) -> None:
    held_out = list(Member.open(next((runs / "members").iterdir())).store().ids)
    table = tmp_path / "seen.csv"

    def seen(*ids: str) -> Path:
        table.write_text("\n".join(["id", *ids, ""]))
        return table

    rest = [str(row) for row in range(24) if str(row) not in held_out]
    member = bring(weights, trained_on=seen(*rest, "elsewhere"))
    claim = read_json(member.path / "config.json")["imported"]["claim"]
    assert claim == f"it was trained on {len(rest)} images of these data (seen.csv), on no validation image"
    with pytest.raises(EnsError, match=f"1 of the {len(held_out)} validation images, such as '{held_out[0]}', were in"):
        bring(weights, trained_on=seen(*rest, held_out[0]))
    with pytest.raises(EnsError, match=r"none of the 1 id in .* is that of an image of tiny"):
        bring(weights, trained_on=seen("elsewhere"))
    table.write_text("image\n3\n")
    with pytest.raises(EnsError, match=r"expected the column 'id' in .*, got image"):
        bring(weights, trained_on=table)
    split = tmp_path / "split.csv"
    write_split(DataSettings(source=str(tiny_npz), split_seed=3), split)
    text = [line.split(",")[:2] for line in split.read_text().splitlines()[1:]]
    mine = bring(weights, data=DataSettings(source=str(tiny_npz), split=str(split)))
    assert sorted(mine.store().ids) == sorted(name for name, part in text if part == "val")


# ---------------------------------------------------------------- mistakes


def test_every_mistake_is_one_sentence_and_leaves_nothing(
    bring: Bring, weights: Path, runs: Path, tiny_npz: Path, tmp_path: Path
) -> None:
    torch.save(body(), tmp_path / "pickled.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save(body(classes=4).state_dict(), tmp_path / "four.pth")
    torch.save(body().state_dict() | {"head.weight": torch.ones(1)}, tmp_path / "more.pth")
    nan = {name: tensor * np.nan if "weight" in name else tensor for name, tensor in body().state_dict().items()}
    torch.save(nan, tmp_path / "nan.pth")
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    pointwise = {"weight": torch.ones(3, 1, 1, 1), "bias": torch.zeros(3)}
    torch.save(pointwise, tmp_path / "half.pth")
    torch.save({f"conv.{name}": tensor for name, tensor in pointwise.items()}, tmp_path / "pair.pth")
    fixed = torch.load(tmp_path / "pair.pth") | {"place": torch.ones(48, 48)}
    torch.save(fixed, tmp_path / "fixed.pth")
    before = {*runs.rglob("*")}
    for path, changed, text in (
        ("pickled.pth", {}, r"pickled\.pth cannot be read \(it holds Python objects besides tensors, which are never"),
        ("list.pth", {}, "it holds an object of the type list"),
        ("broken.pt", {}, "broken.pt cannot be read"),
        ("gone.pth", {}, r"expected an existing file of weights \(.pth, .pt or .safetensors\), got .*gone.pth"),
        ("net.onnx", {}, "expected an existing file of weights"),
        ("nan.pth", {}, "holds NaN or infinity in '0.weight', so its training failed"),
        (
            "four.pth",
            {},
            r"expected 'network.3.weight' of shape \(4, 3, 2, 2\), got \(4, 4, 2, 2\) \(and 1 other tensor",
        ),
        ("four.pth", {}, "the data ask for 1 band and 3 output channels"),
        ("more.pth", {}, r"does not fit mynet: unexpected 1 tensor \(head.weight\)"),
        (
            "net.pth",
            {"arch": "unet(filters=4)"},
            r"missing \d+ tensors \(.*, \.\.\.\), unexpected 9 tensors \(module.0",
        ),
        ("net.pth", {"arch": "mynett"}, "mynett"),
        ("net.pth", {"mean": [0.1, 0.2]}, "expected one mean or 1 number, one for each band of the data, got 2"),
        ("net.pth", {"mean": 123.7}, r"from 0\.\.255 to 0\.\.1, got 123\.7; divide a mean of pixels up to 255 by 255"),
        ("net.pth", {"std": 0}, "expected a std above 0 and up to 1"),
        ("net.pth", {"epochs": 3}, "epochs"),
        ("net.pth", {"precision": "fp8"}, "fp8"),
        ("net.pth", {"name": "..."}, "expected a name with letters or digits"),
        ("half.pth", {"arch": "half"}, r"expected logits of shape \(1, 3, 32, 32\) from half, got the shape"),
        ("pair.pth", {"arch": "pair"}, r"expected logits of shape \(1, 3, 32, 32\) from pair, got a dict"),
        ("fixed.pth", {"arch": "fixed"}, r"fixed fails on an image of 32x32 pixels \(RuntimeError: .*give input_size"),
    ):
        with pytest.raises(EnsError, match=text):
            bring(tmp_path / path, **changed)
    with pytest.raises(EnsError, match="expected a file of weights for each fold, got 2 for a hold-out, which takes"):
        bring([weights, weights])
    folds = DataSettings(source=str(tiny_npz), folds=2)
    with pytest.raises(EnsError, match="trained_on none describes one network, but 2 files were given"):
        bring([weights, weights], data=folds, trained_on="none")
    with pytest.raises(
        EnsError, match=r"expected predictions, got the weights .*net.pth; import them by import_network"
    ):
        ensemble.import_member(weights, name="x", data=tiny_npz, runs=runs)
    assert {*runs.rglob("*")} == before
    member = bring(tmp_path / "fixed.pth", arch="fixed", input_size="48x48")  # a network that knows one size
    assert member.settings.input_size == (48, 48)
