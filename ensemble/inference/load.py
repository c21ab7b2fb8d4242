"""Load a member, an ensemble or a bundle, ready to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ensemble.combining.pipeline import check_decision
from ensemble.combining.pool import Pool
from ensemble.combining.serialization import active_members
from ensemble.config import Decide, DecideFrom
from ensemble.core.files import digest
from ensemble.inference.deciding import fit_to_validation, key_of
from ensemble.inference.pooled_networks import PooledNetworks
from ensemble.inference.predictor import Predictor
from ensemble.inference.tta import check_tta
from ensemble.runs.ensemble_dir import Ensemble
from ensemble.runs.folder import find_model
from ensemble.runs.member import Member
from ensemble.runs.status import digests_of, read_status

_ARGMAX: tuple[Decide, DecideFrom] = ("argmax", "validation")


def load(
    model: str | Path,
    device: str = "cpu",
    tta: str | None = None,
    *,
    decide: Decide | None = None,
    decide_from: DecideFrom | None = None,
    runs: str | Path = "runs",
    on_note: Callable[[str], object] = str,
) -> Predictor:
    """Load a member, an ensemble or a bundle, ready to predict.

    >>> probabilities = load("learned-3")(images)  # doctest: +SKIP
    >>> probabilities = load("street.ens", on_note=print)("photo.jpg")  # doctest: +SKIP

    Args:
        model: its name, the unique beginning of its name, or its directory; or the file of a bundle.
        device: device of the networks.
        tta: ``none``, ``hflip``, ``vflip``, ``flips`` or ``d4`` for every member, instead of the one it was trained
            with. The stored scores and the weights of an ensemble still belong to the original test-time augmentation.
        decide: ``argmax``, ``offsets``, ``expected-iou`` or ``expected-dice`` instead of the decision of an ensemble,
            or of the argmax of a member; fitted to the stored probabilities of the validation images.
        decide_from: ``validation``, or ``images`` for the expected scores of the images that are predicted; by default
            that of the ensemble, or ``validation``.
        runs: folder in which names are looked up.
        on_note: called with each sentence about what does not fit together, and about images that are converted.

    Raises:
        EnsError: there is no such run, it is unfinished or damaged, has a newer format, or ``tta`` or ``decide`` is
            unknown.
    """
    found = load_pool(find_model(model, runs), tta, decide, decide_from)
    from ensemble.inference.member_network import load_member  # noqa: PLC0415  (torch takes two seconds)

    networks = [load_member(member, device, found.tta, found.values) for member in found.members]
    for note in found.notes:
        on_note(note)
    return replace(found, networks=PooledNetworks(networks, found.pool), on_note=on_note)


def load_pool(
    root: Path, tta: str | None = None, decide: Decide | None = None, decide_from: DecideFrom | None = None
) -> Predictor:
    """Read all of a predictor but its networks; see `load`, which adds them.

    Args:
        root: directory of a member or an ensemble, or a bundle.
        tta: see `load`.
        decide: see `load`.
        decide_from: see `load`.

    Raises:
        EnsError: see `load`.
    """
    views = None if tta is None else check_tta(tta)
    if (status := read_status(root)).get("kind") == "ensemble":
        ensemble = Ensemble.open(root)
        (members, pool), classes = active_members(ensemble), ensemble.classes
        own = ensemble.settings.decide, ensemble.settings.decide_from
        smallest = ensemble.settings.smallest_object
        fitted = not ensemble.fold_pools or any(each != ensemble.pool for each in ensemble.fold_pools)
    else:
        member = Member.open(root)
        members, classes = [member], member.facts.classes
        pool = Pool.uniform(1, len(classes))
        own, smallest, fitted = _ARGMAX, None, False
    rule = decide or own[0]
    source = decide_from or (own[1] if rule == own[0] else "validation")
    check_decision(rule, source)
    if asked := rule != own[0]:
        pool = fit_to_validation(pool, members, classes, rule)
        fitted |= rule != "argmax" and source == "validation"
    facts = members[0].facts
    values = tuple(facts.values[facts.classes.index(name)] for name in classes)
    return Predictor(
        root.name,
        classes,
        values,
        tuple(members),
        PooledNetworks((), pool),
        pool,
        views,
        content=_content(status, *(member.status for member in members)),
        decide=rule,
        decide_from=source,
        asked=key_of(pool) if asked else "",
        fitted=fitted,
        smallest_object=smallest,
        notes=(_sizes_note(own[0], rule),) if asked and smallest == "auto" else (),
    )


def _sizes_note(stored: str, rule: str) -> str:
    return (
        f"the sizes of the smallest objects were chosen for decide {stored}, not for {rule}; combine the members again"
        f" with decide {rule} (--decide) to choose them anew"
    )


def _content(*statuses: Mapping[str, Any]) -> str:
    files = map(digests_of, statuses)
    return digest(*(f"{name} {found}" for one in files for name, found in sorted(one.items())))
