"""From stored probabilities to class maps: our stores, nnU-Net's npz files and NumPy memory maps, side by side.

Usage:
    python -m venv nnunet && nnunet/bin/pip install nnunetv2
    python experiments/benchmarks/combining.py RUNS mars.npz --nnunet-python nnunet/bin/python \
        --out experiments/results/combining.csv

Members of RUNS predict their validation images again, in full precision. A class is added whose logit is that of the
first class in the image before, less 1, so that there are five classes with the texture of real maps; logits are
rounded to half precision, as nnU-Net keeps them, and the softmax is stored as float32, as nnU-Net stores it. More
images are made by repetition: nnU-Net's files are hard links, so that they stay in the operating system's cache. Every
tool averages the members and writes the class of each pixel as one byte, on one thread; each repetition runs every
tool once, in a process of its own. Seconds are without imports, the peak memory is with them; where other
work runs beside, the processor's seconds say more than the clock's.
nnU-Net: `average_probabilities` of its package, then NumPy's argmax, as its `ensemble_folders` does for each image.
Memory maps: our pool on arrays of float32; their pages count as memory.
The row "combine" is all that `ens combine` does to the stores: learned weights, cross-fitted, scored and judged; once.
The largest size takes 15 GB of disk in --work.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from measuring import conditions, run_program, write_table
from numpy.typing import NDArray

from ensemble.data import Dataset, open_dataset
from ensemble.inference.hardware import torch_threads
from ensemble.inference.network import infer, load_networks, scored
from ensemble.runs.folder import find_members
from ensemble.runs.member import Member
from ensemble.runs.store import StoreWriter

BATCH = 32
SHOWN = (
    *("images", "task", "tool", "seconds", "times_faster_by_seconds", "times_faster_by_cpu_seconds"),
    *("peak_megabytes", "times_less_disk", "pixels_unlike_float"),
)
OPEN_STORES = """
from pathlib import Path
from ensemble.combining.alignment import Aligned
from ensemble.runs.store import Store
stores = tuple(Store.open(path) for path in sorted(Path(sys.argv[1]).iterdir()))
classes = stores[0].classes
names = tuple(store.path.name for store in stores)
aligned = Aligned(names, stores, classes, (tuple(range(len(classes))),) * len(stores))
"""
STORES = f"""
import numpy as np
from ensemble.combining import Pool
{OPEN_STORES}
pool = Pool.uniform(len(stores), len(classes))
start, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[2], "wb") as out:
    for _, probs, *_ in aligned.batches():
        out.write(pool.decide(pool(probs)).astype(np.uint8))
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak_megabytes()]))
"""
MEMORY_MAPS = """
import numpy as np
from pathlib import Path
from ensemble.combining import Pool
maps = [np.load(path, mmap_mode="r") for path in sorted(Path(sys.argv[1]).iterdir())]
pool = Pool.uniform(len(maps), maps[0].shape[1])
start, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[2], "wb") as out:
    for row in range(0, len(maps[0]), 16):
        probs = np.stack([each[row : row + 16] for each in maps])
        out.write(pool.decide(pool(probs)).astype(np.uint8))
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak_megabytes()]))
"""
NNUNET = """
import numpy as np
from pathlib import Path
from nnunetv2.ensembling.ensemble import average_probabilities
folders = sorted(Path(sys.argv[1]).iterdir())
names = sorted(path.name for path in folders[0].iterdir())
start, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[2], "wb") as out:
    for name in names:
        average = average_probabilities([str(folder / name) for folder in folders])
        out.write(average.argmax(0).astype(np.uint8))
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak_megabytes()]))
"""
COMBINE = f"""
import numpy as np
from ensemble.evaluation.confusion import mean_iou
from ensemble.combining.crossfit import cross_fit
from ensemble.combining.pipeline import Pipeline
from ensemble.combining.verdict import judge
{OPEN_STORES}
start, cpu = time.perf_counter(), time.process_time()
fitted = cross_fit(aligned, Pipeline("learned"))
best = int(mean_iou(fitted.members_mnkk.sum(1)).argmax())
systems = {{"method": fitted.crossfit.confusions_nkk, "average": fitted.average.confusions_nkk}}
systems |= {{"best member": fitted.best_member_nkk, "member": fitted.members_mnkk[best]}}
judge("learned", names[best], systems, aligned.groups, classes)
print(json.dumps([time.perf_counter() - start, time.process_time() - cpu, peak_megabytes()]))
"""


def with_one_more_class(probs_nchw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities of one class more, by the softmax of logits in half precision."""
    logits = np.log(np.maximum(probs_nchw, np.float32(1e-12)))
    logits = np.concatenate([logits, np.roll(logits[:, :1], 1, axis=0) - 1], axis=1)
    powers = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float16).astype(np.float32))
    return powers / powers.sum(1, keepdims=True)


def predict(member: Member, dataset: Dataset, most: int) -> NDArray[np.float32]:
    """Float probabilities (n, c + 1, h, w) of the first images that the member was validated on."""
    store, network = member.store(), load_networks(member)[0]
    rows_of = {name: row for row, name in enumerate(dataset.ids)}
    rows = [rows_of[name] for name in store.ids[:most]]
    parts: list[NDArray[np.float32]] = []
    with torch_threads(1):
        for start in range(0, len(rows), BATCH):
            images = dataset.images(rows[start : start + BATCH])
            parts.append(scored(infer(network, images, member.settings, "cpu"), len(store.classes)).numpy())
    return with_one_more_class(np.concatenate(parts))


def batches(count: int) -> Iterator[NDArray[np.intp]]:
    """The places 0..count-1; at place p stands image p % n in its repetition p // n."""
    return (np.arange(start, min(start + BATCH, count)) for start in range(0, count, BATCH))


def write_store(folder: Path, member: Member, probs_nchw: NDArray[np.float32], count: int) -> None:
    """Our store; each repetition of a group of images is a group of its own."""
    store, n = member.store(), len(probs_nchw)
    labels = np.concatenate([part for _, _, part in store.codes_batches(BATCH) if part is not None])
    classes = [*store.classes, "one more"]
    with StoreWriter(folder, classes=classes, meta=store.meta) as writer:
        for places in batches(count):
            ids = [f"{store.ids[place % n]}-{place // n}" for place in places]
            groups = [f"{store.groups[place % n]}-{place // n}" for place in places]
            writer.append(ids, probs_nchw[places % n], labels[places % n], groups=groups)


def write_npz(folder: Path, originals: Path, probs_nchw: NDArray[np.float32], count: int) -> None:
    """nnU-Net's layout: a compressed file per image, (classes, 1, height, width)."""
    folder.mkdir(parents=True)
    originals.mkdir(exist_ok=True)
    for place in range(count):
        row = place % len(probs_nchw)
        original = originals / f"{row}.npz"
        if not original.is_file():
            np.savez_compressed(original, probabilities=probs_nchw[row][:, None])
        (folder / f"{place:06d}.npz").hardlink_to(original)


def write_map(file: Path, probs_nchw: NDArray[np.float32], count: int) -> None:
    """An array of float32 on disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, *probs_nchw.shape[1:])
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    for places in batches(count):
        array[places] = probs_nchw[places % len(probs_nchw)]
    array.flush()


def disk_megabytes(folder: Path) -> float:
    """Bytes of all files, a linked one counted each time."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def measure(work: Path, count: int, nnunet_python: Path, repeat: int) -> list[dict[str, Any]]:
    """A row per tool: median seconds over the repetitions, peak memory, disk, and class maps compared."""
    tools: dict[str, tuple[str, str, dict[str, Any]]] = {
        "ens-toolkit stores": (STORES, "stores", {}),
        "nnU-Net average_probabilities": (NNUNET, "npz", {"python": nnunet_python}),
        "NumPy float32 memory maps": (MEMORY_MAPS, "maps", {}),
    }
    runs: dict[str, list[Any]] = {name: [] for name in tools}
    for _ in range(repeat):
        for name, (program, folder, options) in tools.items():
            runs[name].append(run_program(program, work / folder, work / f"{folder}.classes", **options))
            print(f"{count} images, {name}: {runs[name][-1][0]:.2f} s", flush=True)
    truth = np.fromfile(work / "maps.classes", np.uint8)
    rows: list[dict[str, Any]] = []
    for name, (_, folder, _) in tools.items():
        differs = float((np.fromfile(work / f"{folder}.classes", np.uint8) != truth).mean())
        row = {"task": "class maps", "tool": name, "repetitions": repeat}
        rows.append(row | figures(runs[name], disk_megabytes(work / folder)) | {"pixels_unlike_float": differs})
    once = run_program(COMBINE, work / "stores")
    row = {"task": "combine", "tool": "ens-toolkit stores", "repetitions": 1}
    return [*rows, row | figures([once], disk_megabytes(work / "stores"))]


def figures(runs: list[Any], megabytes: float) -> dict[str, Any]:
    """Medians over the runs of one tool."""
    seconds, cpu_seconds, peak = np.median(runs, axis=0).tolist()
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "peak_megabytes": round(peak, 1),
        "disk_megabytes": round(megabytes, 1),
    }


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with how many times faster and smaller than nnU-Net they are."""
    base = next(row for row in rows if row["tool"].startswith("nnU-Net"))
    for row in rows:
        same = row["task"] == base["task"]
        for clock in ("seconds", "cpu_seconds"):
            row[f"times_faster_by_{clock}"] = round(base[clock] / row[clock], 2) if same else None
        row["times_less_disk"] = round(base["disk_megabytes"] / row["disk_megabytes"], 2)
    return rows


def main() -> None:
    """Measure every size and write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder whose members predict")
    parser.add_argument("data")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="Python of an environment with nnunetv2")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="+", default=[1500, 10_000])
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for temporary files, 15 GB")
    plan = parser.parse_args()
    members = [Member.open(path) for path in sorted(find_members(plan.runs))[: plan.members]]
    dataset = open_dataset(members[0].settings.data.model_copy(update={"source": plan.data}))
    common = conditions(("numpy", "zstandard", "opencv-python-headless"))
    version = "from importlib.metadata import version; print(json.dumps(version('nnunetv2')))"
    common |= {"nnunetv2": run_program(version, python=plan.nnunet_python)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=plan.work) as folder:
        work = Path(folder)
        for place, member in enumerate(members):
            np.save(work / f"float-{place}.npy", predict(member, dataset, max(plan.images)))
            print(f"predicted by {member.name}", flush=True)
        for count in plan.images:
            predicted = [np.load(work / f"float-{place}.npy", mmap_mode="r") for place in range(len(members))]
            for place, (member, probs_nchw) in enumerate(zip(members, predicted, strict=True)):
                write_store(work / "stores" / str(place), member, probs_nchw, count)
                write_npz(work / "npz" / str(place), work / f"npz-{place}", probs_nchw, count)
                write_map(work / "maps" / f"{place}.npy", probs_nchw, count)
            shape = dict(zip(("classes", "height", "width"), predicted[0].shape[1:], strict=True))
            size = {"members": len(members), "images": count, **shape}
            names = {"of_members": " ".join(member.name for member in members)}
            measured = compared(measure(work, count, plan.nnunet_python, plan.repeat))
            rows += [size | row | common | names for row in measured]
            for name in ("stores", "npz", "maps"):
                shutil.rmtree(work / name)
            write_table(plan.out, rows, SHOWN)


if __name__ == "__main__":
    main()
