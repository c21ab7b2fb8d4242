"""``ens pack``: one file with which a reviewer recomputes the table and the verdicts."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Quiet, Runs
from ensemble.core.formatting import counted

EXAMPLE = (
    "Example:  ens pack --out paper.zip    or    ens pack learned-3-1a2b3c --out paper.zip"
    "    then, anywhere:  unzip paper.zip -d paper && python paper/check.py"
)


def pack(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAMES]...",
            help="Runs to pack: name, unique beginning, STUDY:LABEL or path; an ensemble stands for itself and its"
            " members (default: all members, ensembles and evaluations).",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Zip file to write.", metavar="FILE")],
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write one file with which a reviewer recomputes every score of `ens results` and every verdict, with NumPy alone.

    It holds the stored validation probabilities and their labels, tables per image, settings, scores, verdicts, ids and
    groups of the images, and the program check.py. It holds no image, no weights, no probabilities of test images and
    no labels of test images; of paths in settings only the last part stays. Whoever has the file can see the validation
    labels and all ids and groups. The same runs give the same bytes.
    """
    output = Output(quiet=quiet, as_json=as_json)
    from ensemble.export.pack import pack as pack_runs

    with output.progress() as progress:
        packed = pack_runs(runs, out=out, members=names or [], progress=progress)
    for sentence in packed.left_out:
        output.note(sentence)
    check = f"unzip {shlex.quote(str(out))} -d pack && python pack/check.py"
    output.say(
        escape(f"  {counted(len(packed.runs), 'run')}, {packed.bytes / 1e6:.1f} MB; to check them anywhere:  {check}")
    )
    content = {"path": str(out), "bytes": packed.bytes, "runs": list(packed.runs), "left_out": list(packed.left_out)}
    output.result(str(out), content)
