"""The report of what was left out: grouping, lines, JSON, and flags of loader processes."""

import logging

from datamodules.common.errors import DataError
from datamodules.common.left_out import UNREADABLE, LeftOut, LeftOutReport, UnreadableFlags


def filled() -> LeftOutReport:
    report = LeftOutReport()
    report.add("tag", "rare", "too few clips", "2 clips")
    report.add("file", "b.wav", "missing in audio")
    report.add("tag", "quiet", "too few clips", "1 clip")
    report.add("file", "b.wav", "missing in audio")
    return report


def test_items_are_grouped_by_kind_and_reason_each_once():
    assert filled().as_json() == [
        {"kind": "tag", "reason": "too few clips", "count": 2, "items": ["quiet", "rare"], "details": ["1 clip", "2 clips"]},
        {"kind": "file", "reason": "missing in audio", "count": 1, "items": ["b.wav"]},
    ]
    assert filled().as_json(limit=1)[0]["count"] == 2 and filled().as_json(limit=1)[0]["items"] == ["quiet"]


def test_each_group_is_one_line_and_is_logged_once(caplog):
    report = filled()
    with caplog.at_level(logging.WARNING):
        report.log_new()
        report.add("class", "Cat\udcff", "no event")
        report.log_new()
        report.log_new()
    assert [record.getMessage() for record in caplog.records] == [
        "Left out 2 tags: quiet (1 clip), rare (2 clips): too few clips",
        "Left out 1 file: b.wav: missing in audio",
        "Left out 1 class: Cat\ufffd: no event",
    ]


def test_a_long_group_names_its_first_items():
    report = LeftOutReport()
    report.extend(LeftOut("class", f"c{i}", "unused") for i in range(9))
    assert report.lines() == ["Left out 9 classes: c0, c1, c2, c3, c4 and 4 more: unused"]


def test_an_error_message_becomes_item_and_reason():
    entry = LeftOut.from_sentence("file", "a b.wav", "/data/a b.wav is empty (0 bytes).", "/data/a b.wav")
    assert entry == LeftOut("file", "a b.wav", "is empty (0 bytes)")
    assert LeftOut.from_subject("recording", "/x y/c.wav has no score beside it: it is left out.") == LeftOut(
        "recording", "/x y/c.wav", "has no score beside it"
    )
    assert LeftOut.from_subject("recording", "A01 is left out: there is no A01.beat.") == LeftOut(
        "recording", "A01", "there is no A01.beat"
    )


def test_rows_that_loader_processes_flag_count_but_for_those_known():
    report, flags = filled(), UnreadableFlags(3)
    report.watch("file", ["a.wav", "b.wav", "c.wav"], flags)
    for row in (1, 2):
        flags.report(row, DataError("bad"), strict=False)
    assert LeftOut("file", "c.wav", UNREADABLE) in report.items()
    assert [entry.item for entry in report.items() if entry.kind == "file"] == ["b.wav", "c.wav"]
