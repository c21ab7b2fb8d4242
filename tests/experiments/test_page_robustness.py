"""Compare the sections about equal bits, kills and lost nodes of ``experiments/README.md`` with their CSV files."""

from __future__ import annotations

import re
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
        assert not table.fault.any()
        for command, rows in table.groupby("command"):
            (calls,) = set(rows.moment.str.extract(r"call \d+ of (\d+)")[0].dropna())
            child = rows.moment.str.startswith("the process that trains") & (rows.ended_by == "exit code 1")
            killed = (rows.ended_by == "SIGKILL") | child
            full = rows.moment.str.contains("no file beyond|disk full") & (rows.ended_by == "exit code 2")
            assert killed.sum() >= 20
            page.says(f"| `{command}` | {{}} | {{}} | {{}} |", calls, killed.sum(), full.sum())


def test_processes_at_the_same_time(section: Any) -> None:
    with section("Processes at the same time") as page:
        table = page.csv("at-once")
        assert not table.fault.any()
        page.says("two processes at the same time ({} times)", (table.what == "two trainings").sum() // 2)
        page.says("removed while it was trained ({} times)", (table.command == "remove").sum())
        readers = table[table.what.str.startswith("reader")]
        page.says("{:word} processes ran", len(readers))
        found = readers.command.str.extract(r"(\w+), (\d+) times")
        for command, times in found[1].astype(int).groupby(found[0]).sum().items():
            page.says(f"`ens {command}` {{}} times", times)
        page.states("trained by two processes", "While six members were trained")


def test_two_hundred_members_and_thirty_open_files(section: Any) -> None:
    with section("Two hundred members and thirty open files") as page:
        table = page.csv("open-files").set_index("command")
        assert table.same_output.all()
        assert (table.exit_code == table.usual_exit_code).all()
        assert set(table.index[table.exit_code != 0]) == {"explain average"}
        assert set(table.members) == {200}
        page.states("Two hundred members, imported")
        page.says("read by {:word} commands", len(table))
        page.says("{:word} methods of `combine`", table.index.str.startswith("combine").sum())
        page.says("may have {} files open", *set(table.open_files))
        (most,) = re.findall(r"at most (\d+) members", table.last_line["explain average"])
        page.says("refuses more than {} members in one sentence", int(most))


def test_one_large_image(section: Any) -> None:
    with section("One large image") as page:
        table = page.csv("gigapixel")
        assert table.same_bytes.all()
        assert (table.ended_by == "SIGKILL").all()
        assert not table.other_class.any()
        row = table[table.side == 10_000].iloc[0]
        assert row.peak_megabytes < 1500
        page.says("A GeoTIFF of {:,}x{:,} pixels", row.side, row.side)
        page.says("({:.0f} MB", row.image_megabytes)
        page.says("{:word} members", row.members)
        page.says("{} tiles of {}x{} pixels", row.tiles, row.tile, row.tile)
        page.says("took {:.0f} s", row.seconds)
        page.says("at most {:,.0f} MB", row.peak_megabytes)
        page.says("had finished {} of {} strips", row.strips_kept, row.strips)
        page.says("took another {:.0f} s", row.seconds_again)
        page.says("crop of {:,}x{:,} pixels", row.crop, row.crop)
        page.says("by at most {:.1e}", row.largest_difference)
        page.states("at most 1.5 GB")


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
