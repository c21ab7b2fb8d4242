"""What the probability store costs and changes on real members: size, argmax, log-loss, speed.

Usage: python experiments/benchmarks/store.py RUNS DATA --out experiments/results/store.csv
Every finished member in RUNS that was trained on DATA predicts its validation images again; its float probabilities
are compared with what its store holds. One row per member.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from ensemble.core.files import write_bytes
from ensemble.data import VOID, Dataset, open_dataset
from ensemble.evaluation.calibration import log_loss_sums
from ensemble.inference.hardware import cpu_name, torch_threads
from ensemble.inference.network import infer, load_networks, scored
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member


def measure(member: Member, dataset: Dataset) -> dict[str, object]:
    """Compare the float probabilities of a member's network with its stored ones."""
    store, network = member.store(), load_networks(member)[0]
    rows_of = {name: row for row, name in enumerate(dataset.ids)}
    changed = pixels = labelled = 0
    losses, seconds = np.zeros(2), 0.0
    start = time.perf_counter()
    for rows, stored, labels in store.batches(32):
        seconds += time.perf_counter() - start
        images = dataset.images([rows_of[store.ids[row]] for row in rows])
        with torch_threads(member.settings.threads):
            probs = scored(infer(network, images, member.settings, "cpu"), len(member.facts.classes)).numpy()
        assert labels is not None
        changed += int((probs.argmax(1) != stored.argmax(1)).sum())
        pixels += labels.size
        labelled += int((labels != VOID).sum())
        losses += [log_loss_sums(probs, labels).sum(), log_loss_sums(stored, labels).sum()]
        start = time.perf_counter()
    return {
        "member": member.name,
        "images": store.n,
        "bytes_per_value": round(store.bytes_per_value, 4),
        "megabytes": round(store.nbytes / 1e6, 2),
        "argmax_changed_per_million": changed / pixels * 1e6,
        "log_loss_float": round(losses[0] / labelled, 6),
        "log_loss_stored": round(losses[1] / labelled, 6),
        "log_loss_change": round((losses[1] - losses[0]) / labelled, 6),
        "read_megavalues_per_second": round(pixels * len(store.classes) / seconds / 1e6, 1),
        "cpu": cpu_name(),
    }


def main() -> None:
    """Measure every member and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    members = [Member.open(path) for path in find_members(arguments.runs)]
    dataset = open_dataset(members[0].settings.data.model_copy(update={"source": arguments.data}))
    rows = [measure(member, dataset) for member in members if member.facts.data_hash == dataset.data_hash]
    frame = pd.DataFrame(rows)
    write_bytes(arguments.out, frame.to_csv(index=False, lineterminator="\n").encode())
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
