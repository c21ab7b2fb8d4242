"""Greedy selection: a naive one in plain Python, bags of groups, and what it must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ensemble.combining import COMBINERS
from ensemble.combining.arithmetic import first_class
from ensemble.combining.fit_data import FitData
from ensemble.evaluation.confusion import mean_iou


def fit_data(seed: int, qualities: list[float], pixels: int = 400, classes: int = 3, shared: float = 0.0) -> FitData:
    """Members of these qualities, whose errors are drawn independently but for a shared part."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, pixels, p=np.array([6, 3, 1]) / 10).astype(np.uint8)
    logits = random.normal(size=(len(qualities), classes, pixels))
    logits += shared * random.normal(size=(classes, pixels))
    logits[:, labels, np.arange(pixels)] += np.array(qualities)[:, None]
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return FitData(
        probs.astype(np.float32), np.sort(random.integers(0, 20, pixels)).astype(np.int32), labels, np.arange(20) // 2
    )


def miou(one: FitData, counts: Any, chosen: Any = slice(None)) -> float:
    pooled = np.tensordot(np.asarray(counts, np.float64), one.probs_mcp.astype(np.float64), 1)[:, chosen]
    labels = one.labels_p[chosen]
    confusion = np.zeros((one.classes, one.classes), int)
    for label, decided in zip(labels.tolist(), pooled.argmax(0).tolist(), strict=True):
        confusion[label, decided] += 1
    return float(mean_iou(confusion))


def key_of(one: FitData) -> Any:
    """What ensembles are ranked by: mIoU, then the mean log-likelihood of their members."""
    likelihood = np.log(one.true_probs_pm).mean(0, dtype=np.float64)
    return lambda counts: (miou(one, counts), round(float(np.dot(counts, likelihood) / sum(counts)), 9))


def paths(one: FitData, steps: int) -> list[list[Any]]:
    """Caruana 2004 with replacement, from the best of the nested averages and from the best member, no short cuts."""
    key, each = key_of(one), list(np.eye(one.members, dtype=int))
    order = sorted(range(one.members), key=lambda m: key(each[m]), reverse=True)
    nested = [np.sum([each[m] for m in order[: size + 1]], axis=0) for size in range(one.members)]
    made: list[list[Any]] = [[max(nested, key=key)], [nested[0]]]
    for path in made:
        while path[-1].sum() < steps:
            path.append(max((path[-1] + more for more in each), key=key))
    return made


@pytest.mark.parametrize(("seed", "steps"), [(0, 8), (1, 8), (2, 8), (3, 8), (4, 1), (5, 20)])
def test_equals_the_naive_selection(seed: int, steps: int) -> None:
    one = fit_data(seed, [0.6, 1.0, 1.2, 0.9])
    expected = max((counts for path in paths(one, steps) for counts in path), key=key_of(one))
    found = COMBINERS.create("greedy", one, steps=steps, bags=1).weights_m
    np.testing.assert_allclose(found, expected / expected.sum(), atol=1e-12)


@pytest.mark.parametrize(("seed", "winner"), [(3, "best member"), (8, "best member"), (9, "nested"), (11, "nested")])
def test_the_better_of_two_starts_is_kept(seed: int, winner: str) -> None:
    one = fit_data(seed, [1.0] * 5, pixels=200, shared=2.0)
    nested, single = (max(path, key=key_of(one)) for path in paths(one, 6))
    ends = {"nested": nested, "best member": single}
    assert max(ends, key=lambda start: key_of(one)(ends[start])) == winner
    found = COMBINERS.create("greedy", one, steps=6, bags=1).weights_m
    np.testing.assert_allclose(found, ends[winner] / ends[winner].sum(), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_is_on_its_own_images_no_worse_than_any_member_or_the_average(seed: int) -> None:
    one = fit_data(seed + 20, [0.8, 1.0, 1.0])
    weights = COMBINERS.create("greedy", one, bags=1).weights_m
    for counts in [*np.eye(3), np.ones(3)]:
        assert miou(one, weights * 60) >= miou(one, counts) - 1e-9


def test_returns_the_best_on_the_way_not_the_last() -> None:
    one = fit_data(3, [0.6, 1.0, 1.2, 0.9])
    scores = [miou(one, COMBINERS.create("greedy", one, bags=1, steps=steps).weights_m) for steps in (1, 2, 4, 8, 16)]
    assert scores == sorted(scores)


def test_a_member_that_knows_nothing_is_left_out() -> None:
    weights = COMBINERS.create("greedy", fit_data(0, [2.0, 2.0, 0.0], pixels=5000)).weights_m
    assert weights[2] < 0.1
    assert weights[:2].min() > 0.2


def test_bags_are_halves_of_the_groups_and_repeat_by_their_seed() -> None:
    one = fit_data(1, [0.9, 1.0, 1.1])
    first, again, other = (COMBINERS.create("greedy", one, seed=seed).weights_m for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    whole = COMBINERS.create("greedy", one, bags=1).weights_m
    assert (COMBINERS.create("greedy", one, bags=1, seed=1).weights_m == whole).all()


@pytest.mark.parametrize("shape", [(1, 1, 7), (1, 5, 1000), (3, 4, 6, 5)])
def test_first_class_is_the_argmax_with_the_first_of_equals(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    assert (first_class(values) == values.argmax(1)).all()
