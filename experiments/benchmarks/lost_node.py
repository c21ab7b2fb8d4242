"""A study on a Ray cluster of two nodes on this machine, one of which is killed halfway.

Usage:
    pip install '.[ray]'
    python experiments/benchmarks/lost_node.py mars.npz --out experiments/results/lost-node.csv [--arch pspnet]

Four members (two losses, two seeds) with one thread each. The second node is killed as soon as both members in training
have a checkpoint. A row per member: how often it was resumed, how it ended, and whether its weights are, bit by bit,
those of the same member trained on this machine without Ray (all in deterministic mode).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measuring import conditions, positive, write_table
from ray.cluster_utils import Cluster

from ensemble.core.files import file_digest
from ensemble.runs.member import Member

RECIPE = """
name = "lost-node"
question = "Does a study survive the loss of a node?"
data = "{data}"
[defaults]
arch = "{arch}"
epochs = {epochs}
deterministic = true
[[grid]]
loss = ["ce", "weighted-ce"]
seed = [0, 1]
[[ensembles]]
method = "average"
"""
STUDY = [sys.executable, "-c", "from ensemble.cli import main; main()", "study"]
SHOWN = ("member", "resumed", "state", "miou", "equals_local", "study_seconds", "killed_after_seconds")


def on_cluster(recipe: Path, out: Path) -> tuple[float, float, list[str]]:
    """Run the study and kill a node; return the seconds until then, the total seconds, and the members in training."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    try:
        second = cluster.add_node(num_cpus=1, num_gpus=0)
        where = ["--executor", "ray", "--ray-address", str(cluster.address)]
        started = time.monotonic()
        study = subprocess.Popen([*STUDY, str(recipe), "--out", str(out), "--threads", "1", *where])
        there: list[str] = []
        while len(there) < 2:
            if study.poll() is not None:
                raise SystemExit("the study ended before two members had a checkpoint; give more --epochs")
            time.sleep(0.2)
            there = sorted(path.parent.name for path in out.glob("members/*/checkpoint-f0.pt"))
        cluster.remove_node(second, allow_graceful=False)
        killed = time.monotonic() - started
        if study.wait():
            raise SystemExit(f"the study ended with code {study.returncode}")
        return killed, time.monotonic() - started, there
    finally:
        cluster.shutdown()


def rows_of(remote: Path, local: Path) -> list[dict[str, Any]]:
    """Return a row per member of the study."""
    rows: list[dict[str, Any]] = []
    for path in sorted((remote / "members").iterdir()):
        member = Member.open(path)
        twins = [file_digest(runs / "members" / path.name / "weights-f0.safetensors") for runs in (remote, local)]
        rows.append(
            {
                "member": path.name,
                "resumed": (path / "log.txt").read_text().count(" resumed"),
                "state": member.status["state"],
                "miou": round(member.scores["miou"], 4),
                "equals_local": twins[0] == twins[1],
            }
        )
    return rows


def main() -> None:
    """Run the study twice, on the cluster and here, and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="an npz file, a folder with images/ and masks/, or 'sample'")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arch", default="pspnet")
    parser.add_argument("--epochs", type=positive, default=3)
    plan = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lost-node-") as folder:
        root = Path(folder)
        recipe = root / "lost-node.toml"
        data = plan.data if plan.data == "sample" else Path(plan.data).resolve()
        recipe.write_text(RECIPE.format(data=data, arch=plan.arch, epochs=plan.epochs))
        killed, seconds, there = on_cluster(recipe, root / "cluster")
        subprocess.run([*STUDY, str(recipe), "--out", str(root / "local"), "--threads", "1"], check=True)
        rows = rows_of(root / "cluster", root / "local")
    common = {"data": Path(plan.data).name, "architecture": plan.arch, "epochs": plan.epochs, "nodes": 2}
    common |= {"had_a_checkpoint": " ".join(there)}
    timed = {"study_seconds": round(seconds, 1), "killed_after_seconds": round(killed, 1)}
    write_table(plan.out, [row | timed | common | conditions(("torch", "ray")) for row in rows], SHOWN)


if __name__ == "__main__":
    main()
