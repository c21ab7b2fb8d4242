"""Maps of how unsure a model is of each pixel: the entropy of its probabilities, and how much its members disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.combining.quality import information_of
from ensemble.core.errors import EnsError, UnknownName
from ensemble.core.progress import Progress
from ensemble.evaluation.diversity import clipped_log
from ensemble.evaluation.uncertainty import entropy
from ensemble.inference.image_sources import Images
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predict_batches import predict_batches
from ensemble.inference.predictor import Predictor

ENTROPY, INFORMATION = "entropy", "mutual-information"
UNCERTAINTIES = (ENTROPY, INFORMATION)


class Predicted(NamedTuple):
    """Images of one size that were predicted.

    Attributes:
        rows: which images.
        probs_nchw: their probabilities.
        information_nhw: mutual information of the members in nats, 0 for a single one; None if nobody asked for it.
    """

    rows: Sequence[int]
    probs_nchw: NDArray[np.float32]
    information_nhw: NDArray[np.float32] | None = None

    def each(self) -> Iterator[tuple[int, Predicted]]:
        """Yield each image: its row, and what is predicted for it."""
        for place, row in enumerate(self.rows):
            here = slice(place, place + 1)
            information = None if self.information_nhw is None else self.information_nhw[here]
            yield row, Predicted([row], self.probs_nchw[here], information)

    def maps(self, kinds: Sequence[str]) -> Mapping[str, NDArray[np.float32]]:
        """Return the maps (n, h, w) of these kinds in nats: natural logarithms, so two classes have log 2 at most."""
        found = dict[str, NDArray[np.float32]]()
        for kind in kinds:
            if kind == ENTROPY:
                probs_cnhw = self.probs_nchw.swapaxes(0, 1)
                found[kind] = np.maximum(entropy(probs_cnhw, clipped_log(probs_cnhw)), 0).astype(np.float32)
            else:
                assert self.information_nhw is not None, "the members were asked for it"
                found[kind] = self.information_nhw
        return found


def check_uncertainty(kinds: Sequence[str], predictor: Predictor) -> None:
    """Check which maps of uncertainty are wanted.

    Raises:
        EnsError: an unknown kind, or the mutual information of a single member.
    """
    for kind in kinds:
        if kind not in UNCERTAINTIES:
            raise UnknownName("map of uncertainty", kind, UNCERTAINTIES)
    if INFORMATION in kinds and len(predictor.members) == 1:
        raise EnsError(
            f"expected several members for the mutual information, which measures how much they disagree, but"
            f" {predictor.name} predicts with one; leave {INFORMATION} out, or choose an ensemble"
        )


def predict_with_information(
    predictor: Predictor,
    images: Images,
    progress: Progress,
    wanted: Callable[[int], bool] = lambda _: True,
    *,
    information: bool,
) -> Iterator[Predicted]:
    """Yield what `predict_batches` yields, with the mutual information of the members if it is asked for.

    The members count alike and as they are, without the weights and temperatures of the pool, as in `ens explain`.
    Members that the ensemble does not need are not predicted and do not count.
    """
    classes = len(predictor.classes)
    if information:
        predictor = replace(predictor, networks=with_information(predictor.networks))
    for rows, found in predict_batches(predictor, images, progress, wanted):
        yield Predicted(rows, found[:, :classes], found[:, classes] if information else None)


def with_information(networks: PooledNetworks) -> PooledNetworks:
    """Return networks that give the mutual information of the members as one more channel, after the classes.

    Where the tiles of a large image overlap, it is the weighted mean of the tiles, as the probabilities are.
    """

    def pool(probs_mnkhw: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([networks.pool(probs_mnkhw), information_of(probs_mnkhw)[:, None]], axis=1)

    return PooledNetworks(networks.members, pool)
