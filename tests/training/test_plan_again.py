"""The plan of a finished member is refused if its data, split, device, code or encoder weights are others now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ensemble.core.errors import EnsError
from ensemble.core.files import read_json
from ensemble.runs.member import Member
from ensemble.training.plan_again import plan_of

Rewrite = Callable[..., None]


def test_data_that_moved_are_asked_for(member: Path, tiny_npz: Path, tmp_path: Path, rewrite: Rewrite) -> None:
    config = read_json(member / "config.json")
    config["settings"]["data"]["source"] = "gone.npz"
    rewrite(member, "config.json", config)
    with pytest.raises(EnsError, match=rf"the data of {member.name} are not at gone\.npz any more; pass their new"):
        plan_of(Member.open(member))
    with np.load(tiny_npz) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "training_set": arrays["training_set"][::-1]})
    with pytest.raises(
        EnsError, match=r"was trained on other data than other\.npz \(the content differs\); pass the orig"
    ):
        plan_of(Member.open(member), tmp_path / "other.npz")
    assert plan_of(Member.open(member), tiny_npz).dataset.name == tiny_npz.name


def test_another_split_is_refused(member: Path, rewrite: Rewrite) -> None:
    config = read_json(member / "config.json")
    config["data"]["split_hash"] = "0" * 32
    rewrite(member, "config.json", config)
    with pytest.raises(
        EnsError, match=r"are split differently now than when .* was trained, because a library groups near-dup"
    ):
        plan_of(Member.open(member))


def test_a_missing_device_is_reported(member: Path, monkeypatch: pytest.MonkeyPatch, rewrite: Rewrite) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = read_json(member / "config.json")
    config["settings"]["device"] = "cuda"
    rewrite(member, "config.json", config)
    with pytest.raises(
        EnsError, match="was trained on cuda, which torch does not find here; use a machine that has it"
    ):
        plan_of(Member.open(member))


def test_other_code_and_other_encoder_weights_are_refused(member: Path, tmp_path: Path, rewrite: Rewrite) -> None:
    original = read_json(member / "config.json")

    def refused(text: str, **changes: Any) -> None:
        rewrite(member, "config.json", original | {"settings": original["settings"] | changes})
        with pytest.raises(EnsError, match=text):
            plan_of(Member.open(member))

    loss = original["settings"]["loss"] | {"origin": "mine.py 12345678"}
    refused(r"with the loss 'ce' of mine\.py 12345678, but here it comes from built-in; load that plug-in", loss=loss)
    architecture = original["settings"]["architecture"]
    refused("was imported as probabilities; train it again with", architecture=architecture | {"origin": "imported"})
    (tmp_path / "encoder.pth").write_bytes(b"other")
    options = architecture["options"] | {"encoder_weights": str(tmp_path / "encoder.pth")}
    refused(
        r"encoder\.pth holds other encoder weights than .* started from; restore the original",
        architecture=architecture | {"options": options},
        pretrained="0" * 32,
    )
