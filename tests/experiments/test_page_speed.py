"""Compare the sections about speed and memory of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

from typing import Any

from ensemble.training.cpu_layers import FEW_CHANNELS, SMALL_SIDE


def check_steps(page: Any, name: str, conditions: str) -> None:
    table = page.csv(name).set_index(["contestant", "architecture"])
    networks = ["unet", "attention-unet", "smp-unet", "pspnet"]
    for words, contestant in {
        "`ens train`, bf16": "ours",
        "by hand, bf16, channels_last, fused AdamW": "hand-bf16",
        "Lightning with segmentation-models-pytorch, as documented": "lightning",
    }.items():
        cells = table.loc[contestant].loc[networks, ["images_per_second", "share_of_peak"]].to_numpy().ravel()
        page.says(f"| {words} |" + " {:.1f} ({:.0%} %) |" * 4, *cells)
    ours = table.loc["ours"].loc[networks]
    page.says("| ours to the loop by hand |" + " {:.2f} |" * 4, *ours.to_best_hand_loop)
    ends = ours[["to_best_hand_loop_min", "to_best_hand_loop_max"]].to_numpy().ravel()
    page.says("| least and most of the rounds |" + " {:.2f} to {:.2f} |" * 4, *ends)
    page.says("| ours to Lightning |" + " {:.2f} |" * 4, *ours.to_lightning)
    page.says("batch of {}", *set(table.batch_size))
    page.says(conditions, *set(table.threads), *set(table.rounds))


def test_speed_of_training(section: Any) -> None:
    with section("Speed of training") as page:
        check_steps(page, "training", "{:word} cores with AMX, medians of {:word} rounds")
        check_steps(page, "training-epyc", "{:word} cores with AVX512-BF16, medians of {:word} rounds")
        steps = page.csv("optimisers").pivot(index="architecture", columns="optimiser", values="ms")
        more = steps.muon - steps.adamw
        page.says("adds {:.0f} to {:.0f} ms to a step", more.min(), more.max())
        page.states("changes of version 0.3", "vary by a fifth", "two cores with AVX512-BF16, before version 0.3")
        before, after = (page.csv(name).set_index("architecture") for name in ("step-profile-before", "step-profile"))
        kinds = ["convolutions", "normalisation", "copies, sums", "activations", "optimiser, clipping, EMA", "loss"]
        for name in after.index:
            pairs = [[100 * table[kind][name] for table in (before, after)] for kind in kinds]
            numbers = [before.step_ms[name], after.step_ms[name], *(share for pair in pairs for share in pair)]
            page.says(f"| {name} |" + " {:.0f} -> {:.0f} |" * (1 + len(kinds)), *numbers)
        race = page.csv("training-race").set_index("contestant")
        times = ["seconds_to_miou", "seconds_to_miou_min", "seconds_to_miou_max"]
        page.says(
            "**To {} mIoU** on the validation images, `pspnet`, medians of {:word} seeds: {:.0f} s with ours ({:.0f} to"
            " {:.0f}), {:.0f} s by hand in bf16 ({:.0f} to {:.0f}), {:.0f} s by hand in fp32 ({:.0f} to {:.0f}),"
            " {:.0f} s with Lightning ({:.0f} to {:.0f})",
            *set(race.goal_miou),
            *{int(text.split(" of ")[1]) for text in race.reached},
            *race.loc[["ours", "hand-bf16", "hand-fp32", "lightning"], times].to_numpy().ravel(),
        )
        compiled = page.csv("training-compiled").set_index("contestant").images_per_second
        page.says("unet-baseline {:.0f} images/s instead of {:.0f}", compiled["ours-compiled"], compiled["ours"])
        jobs = page.csv("jobs").query("jobs == 2").set_index("architecture").loc[["pspnet", "unet-baseline"]]
        page.says("finish {:.2f} (pspnet) and {:.2f} (unet-baseline) times faster", *jobs.times_faster)
        page.says("only training {:.2f} and {:.2f} times", *jobs.times_faster_in_training)
        page.states("**Two members at once**", "on two threads", "trains two at a time")
        start = page.csv("startup").set_index("command")
        commands = ["ens --help", "ens results (20 members)"]
        trains = [f"ens train --arch {name}, to its first step" for name in ("unet-baseline", "linknet")]
        page.says("`ens --help` {:.2f} s, `ens results` on 20 members {:.2f} s", *start.loc[commands, "seconds"])
        page.says("on {} members", commands[1].split("(")[1].split()[0])
        page.says("to its first step {:.1f} s (unet-baseline) and {:.1f} s (linknet)", *start.loc[trains, "seconds"])
        (whole,) = page.csv("whole-training").itertuples()
        times = whole.steps, whole.seconds, whole.seconds_in_steps, whole.share
        page.says("a unet of {:,} steps took {:.0f} s, {:.0f} s of them in steps ({:.0%} %)", *times)
        predicted = page.csv("predicting")
        for way, words in {"networks": "the same networks:", "load": "`ensemble.load`"}.items():
            ratios = predicted[f"{way}_to_plain"]
            page.says(f"{words} {{:.2f}} to {{:.2f}}", ratios.min(), ratios.max())
        page.states("On the same two cores with version 0.3", "On two cores with AMX:")
        page.states("measures what the training will take", "ten evaluations", "two members and an ensemble of three")


def test_layers_that_are_slow_on_a_cpu(section: Any) -> None:
    with section("Layers that are slow on a CPU") as page:
        table = page.csv("cpu-layers")
        for _, row in table.iterrows():
            numbers = row.usual_ms, row.ours_ms, row.times_as_fast
            layer = f"`{row.layer}`" if "=" in row.layer else row.layer
            page.says(f"| {layer} | {row.maps} |" + " {:.1f} |" * 3, *numbers)
            page.states(f"| {layer} |")
        page.says("{:word} threads of a processor with AVX512-BF16", *set(table.threads))
        page.says("medians of {} turns", *set(table.turns))
        page.says("of fewer than {} channels", FEW_CHANNELS)
        page.says("on maps up to {}x{}", SMALL_SIDE, SMALL_SIDE)
        page.states("Above 1, ours", "two threads write the sums of 8 or 24 channels", "multiples of 16")
        page.states("two matrix products in float32")


def test_memory_kept_between_predictions(section: Any) -> None:
    with section("Does it pay to keep free memory between predictions?") as page:
        table = page.csv("kept-memory").set_index(["images", "memory"])
        for kind, name in {
            "tiles": "| {} tiles of 64x128 pixels |",
            "photos": "| {} images of 7 sizes up to 1024x1024 |",
            "mixed": "| {} images of as many sizes |",
        }.items():
            usual, kept = (table.loc[(kind, way)] for way in ("usual", "kept"))
            cells = usual.seconds, kept.seconds, kept.times_as_fast, usual.megabytes, kept.megabytes
            page.says(name + " {:.2f} | {:.2f} | {:.2f} | {:,} | {:,} |", kept.number, *cells)
        page.states("of 7 sizes")
        page.says("in bf16, {:word} threads, medians of {:word} rounds", *set(table.threads), *set(table.rounds))
        assert set(table.precision) == {"bf16"}


def test_what_the_recipes_would_take(section: Any) -> None:
    with section("What the recipes would take") as page:
        table = page.csv("dry-runs")
        page.says("of {:word} recipes", len(table))
        for _, row in table.iterrows():
            page.says(
                f"| `{row.recipe}` | {{}} | {{}} | {{}} | {{:.0f}} min | {{:,}} MB | {{:.1f}} GB | {{:.0f}} s |",
                *(row.members, row.measured, row.ensembles, row.estimated_seconds / 60),
                *(row.memory_mb_each, row.disk_mb / 1000, row.dry_run_seconds),
            )
        (row,) = [row for _, row in table.dropna(subset="actual_seconds").iterrows()]
        page.says(f"`{row.recipe}` was trained: it took {{:,.0f}} s", row.actual_seconds)
        page.says("estimate was {:,.0f} s ({:.2f})", row.estimated_seconds, row.actual_to_estimated)
        page.says("{:word} members at a time", *set(table.jobs))
        page.states(
            "one of two cores", "in two processes", "and 20 epochs in place of 10", "had 20 epochs and other networks"
        )


def test_twelve_short_trials(section: Any) -> None:
    with section("Twelve short trials") as page:
        table = page.csv("tune-trials")
        assert len(table) == 12
        assert table.miou.idxmax() == 0  # trial 0 has the defaults
        options = list(table.columns[list(table.columns).index("arch.filters") : list(table.columns).index("error")])
        page.says("{:.1f} minutes", table.seconds.sum() / 60)
        page.says("{} options, {} trials pruned", len(options), (table.state == "pruned").sum())
        page.says("defaults (inner mIoU {:.1%} %)", table.miou[0])
        page.says("{:word} epochs are too few", table.epoch.max())
        page.states("on two cores")


def test_speed_of_combining(section: Any) -> None:
    with section("Speed of combining") as page:
        check_class_maps(page)
        check_learned(page)
        check_greedy(page)
        check_all_methods(page)
        check_decoding(page)


def check_all_methods(page: Any) -> None:
    table = page.csv("all-methods").set_index("method")
    all_, single = table.loc["all"], table.drop("all")
    page.says("on {} members x {} tiles of {}x{} pixels in", all_.members, all_.images, all_.height, all_.width)
    page.says("pixels in {:word} classes, with planted errors", all_.classes)
    page.says("takes {:.0f} s on {:word} threads", all_.seconds, all_.threads)
    page.says("({:.0f} s of CPU)", all_.cpu_seconds)
    page.says("its {} methods one after another take {:.0f} s", len(single), single.seconds.sum())
    page.says("takes {:.0f} s of these", single.seconds["auto"])
    page.says("stacking on 3x3 pixels {:.0f} s", single.seconds["stacking(neighbourhood=3)"])
    page.states("on 3x3 pixels")
    rest = single.drop(["auto", "stacking(neighbourhood=3)"])
    page.says("every other method at most {} s", rest.seconds.max())
    page.says("nothing to fit, takes {:.0f} s", single.seconds["average"])
    epyc = page.csv("all-methods-epyc").set_index("method")
    here, link = epyc.seconds, "([all-methods-epyc.csv](results/all-methods-epyc.csv))"
    page.says("On {:word} cores of the EPYC {} the command takes {:.0f} s", epyc.threads.iloc[0], link, here["all"])
    page.says("`auto` {:.0f} s, stacking on 3x3 pixels {} s", here["auto"], here["stacking(neighbourhood=3)"])
    page.says("other method at most {} s", here.drop(["all", "auto", "stacking(neighbourhood=3)"]).max())


def check_class_maps(page: Any) -> None:
    table = page.csv("combining").set_index(["task", "tool", "images"]).sort_index()
    small, large = 1500, 10000
    page.says("| | {:,} images | {:,} images | peak memory | disk, {:,} images |", small, large, small)
    for label, tool, form in (
        ("ours", ("class maps", "ens-toolkit stores"), "{:.2f} s | {:.1f} s | {:.0f}, {:.0f} MB"),
        (
            "nnU-Net's `average_probabilities`",
            ("class maps", "nnU-Net average_probabilities"),
            "{:.1f} s | {:.1f} s | {:.0f}, {:.0f} MB",
        ),
        (
            "float32 memory maps",
            ("class maps", "NumPy float32 memory maps"),
            "{:.2f} s | {:.1f} s | {:,.0f}, {:,.0f} MB (pages)",
        ),
        (
            "`ens combine`: learned, cross-fitted, scored, judged",
            ("combine", "ens-toolkit stores"),
            "{:.1f} s | {:.1f} s | {:.0f}, {:.0f} MB",
        ),
    ):
        rows = table.loc[tool]
        cells = (*rows.seconds[[small, large]], *rows.peak_megabytes[[small, large]], rows.disk_megabytes[small])
        page.says(f"| {label} | {form} | {{:,.0f}} MB |", *cells)
    ours = table.loc["class maps", "ens-toolkit stores"]
    page.says("{:.1f} and {:.1f} times the speed of nnU-Net", *ours.times_faster_by_seconds[[small, large]])
    assert ours.times_less_disk.round().eq(10).all()
    page.states("a tenth of the disk space", "(8-bit codes)")
    page.says("{:.2%} % of the pixels", *{round(share, 4) for share in ours.pixels_unlike_float})
    page.says(
        "**Stores to class maps**, {} members, 64x128 pixels, {} classes", *set(table.members), *set(table.classes)
    )


def check_learned(page: Any) -> None:
    table = page.csv("learned")
    best = table.sort_values("tolerance").groupby(["method", "precision", "set"]).first()
    sets = ["members", "unequal", "near-tied"]
    page.says("|" + " {:.2g} s, least |" * 3, *best.loc["learned", "single"].seconds[sets])
    for label, method in (
        ("SLSQP, exact gradients, float32", ("SLSQP, exact gradients", "single")),
        ("SLSQP, exact gradients, float64", ("SLSQP, exact gradients", "double")),
        ("SLSQP, numeric gradients", ("SLSQP, numeric gradients", "double")),
        ("EM", ("EM", "double")),
    ):
        rows = best.loc[method].loc[sets, ["seconds", "above_least"]]
        page.says(f"| {label} |" + " {:.2g} s, {:.0e} |" * 3, *rows.to_numpy().ravel())
    slow, exact = (best.loc[f"SLSQP, {kind} gradients", "double"].times_learned[sets] for kind in ("numeric", "exact"))
    page.says("{:.0f}, {:.0f} and {:.0f} times faster than SLSQP with numeric gradients", *slow)
    page.says("{:.0f}, {:.0f} and {:.1f} times as fast as SLSQP", *exact)
    page.says("a million pixels x {} members", *set(table.members))
    assert set(table.pixels) == {1_000_000}
    page.states("a million pixels", "proof within 1e-6")


def check_greedy(page: Any) -> None:
    table = page.csv("greedy").set_index(["tool", "seed"])
    theirs, ours, bags = (
        table.loc[tool]
        for tool in ("AutoGluon EnsembleSelection", "ens-toolkit greedy, no bags", "ens-toolkit greedy, 10 bags")
    )
    assert ours[["miou", "miou_held_out"]].equals(theirs[["miou", "miou_held_out"]])
    assert (bags.miou < ours.miou).all()
    page.says("{} members, about {:,.0f} pixels", *set(table.members), round(table.pixels.mean(), -4))
    page.says("on all {:word} draws", len(ours))
    page.says("{:.2f}, {:.2f} and {:.2f} s instead of {:.1f}, {:.1f} and {:.1f} s", *ours.seconds, *theirs.seconds)
    page.says("{:.1f}, {:.1f} and {:.1f} times faster", *ours.times_faster_by_seconds)
    page.says("of {:word} bags takes {:.1f} to {:.1f} s", 10, bags.seconds.min(), bags.seconds.max())
    page.says("{:.2%}, {:.2%} and {:.2%} points higher", *(bags.miou_held_out - ours.miou_held_out))
    page.states("on the half used for selection", "on the held-out half", "lower on the half", "on the other half")


def check_decoding(page: Any) -> None:
    table = page.csv("decoding").set_index("member")
    whole, each = table.loc["all"], table.drop("all").bytes_per_value
    page.says(
        "{:.0%} % is zstd ({:,} MB/s of codes, the speed of the library), {:.0%} % undoing the differences, {:.0%} %"
        " decoding to float32, {:.0%} % checksums. Together: {} MB/s of codes, which is {:.1f} GB/s of float32 (memcpy"
        " of float32: {:.1f} GB/s)",
        *(whole.zstd_share, whole.zstd_megabytes_per_second, whole.differences_share, whole.decode_share),
        *(whole.digest_share, whole.store_megabytes_per_second, whole.store_megabytes_per_second * 4 / 1000),
        whole.memcpy_float_megabytes_per_second / 1000,
    )
    page.says("{:.2f} to {:.2f} bytes per value, {:.2f} on average", each.min(), each.max(), whole.bytes_per_value)


def test_a_thousand_runs(section: Any) -> None:
    with section("A thousand runs in a table") as page:
        table, old = page.csv("results-table").set_index("situation"), page.csv("results-table-index")
        read, cold = table.loc["read"], table.loc["read, cold"]
        assert read.runs == 1000
        assert read.load_average < 1.5
        old = old.set_index(["runs", "situation"]).sort_index()
        index, many = old.loc[(1000, "with index")], old.loc[(10000, "without index, index written")]
        page.says("{} s of CPU to read the table", read.cpu_seconds)
        page.says("{} s after the files were dropped", cold.cpu_seconds)
        page.says("index, which took {} s of CPU", index.cpu_seconds)
        assert read.cpu_seconds - index.cpu_seconds < 1
        page.says("table took {:.1f} s of CPU without the index", many.cpu_seconds)
        page.states("on two cores", "Of ten thousand runs")


def test_the_report(section: Any) -> None:
    with section("The report"):
        pass


def test_ranking_for_labelling(section: Any) -> None:
    with section("Ten thousand images ranked for labelling") as page:
        (row,) = page.csv("label-next").itertuples()
        page.says("ranked {:,} test images of {}x{} pixels", row.images, row.height, row.width)
        page.says("in {:word} classes by the disagreement of {:word} imported members", row.classes, row.members)
        page.says("chose {} of them in {:.0f} s on {:word} thread", row.chosen, row.seconds, row.threads)
        page.says("({:.0f} MB of stores)", row.store_megabytes)
        assert "Xeon" in row.cpu
        page.states("the goal was 60 s")
