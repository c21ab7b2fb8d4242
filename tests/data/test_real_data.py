"""The whole way on real data: Mars tiles with void and groups, nuclei as a folder with a real background class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ensemble
from ensemble.config import DataSettings
from ensemble.data import open_dataset
from ensemble.evaluation.calibration import log_loss_sums
from ensemble.inference.hardware import torch_threads
from ensemble.inference.network import infer, load_networks, scored
from ensemble.inference.write_masks import predict
from ensemble.runs.member import Member

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data beside the repository"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def mars(runs: Path) -> list[Member]:
    """Two quick members of different architecture and loss on the Mars tiles."""
    settings = [("pspnet", "weighted-ce"), ("linknet", "0.5*dice + 0.5*ce")]
    return [
        ensemble.train(DATA / "mars.npz", arch=f"{arch}(encoder=resnet18)", loss=loss, epochs=1, out=runs)
        for arch, loss in settings
    ]


def test_groups_stay_together_and_rocks_are_on_both_sides(mars: list[Member]) -> None:
    dataset = open_dataset(DataSettings(source=str(DATA / "mars.npz")))
    assert dataset.groups is not None
    held = {dataset.ids.index(name) for name in mars[0].store().ids}
    groups = [{dataset.groups[row] for row in rows} for rows in (held, set(range(len(dataset.ids))) - held)]
    assert not groups[0] & groups[1]
    rock = dataset.counts_nk[:, dataset.classes.index("big rock")] > 0
    assert 0.15 < rock[list(held)].sum() / rock.sum() < 0.25


def test_the_store_keeps_what_a_real_member_says(mars: list[Member]) -> None:
    dataset = open_dataset(DataSettings(source=str(DATA / "mars.npz")))
    for member in mars:
        store, network = member.store(), load_networks(member)[0]
        changed = pixels = 0
        losses = np.zeros(2)
        for rows, stored, labels in store.batches(32):
            images = dataset.images([dataset.ids.index(store.ids[row]) for row in rows])
            with torch_threads(member.settings.threads):
                probs = scored(infer(network, images, member.settings, "cpu"), 4).numpy()
            assert labels is not None
            changed += int((probs.argmax(1) != stored.argmax(1)).sum())
            pixels += labels.size
            losses += [log_loss_sums(probs, labels).sum(), log_loss_sums(stored, labels).sum()]
        assert changed / pixels <= 5e-6
        assert abs(losses[1] - losses[0]) < 0.004 * losses[0]  # networks that are too sure: the codec's 0.006 of 1.5


def test_a_store_takes_at_most_four_tenths_of_a_byte_a_value(mars: list[Member]) -> None:
    # The maps of a pspnet are smooth. After one epoch Linknet's maps are noise by pixels, which no code of 127 levels
    # shrinks. Members of the catalogue: experiments/results/decoding.csv.
    pspnet, linknet = (member.store().bytes_per_value for member in mars)
    assert pspnet <= 0.4
    assert linknet <= 0.75


def test_members_are_combined_judged_and_predict_the_test_set(mars: list[Member], runs: Path) -> None:
    done = ensemble.combine([member.path for member in mars], method="learned", runs=runs)
    assert done.verdict.differences["method - average"].low < done.verdict.differences["method - average"].high
    assert any("'big rock' is in 11 images of" in note for note in done.verdict.notes)
    table = ensemble.results.load(runs)
    assert set(table["kind"]) == {"member", "ensemble"}
    assert table["iou_soil"].between(0.2, 1).all()
    assert predict(done.ensemble.path, DATA / "mars.npz", runs / "masks.npz", runs=runs) == 1500
    with np.load(runs / "masks.npz") as archive:
        assert archive["masks"].shape == (1500, 64, 128)
        assert set(np.unique(archive["masks"])) <= {1, 2, 3, 4}


def test_a_folder_with_a_real_background_class(runs: Path, tmp_path: Path) -> None:
    member = ensemble.train(DATA / "nuclei", arch="unet-baseline", loss="ce", epochs=2, out=runs)
    assert member.facts.classes == ("class 0", "class 1", "class 2")
    assert member.settings.data.background == "class"
    assert member.scores["iou"]["class 0"] > 0.7
    assert predict(member.path, DATA / "nuclei" / "images" / "0000.png", tmp_path / "out", runs=runs) == 1
    with Image.open(tmp_path / "out" / "0000.png") as mask:
        assert mask.mode == "P"
        assert set(np.unique(np.asarray(mask))) <= {0, 1, 2}
