"""Tables as people write them: quotes in TSV, decimal commas, semicolons, quotes that are never closed."""

import numpy as np
import pytest

from datamodules.alignment.annotations import read_beats, read_labels
from datamodules.alignment.annotations import read_events as read_score_events
from datamodules.common.delimited import delimiter_of, number, records, rows
from datamodules.common.errors import DataError
from datamodules.sed.event_files import read_durations, read_events, read_weak
from datamodules.tagging.mtat import _read as read_mtat
from datamodules.tagging.tag_table import read_table, score_labels

HEADER = "filename\tonset\toffset\tevent_label\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_quote_in_a_tsv_swallows_nothing(tmp_path):
    path = write(tmp_path / "x.tsv", HEADER + '"best of.wav\t0.5\t1.5\tDog\nb.wav\t0\t1\tCat\nc".wav\t0\t2\tDog\n')
    labels = read_events(path)
    assert labels.names == ('"best of.wav', "b.wav", 'c".wav') and len(labels.events.clip) == 3
    weak = write(tmp_path / "w.tsv", 'filename\tevent_labels\n"a.wav\tDog\n"b.wav"\t"Cat,Dog"\n')
    assert read_weak(weak).names == ('"a.wav', "b.wav") and read_weak(weak).tags.tolist() == [[False, True], [True, True]]
    tags = read_table(write(tmp_path / "t.tsv", 'path\trock\n"a.mp3\t1\nb.mp3\t0\n'))
    assert tags.rows == [['"a.mp3', "1"], ["b.mp3", "0"]]
    mtat = write(tmp_path / "m.csv", '"clip_id"\t"a ""b"""\t"mp3_path"\n"2"\t"1"\t"0/x.mp3"\n"3\t0\t1/y.mp3\n')
    assert read_mtat(mtat) == (['a "b"'], pytest.approx(np.array([[1], [0]])), ["0/x.mp3", "1/y.mp3"])


@pytest.mark.parametrize("separator", ["\t", ";"])
def test_decimal_commas_are_numbers(tmp_path, separator):
    text = (HEADER + "a.wav\t0,5\t1,75\tDog\n").replace("\t", separator)
    events = read_events(write(tmp_path / "x.csv", text), strict=True).events
    assert (events.onset.tolist(), events.offset.tolist()) == ([0.5], [1.75])
    durations = write(tmp_path / "d.csv", f"filename{separator}duration\na.wav{separator}9,5\n")
    assert read_durations(durations) == {"a.wav": 9.5}
    scores = read_table(write(tmp_path / "t.csv", f"path{separator}rock\na.mp3{separator}0,7\nb.mp3{separator}0,2\n"))
    assert score_labels(scores, ["rock"], 0.5)[1].tolist() == [[1], [0]]


def test_decimal_commas_in_lists_of_times(tmp_path):
    assert read_beats(write(tmp_path / "b.txt", "0,5\n1,25\n2\n")).tolist() == [0.5, 1.25, 2.0]
    events = read_score_events(write(tmp_path / "e.txt", "score;performance\n0,5;1,5\n1,0;2,5\n"))
    assert events.tolist() == [[0.5, 1.5], [1.0, 2.5]]
    assert read_score_events(write(tmp_path / "i.csv", "0,1\n1, 2\n2.5,4\n")).tolist() == [[0, 1], [1, 2], [2.5, 4]]
    assert read_labels(write(tmp_path / "l.txt", "0,5\t0,5\tb\n")) == [(0.5, "b")]


@pytest.mark.parametrize(
    ("cell", "value"), [("1,5", 1.5), (" 2 ", 2.0), ("-0,25", -0.25), ("1e-3", 1e-3), ("1,5e2", 150.0), ("3.5", 3.5)]
)
def test_numbers(cell, value):
    assert number(cell) == value


@pytest.mark.parametrize("cell", ["", "1,2,3", "1.234,5", "a,5", "1,"])
def test_what_is_no_number(cell):
    with pytest.raises(ValueError, match="could not convert"):
        number(cell)


def test_a_quote_that_is_never_closed_is_one_sentence(tmp_path):
    path = write(tmp_path / "x.csv", 'filename,onset,offset,event_label\na.wav,0,1,Dog\n"b.wav,0,1,Dog\nc.wav,0,1,Dog\n')
    with pytest.raises(DataError, match=r"x\.csv, line 3: unexpected end of data; close the quote"):
        read_events(path)


def test_a_table_of_unusable_rows_alone_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"has no row with usable times and label; the first, line 2: times '0:30'"):
        read_events(write(tmp_path / "x.tsv", HEADER + "a.wav\t0:30\t0:40\tDog\n"))


def test_records_and_delimiters(tmp_path):
    assert records(write(tmp_path / "x.csv", 'a,b\n"x, y",2\nz\n')) == [{"a": "x, y", "b": "2"}, {"a": "z", "b": ""}]
    assert records(write(tmp_path / "y.csv", "a;b\r\n1,5;2\r\n")) == [{"a": "1,5", "b": "2"}]
    assert records(write(tmp_path / "z.csv", "")) == []
    assert [delimiter_of(line) for line in ("a\tb", "a,b;c,d", "a;b", "a")] == ["\t", ",", ";", "\t"]
    assert list(rows(['a,"b\n', 'c"\n', "\n", "d,e\n"], ",", tmp_path)) == [(2, ["a", "b\nc"]), (4, ["d", "e"])]
