"""Compare the sections about equal bits, kills and lost nodes of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

from typing import Any


def test_the_same_bits(section: Any) -> None:
    with section("The same bits as before the move") as page:
        table = page.csv("same-bits")
        assert (table.before == table.after).all()
        folders = {tuple(result.split("/")[:2]) for result in table.result if "/" in result}
        page.says("train {} members of the sample", sum(kind == "members" for kind, _ in folders))
        page.says("combine them in {} ways", sum(kind == "ensembles" for kind, _ in folders))


def test_killed_and_run_on_full_disks(section: Any) -> None:
    with section("Killed, and run on full disks") as page:
        table = page.csv("kill-test")
        same, other, *runs = table.equal_bits
        assert (same, other) == (True, False)
        assert all(runs)
        assert not table.damaged_files.fillna(0).any()
        page.says("with {} file operations", *set(table.moment.str.extract(r"call \d+ of (\d+)")[0].dropna()))
        page.says("with SIGKILL {} times", (table.ended_by == "SIGKILL").sum())
        page.says("on {:word} full disks", (table.ended_by == "exit code 2").sum())


def test_a_lost_node(section: Any) -> None:
    with section("A study on a cluster that loses a node") as page:
        table = page.csv("lost-node")
        assert table.equals_local.all()
        assert (table.state == "complete").all()
        assert table.resumed.sum() == 1
        page.says("{:Word} Ray nodes", *set(table.nodes))
        page.says("{:word} `pspnet` members", len(table))
        page.says("All {:word} were finished", len(table))
        page.says("killed after {:.0f} s", *set(table.killed_after_seconds))
        page.says("after {:.0f} s and have", *set(table.study_seconds))


def test_damaged_exchanged_and_deleted_files(section: Any) -> None:
    with section("Damaged, exchanged and deleted files") as page:
        table = page.csv("corruption")
        assert not table.wrong.any()
        said = {name: table[name] for name in ("verify", "results", "combine", "predict")}
        assert {text for texts in said.values() for text in texts} == {"same", "named"}
        counts = {name: ((texts == "named").sum(), (texts == "same").sum()) for name, texts in said.items()}
        page.says("| `ens verify` | {} | {} |", *counts["verify"])
        page.says("| `ens results` | {} | {} |", *counts["results"])
        page.says("| `ens combine` (members) | {} | {} |", *counts["combine"])
        page.says("| `ens predict` (the ensemble) | {} | {} |", *counts["predict"])
        page.says("After each of the {} damages {:word} commands", len(table), len(said))
        flips = table[table.damage == "flipped"].groupby(["part", "file"]).size()
        page.says("a bit flipped at {} places", *set(flips))
        page.says("cut at {:word} places", table[table.damage == "cut"].place.nunique())
        unread = table[table.verify == "same"]
        assert set(unread.file) == {"log.txt", "examples.png"}
        assert (unread[list(said)] == "same").all(axis=None)
        page.says("The {} damages that `ens verify` does not name", len(unread))
