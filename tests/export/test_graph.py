"""The whole model as one module gives what its parts give one after another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ensemble.combining.cascade import Cascade
from ensemble.combining.combiner import Combiner
from ensemble.combining.decision import Decision
from ensemble.combining.methods.vote import Vote
from ensemble.combining.pool import Pool
from ensemble.core.errors import EnsError
from ensemble.export.graph import ModelGraph, check_pool
from ensemble.export.measure import networks_of
from ensemble.inference.load import load
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor
from ensemble.inference.resizing import Resizing

WEIGHTS = np.array([[3.0, 1, 0.2], [1, 2, 0.7]])
TEMPERATURES = np.array([1.5, 0.8])
POOLS = {
    "per class": Pool(WEIGHTS, TEMPERATURES, temperature=1.3),
    "geometric": Pool(WEIGHTS, TEMPERATURES, "geometric", 0.7),
    "offsets": Pool(WEIGHTS, np.ones(2), offsets_c=np.array([0.5, -1.0, 0.9])),
    "iou": Pool(WEIGHTS, np.ones(2), decision=Decision("iou", np.array([0.8, 0.2, 0.4]), np.array([9e5, 50.0, 3e3]))),
    "dice": Pool(WEIGHTS, np.ones(2), decision=Decision("dice", np.array([0.8, 0.2, 0.4]), np.array([9e5, 50, 3e3]))),
}


def both(runs: Path, pool: Combiner) -> Predictor:
    """The two members with a pool."""
    one, other = (load(path) for path in sorted((runs / "members").iterdir()))
    networks = PooledNetworks((*one.networks.members, *other.networks.members), pool)
    return replace(one, members=one.members + other.members, networks=networks, pool=pool)


def outputs(predictor: Predictor, images: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    with torch.no_grad():
        probs_nchw, ids_nhw = ModelGraph(predictor).eval()(torch.from_numpy(images))
    return probs_nchw.numpy(), ids_nhw.numpy()


@pytest.fixture
def images(tiny_arrays: dict[str, Any]) -> NDArray[np.float32]:
    return tiny_arrays["test_set"][..., None].astype(np.float32)


@pytest.mark.parametrize("name", POOLS)
def test_pools_and_decisions(name: str, small_runs: Path, images: NDArray[np.float32]) -> None:
    predictor = both(small_runs, POOLS[name])
    probs_nchw, ids_nhw = outputs(predictor, images)
    expected_nchw, expected_nhw = networks_of(predictor)(images)
    np.testing.assert_allclose(probs_nchw, expected_nchw, atol=2e-6)
    assert (ids_nhw == expected_nhw).mean() > 0.9999
    assert (ids_nhw.dtype, set(np.unique(ids_nhw)) <= {1, 2, 3}) == (np.uint8, True)
    plain = predictor.pool.deciding(None).decide(expected_nchw)
    assert name in ("per class", "geometric") or (plain + 1 != ids_nhw).any()  # the decision has an effect


def test_some_classes_in_another_order_and_large_ids(small_runs: Path, images: NDArray[np.float32]) -> None:
    predictor = load(next((small_runs / "members").iterdir()))
    (member,) = predictor.networks.members
    pool = Pool.uniform(1, 2)
    networks = PooledNetworks((replace(member, channels=[2, 0]),), pool)
    two = replace(predictor, classes=("ripples", "soil"), values=(700, 1), networks=networks, pool=pool)
    probs_nchw, ids_nhw = outputs(two, images)
    np.testing.assert_allclose(probs_nchw, networks_of(two)(images)[0], atol=2e-6)
    assert (ids_nhw.dtype, np.unique(ids_nhw).tolist()) == (np.int32, [1, 700])


@pytest.mark.parametrize("resizing", [Resizing(size=(24, 20)), Resizing(scale=0.5)], ids=str)
@pytest.mark.parametrize("tta", ["none", "d4"])
def test_members_that_see_resized_images(
    resizing: Resizing, tta: str, small_runs: Path, images: NDArray[np.float32]
) -> None:
    predictor = load(next((small_runs / "members").iterdir()), tta=tta)
    predictor.networks.members[0].networks[0].resizing = resizing
    odd = np.ascontiguousarray(images[:, :29, :17])
    np.testing.assert_allclose(outputs(predictor, odd)[0], networks_of(predictor)(odd)[0], atol=2e-5)


def test_what_a_graph_cannot_hold_is_refused() -> None:
    vote = Vote(np.ones(2), np.ones(2), class_count=3)
    with pytest.raises(EnsError, match=r"got the method 'vote', which the ONNX graph has no part for; combine with"):
        check_pool(vote)
    cascade = Cascade.of([Pool.uniform(1, 3), Pool.uniform(2, 3)], (1, 0), 2)
    with pytest.raises(EnsError, match=r"got a cascade, which stops image by image; .* combine without a cascade"):
        check_pool(cascade)
    with pytest.raises(EnsError, match=r"removes small objects .* combine without smallest_object"):
        check_pool(Pool.uniform(2, 3).keeping(np.array([1, 9, 1])))
