"""Options of `predict` that the network or the data cannot serve: refused before anything is read; tables of events."""

import csv
from functools import partial
from types import SimpleNamespace

import pytest

from datamodules.common.errors import DataError
from datamodules.sed.event_files import read_events
from models.tagging import CNN_P, Att, FrontBack, Spec
from tasks.sed.writer import EventWriter
from tasks.separation.writer import StemWriter
from tasks.tagging.decisions import Decision
from tasks.tagging.options import TaggingOptions
from tasks.tagging.writer import TagWriter
from tasks.writers.journal import JournalEntry


def check(back_end, inputs=2, **options):
    net = FrontBack(2, partial(Spec, channels=1, width=16, frames=64, time_stride=4), back_end)
    data = SimpleNamespace(items=lambda: [None] * inputs)
    tagger = SimpleNamespace(net=net, tags=["rock", "jazz"], inference=TaggingOptions())
    TagWriter(**options).check(SimpleNamespace(datamodule=data), tagger)


@pytest.mark.parametrize("option", ["maps", "join"])
def test_maps_need_attention(option):
    with pytest.raises(DataError, match=rf"^--output\.{option}: CNN_P has no attention; leave the option out"):
        check(CNN_P, **{option: True})
    check(CNN_P, timeline=True)
    check(partial(Att, layers=1, heads=2), **{option: True})


def test_rows_of_a_map_need_a_map():
    with pytest.raises(DataError, match=r"needs --output\.maps true"):
        check(CNN_P, map_tags=["rock"])


def test_one_file_is_joined_with_nothing():
    with pytest.raises(DataError, match=r"needs at least two files in --data\.inputs"):
        check(partial(Att, layers=1, heads=2), inputs=1, join=True)


@pytest.mark.parametrize(
    ("writer", "options", "sentence"),
    [
        (EventWriter, {"reference": "true.tsv", "pictures": False}, "needs --output.pictures true"),
        (StemWriter, {"format": "mp3", "subtype": "PCM_24"}, "subtype PCM_24 is not supported by mp3"),
        (StemWriter, {"other": "minus"}, "needs --output.two_stems STEM"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(writer, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        writer(**options)


def entry(name, events, error=None):
    row = {"duration_s": 2.0, "events": events, "tags": ["Dog"] * bool(events), "clip": [0.25]}
    return JournalEntry(f"/in/{name}", f"in/{name}", name, name[:-4], "run", "session", row=row, error=error)


def test_notes_on_a_file_say_that_it_is_damaged(tmp_path, capsys):
    writer = TagWriter(str(tmp_path))
    writer.root, writer.left_out, writer.decision = tmp_path, [], Decision(["loud"], [0.5])
    row = {"duration_s": 5.0, "scores": [0.75], "notes": ["silent"], "damage": "decodes to 5.0 s, but its header claims 10.0 s"}
    cut = JournalEntry("/in/cut.mp3", "cut.mp3", "cut.mp3", "cut", "run", "session", row=row)
    writer.write_tables(SimpleNamespace(tags=["loud"]), [cut], [])
    writer.report(SimpleNamespace(), [cut], [cut])
    note = "decodes to 5.0 s, but its header claims 10.0 s, tags are of the decoded part; silent"
    with (tmp_path / "tags.csv").open(newline="") as file:
        assert [line["notes"] for line in csv.DictReader(file)] == [note]
    assert capsys.readouterr().out.count("cut.mp3") == 1


def test_events_have_a_row_for_silent_files_and_a_score(tmp_path):
    writer = EventWriter(str(tmp_path))
    writer.root, writer.left_out = tmp_path, []
    rows = [entry("b.wav", []), entry("a/x\t.wav", [[0.5, 10.25, "Dog", 0.87654]]), entry("c.wav", [[0.0, 1.0, "Dog", 0.5]])]
    writer.write_tables(SimpleNamespace(classes=["Dog"]), rows, [])
    assert (tmp_path / "events.tsv").read_text() == (
        "filename\tonset\toffset\tevent_label\tscore\n"
        "a/x\\t.wav\t0.500\t10.250\tDog\t0.8765\n"
        "b.wav\t\t\t\t\n"
        "c.wav\t0.000\t1.000\tDog\t0.5000\n"
    )
    events = read_events(tmp_path / "events.tsv", ["Dog"])
    assert events.names == (r"a/x\t.wav", "b.wav", "c.wav") and events.events.offset.tolist() == [10.25, 1.0]
    assert (tmp_path / "tags.csv").read_text().splitlines()[1] == "in/b.wav,2.0,,0.25"
