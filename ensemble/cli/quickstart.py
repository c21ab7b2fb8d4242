"""``ens quickstart``: train, combine and predict on the embedded sample, in about a minute."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from ensemble.cli.combine_tables import show_combination
from ensemble.cli.console import Output
from ensemble.cli.options import AsJson, Out, Quiet

EXAMPLE = "Example:  ens quickstart    or    ens quickstart --out /tmp/first-look"

MEMBERS: tuple[dict[str, Any], ...] = (
    {"arch": "attention-unet(filters=16, depth=2, attention=gate)", "loss": "unified", "epochs": 6, "lr": 8e-3},
    {"arch": "linknet", "loss": "tversky", "epochs": 5},
    {"arch": "pspnet", "loss": "weighted-ce", "epochs": 8},
)
COMMON: dict[str, Any] = {"augment": "none", "batch_size": 8, "optimiser": "adamw"}  # Muon is slow in small batches


def quickstart(out: Out = Path("runs"), quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Train three small members on the embedded sample, combine them, predict, and show the results table."""
    output, start = Output(quiet=quiet, as_json=as_json), time.perf_counter()
    output.say("[dim]loading libraries and the sample: 240 labelled and 48 unlabelled tiles ...[/]")
    from ensemble import results
    from ensemble.cli.tables import results_table
    from ensemble.cli.train import score_line
    from ensemble.combining.combine import combine
    from ensemble.inference.write_masks import predict
    from ensemble.report.figures import draw_examples
    from ensemble.training.train import train

    members = []
    for number, settings in enumerate(MEMBERS, start=1):
        output.say(f"[bold]{number}/3 {settings['arch']} x {settings['loss']}[/]")
        with output.progress() as progress:
            members.append(train("sample", **settings, **COMMON, out=out, progress=progress))
        output.say(score_line(members[-1].scores, members[-1].facts.values))
    paths = [member.path for member in members]
    for method in ("average", "learned"):
        with output.progress() as progress:
            combination = combine(paths, method=method, runs=out, progress=progress)
    show_combination(combination, output)
    examples = draw_examples(combination.ensemble, combination.aligned, combination.fitted)
    masks = combination.ensemble.path / "sample-masks"
    with output.progress() as progress:
        predict(combination.ensemble.path, "sample", masks, runs=out, progress=progress)
    frame = results.load(out, evaluations=False)
    output.say(results_table(results.display(frame), output.console.width, results.show(frame).best))
    output.say(escape(f"pictures: {examples} (image, truth, members, ensemble) and {masks}/ (48 unlabelled tiles)"))
    seconds = time.perf_counter() - start
    output.result(
        f"done in {seconds:.0f} s; next: ens train YOUR_DATA --budget 5m",
        {"seconds": seconds, "verdict": combination.verdict.advice, "ensemble": str(combination.ensemble.path)},
    )
