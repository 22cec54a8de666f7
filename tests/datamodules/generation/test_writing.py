"""Pieces as MIDI, ABC and sound: what other readers find in them, and that ours finds the same piece."""

import io
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from datamodules.common.errors import DataError
from datamodules.generation.piece import ONSET, PITCH, Piece, in_order, same
from datamodules.generation.writing.abc import abc_text
from datamodules.generation.writing.midi import midi_bytes, preview
from datamodules.generation.writing.musicxml import musicxml_bytes
from tests.helpers.full_pieces import CASES, back, busy_piece


@pytest.mark.parametrize("case", CASES)
def test_a_midi_file_is_read_as_the_same_piece(case, tmp_path):
    piece = busy_piece(*case)
    piece = replace(piece, drums=np.array([[0, 5, 36, 90], [piece.ticks, 5, 42, 70]], np.int32))
    found = back(midi_bytes(piece), ".mid", tmp_path)
    assert same(found, piece)
    assert found.programs == piece.programs


@pytest.mark.parametrize("pickup", [1, 7, 160, 240, 480, 700, 1919])
def test_any_pickup_survives_midi(pickup, tmp_path):
    piece = Piece(in_order([(0, 480, 60, 80, 0), (1920, 960, 62, 80, 0)]), 480, 2880, pickup=pickup)
    assert same(back(midi_bytes(piece), ".mid", tmp_path), piece)


def test_other_readers_find_notes_tempi_metres_and_the_end_in_midi():
    mido, pretty_midi = pytest.importorskip("mido"), pytest.importorskip("pretty_midi")
    piece = replace(busy_piece(5, 480, 4), pickup=720, metres=np.array([[0, 4, 4]], np.int32))
    data = midi_bytes(piece)
    assert data == midi_bytes(piece)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert [sum(message.time for message in track) for track in file.tracks] == [piece.length] * 5
    metres = [(event.numerator, event.denominator) for event in file.tracks[0] if event.type == "time_signature"]
    assert metres == [(3, 8), (4, 4)]
    peer = pretty_midi.PrettyMIDI(io.BytesIO(data))
    tick = peer.time_to_tick
    found = sorted((tick(n.start), tick(n.end), n.pitch, n.velocity) for line in peer.instruments for n in line.notes)
    assert found == sorted((on, on + lasts, pitch, velocity) for on, lasts, pitch, velocity, _ in piece.notes.tolist())
    assert peer.get_tempo_changes()[1] == pytest.approx(60e6 / piece.tempi[:, 1])
    assert [line.program for line in peer.instruments] == [10, 11, 12, 13]
    assert [line.name for line in peer.instruments] == ["Soprano", "Alto", "Tenor", "Bass"]


def test_repeated_notes_that_overlap_are_cut_where_they_begin_again(tmp_path):
    piece = Piece(in_order([(0, 960, 60, 80, 0), (480, 960, 60, 80, 0), (0, 1440, 64, 80, 1)]), 480, 1440)
    found = back(midi_bytes(piece), ".mid", tmp_path)
    assert found.voice(0)[:, :2].tolist() == [[0, 480], [480, 960]]
    assert found.voice(1)[:, :2].tolist() == [[0, 1440]]


@pytest.mark.parametrize("case", [(seed, ticks, 1, False, triplets) for seed, ticks, _, _, triplets in CASES])
def test_abc_is_read_as_the_same_melody(case, tmp_path):
    piece = busy_piece(*case)
    if case[0] % 3 == 0:
        piece = replace(piece, tonic=None, mode=None)
    found = back(abc_text(piece).encode(), ".abc", tmp_path)
    ticks = np.lcm(found.ticks, piece.ticks)
    piece = piece.at(ticks)
    expected = piece.with_notes([[*row[:3], 80, 0] for row in piece.notes.tolist()])
    assert same(replace(found.at(ticks), tempi=piece.tempi), expected)


def test_music21_reads_our_abc():
    from music21 import converter

    piece = replace(busy_piece(4, 480, 1), chords=np.zeros((0, 3), np.int32), fermatas=np.zeros(0, np.int32))
    part = converter.parseData(abc_text(piece), format="abc").parts[0]
    begun = [note for note in part.flatten().notes if not note.tie or note.tie.type == "start"]
    found = [(Fraction(note.offset), note.pitch.midi) for note in begun]
    first = found[0][0] - Fraction(int(piece.notes[0, ONSET]), piece.ticks)
    assert [(onset - first, pitch) for onset, pitch in found] == [
        (Fraction(on, piece.ticks), pitch) for on, pitch in piece.notes[:, [ONSET, PITCH]].tolist()
    ]


def test_a_preview_follows_the_tempi_and_stays_within_full_scale():
    notes = in_order([(0, 240, 72, 127, 0), (960, 240, 72, 127, 0), (1920, 240, 72, 127, 0)])
    piece = Piece(notes, 480, 2880, tempi=np.array([[0, 250_000], [960, 1_000_000]], np.int32), programs=(11,))
    sound = preview(piece, 44_100)
    assert sound.dtype == np.float32 and sound.shape[1] == 2
    assert len(sound) == pytest.approx(44_100 * (0.5 + 4 + 1), abs=2)  # two beats at 240, four at 60, and the tail
    loud = np.abs(sound).max(1)
    for onset in (0.0, 0.5, 2.5):
        place = round(onset * 44_100)
        assert loud[place : place + 4410].max() > 2 * loud[max(0, place - 4410) : place].max(initial=0)
    cluster = in_order([(0, 960, pitch, 127, 0) for pitch in range(40, 80)])
    assert np.abs(preview(Piece(cluster, 480, 960))).max() == pytest.approx(1.0, abs=1e-6)
    assert not np.abs(preview(Piece(in_order([]), 480, 480))).any()


def test_a_preview_that_cannot_be_made_says_why(monkeypatch):
    piece = busy_piece(1)
    with pytest.raises(DataError, match="minutes: a preview has at most 60"):
        preview(replace(piece, length=480 * 10_000))

    def broken(*_):
        raise RuntimeError("no such program")

    monkeypatch.setattr("datamodules.generation.writing.midi.render", broken)
    with pytest.raises(DataError, match=r"cannot be rendered \(no such program\)"):
        preview(piece)


def test_a_piece_without_notes_is_written(tmp_path):
    blank = Piece(in_order([]), 480, 1920)
    assert b"MTrk" in midi_bytes(blank)
    assert b'<rest measure="yes" />' in musicxml_bytes(blank)
    assert "z8" in abc_text(blank)
    with pytest.raises(DataError, match="no notes"):
        back(midi_bytes(blank), ".mid", tmp_path)
