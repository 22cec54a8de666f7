"""Tables of events: read as DCASE and DESED ship them, merged where a class overlaps itself, written and read the same."""

import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.sed import events as ev
from datamodules.sed.event_files import read_durations, read_events, read_names, read_weak

REAL = os.environ.get("QUINTET_DATA")
real = pytest.mark.skipif(not REAL, reason="QUINTET_DATA names no folder")

STRONG = """filename\tonset\toffset\tevent_label
a.wav\t1.0\t2.5\tDog
a.wav\t2.0\t3.0\tDog
a.wav\t2.9\t4.0\tDog
a.wav\t4.0\t5.0\tDog
a.wav\t1.5\t2.0\tCat
b.wav\t\t\t
c.wav\t0.000\t10.115\tCat
"""


def write(folder, text, name="strong.csv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(labels):
    """(name, class, onset, offset) of every event."""
    names, classes = np.array(labels.names), np.array(labels.classes)
    clip, label, *times = labels.events
    return list(zip(names[clip].tolist(), classes[label].tolist(), *(x.tolist() for x in times), strict=True))


def test_overlaps_are_merged_touching_events_are_not_and_a_clip_without_events_stays(tmp_path):
    labels = read_events(write(tmp_path, STRONG))
    assert labels.names == ("a.wav", "b.wav", "c.wav")
    assert labels.classes == ("Cat", "Dog")
    assert rows(labels) == [
        ("a.wav", "Dog", 1.0, 4.0),
        ("a.wav", "Cat", 1.5, 2.0),
        ("a.wav", "Dog", 4.0, 5.0),
        ("c.wav", "Cat", 0.0, 10.115),
    ]
    (remark,) = labels.remarks
    assert "2 overlaps within a class: 3 rows merged into 1 events" in remark
    assert "1 file: a.wav" in remark


def test_offsets_are_cut_at_the_end_of_a_clip_on_request(tmp_path):
    labels = read_events(write(tmp_path, STRONG), names=["c.wav", "b.wav", "a.wav"], durations=np.array([10.0, 10.0, 3.5]))
    assert rows(labels)[0] == ("c.wav", "Cat", 0.0, 10.0)
    assert [row[3] for row in rows(labels)] == [10.0, 3.5, 2.0]  # what begins after the end is gone
    assert "3 events end after their clip" in labels.remarks[1]


def test_commas_and_other_columns_and_orders_are_understood(tmp_path):
    text = ",event_label,onset,offset,filename\n0,Cat,0.5,1.5,b.wav\n1,Dog,0,1,a.wav\n"
    assert rows(read_events(write(tmp_path, text))) == [("b.wav", "Cat", 0.5, 1.5), ("a.wav", "Dog", 0.0, 1.0)]


def test_labels_that_are_unknown_are_named_in_one_sentence(tmp_path):
    path = write(tmp_path, STRONG + "c.wav\t1\t2\tDgo\nd.wav\t1\t2\tBird\n")
    with pytest.raises(DataError) as error:
        read_events(path, ["Dog", "Cat"])
    assert str(error.value) == f"{path}, line 9: unknown label 'Dgo', 'Bird' (2 such rows); expected Dog, Cat."


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ("-0.1\t1\tDog", "onset -0.1 is negative"),
        ("1\t1\tDog", "offset 1 is not after onset 1"),
        ("2\t1\tDog", "offset 1 is not after onset 2"),
        ("nan\t1\tDog", "times 'nan' and '1' are not two numbers"),
        ("0\tinf\tDog", "times '0' and 'inf' are not two numbers"),
        ("\t\tDog", "times '' and '' are not two numbers"),
        ("one\t2\tDog", "times 'one' and '2' are not two numbers"),
        ("1\t2\t", "an event without a label"),
    ],
)
def test_rows_that_are_no_events_are_left_out_and_told_or_are_an_error(tmp_path, row, flaw):
    path = write(tmp_path, STRONG + f"d.wav\t{row}\n")
    labels = read_events(path)
    assert labels.names[-1] == "d.wav"
    assert len(rows(labels)) == 4
    assert f"1 rows without usable times or label left out, the first in line 9 ({flaw}), in 1 file: d.wav." in labels.remarks[0]
    (row,) = labels.left_out
    assert (row.kind, row.reason, row.detail) == ("event", flaw, "d.wav") and row.item.endswith(", line 9")
    with pytest.raises(DataError, match="line 9"):
        read_events(path, strict=True)


def test_nan_written_for_nothing_is_a_clip_without_events(tmp_path):
    labels = read_events(write(tmp_path, "filename\tonset\toffset\tevent_label\na.wav\tnan\tNaN\tnan\n"))
    assert labels.names == ("a.wav",)
    assert not labels.remarks
    assert not rows(labels)


def test_what_is_no_such_table_is_said_in_one_sentence(tmp_path):
    with pytest.raises(DataError, match="no column 'onset'"):
        read_events(write(tmp_path, "filename\tevent_labels\na.wav\tDog\n"))
    with pytest.raises(DataError, match="no column 'filename'"):
        read_names(write(tmp_path, ""))
    with pytest.raises(DataError, match="does not exist"):
        read_events(tmp_path / "none.tsv")
    with pytest.raises(DataError, match=r"line 2: unknown clip 'a\.wav' \(1 clips"):
        read_events(write(tmp_path, STRONG), names=["b.wav"])
    with pytest.raises(DataError, match="line 2: the file name is missing"):
        read_events(write(tmp_path, "filename\tonset\toffset\tevent_label\n\t1\t2\tDog\n"))
    with pytest.raises(DataError, match=r"line 2: the duration of a\.wav is 'x'"):
        read_durations(write(tmp_path, "filename\tduration\na.wav\tx\n"))


def test_weak_labels_are_separated_by_commas_within_their_cell(tmp_path):
    text = "filename\tevent_labels\na.wav\tDog,Cat\nb.wav\tCat\nc.wav\t\nd.wav\tDog;Dog\n"
    weak = read_weak(write(tmp_path, text))
    assert weak.classes == ("Cat", "Dog")
    assert weak.tags.tolist() == [[True, True], [True, False], [False, False], [False, True]]
    with pytest.raises(DataError, match="line 2: unknown label 'Dog'"):
        read_weak(write(tmp_path, text), ["Cat"])


def test_written_and_read_again_nothing_changes(tmp_path):
    random = np.random.default_rng(0)
    onset = random.integers(0, 20, 60) + np.round(random.random(60) / 2, 3)
    offset = onset + 0.1 + 0.4 * random.random(60)  # more digits than milliseconds
    events = ev.merge_overlaps(ev.table(random.integers(0, 9, 60), random.integers(0, 3, 60), onset, offset)).events
    names = [f"Y-_{i}.wav" for i in range(10)]
    labels = read_events(write(tmp_path, ev.to_tsv(names, "abc", events)), "abc")
    assert labels.names == tuple(names)
    assert not labels.remarks
    for ours, theirs in zip(labels.events, events, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(20))
def test_merging_equals_painting_on_a_line(seed):
    random = np.random.default_rng(seed)
    onset = random.integers(0, 40, 30)
    events = ev.table(random.integers(0, 3, 30), random.integers(0, 2, 30), onset, onset + random.integers(1, 9, 30))
    merged = ev.merge_overlaps(events)
    found = set(zip(*(x.tolist() for x in merged.events), strict=True))
    expected = set()
    for clip in range(3):
        for label in range(2):
            line, joints = np.zeros(60, dtype=bool), np.zeros(60, dtype=bool)
            for i in np.flatnonzero((events.clip == clip) & (events.label == label)):
                start, end = int(events.onset[i]), int(events.offset[i])
                line[start:end] = True
                joints[start + 1 : end] = True  # here one event goes on
            cuts = [t for t in range(60) if line[t] and not joints[t]]
            expected |= {(clip, label, t, next(u for u in range(t + 1, 60) if not joints[u])) for t in cuts}
    assert found == expected
    assert len(events.clip) - len(merged.rows) + merged.result_count == len(merged.events.clip)


def test_nothing_at_all_is_a_table_too():
    empty = ev.table()
    assert len(ev.merge_overlaps(empty).events.clip) == 0
    assert len(ev.clip_offsets(empty, np.ones(3)).clip) == 0
    assert ev.to_tsv(["a.wav"], ["Dog"], empty).splitlines()[1:] == ["a.wav\t\t\t"]
    assert ev.to_tsv(["a.wav"], ["Dog"], empty, empty=False).splitlines()[1:] == []


def test_some_clips_of_a_corpus(tmp_path):
    labels = read_events(write(tmp_path, STRONG))
    corpus = ev.EventTable(labels.names, np.array([10.0, 9.0, 10.2]), labels.classes, labels.events)
    assert corpus.tags().tolist() == [[True, True], [False, False], [True, False]]
    some = corpus.select([2, 1])
    assert some.names == ("c.wav", "b.wav")
    assert some.durations.tolist() == [10.2, 9.0]
    assert some.events.clip.tolist() == [0]
    assert some.tags().tolist() == [[True, False], [False, False]]


@pytest.mark.realdata
@real
def test_the_metadata_of_dcase_2018_as_they_are():
    folder = Path(REAL or "", "dcase2018", "metadata")
    weak = read_weak(folder / "train" / "weak.csv")
    assert len(weak.names) == 1578
    assert len(weak.classes) == 10
    assert weak.tags.any(1).all()
    assert len(read_names(folder / "train" / "unlabel_in_domain.csv")) == 14_412
    test = read_events(folder / "test" / "test.csv", weak.classes)
    assert len(test.names) == 288
    assert len(test.events.clip) == 908 - 18 + 6
    (remark,) = test.remarks
    assert "12 overlaps within a class: 18 rows merged into 6 events, in 4 files: " in remark
    assert "Y2DF8mtDke8k_460.000_470.000.wav" in remark
    evaluation = read_events(folder / "eval" / "eval.csv", weak.classes)
    assert len(evaluation.names) == 880
    assert len(evaluation.events.clip) == 3343 - 15
    assert len(set(range(880)) - set(evaluation.events.clip.tolist())) == 15
    assert not evaluation.remarks
    cut = read_events(folder / "eval" / "eval.csv", weak.classes, evaluation.names, np.full(880, 10.0))
    assert "3 events end after their clip" in cut.remarks[0]


@pytest.mark.realdata
@real
def test_the_metadata_of_desed_as_they_are():
    folder = Path(REAL or "", "golden", "desed")
    labels = read_events(folder / "validation.tsv")
    durations = read_durations(folder / "validation_durations.tsv")
    assert len(labels.names) == 1168
    assert set(labels.names) == set(durations)
    assert len(labels.events.clip) == 4239 - 15
    assert not labels.remarks
