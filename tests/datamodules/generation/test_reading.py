"""MIDI files as pieces, and what other readers find in them; real collections are read whole."""

import os
from pathlib import Path

import numpy as np
import pytest

from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, in_order
from datamodules.generation.reading import read_piece, read_pieces
from datamodules.generation.voices import monophonic, part
from datamodules.generation.writing.midi import midi_bytes
from tests.helpers.music_files import METRE, midi, played, written


def test_one_note_is_a_piece(tmp_path):
    piece = read_piece(written(tmp_path, "one.midi", midi(played((60, 96)))))
    assert piece.notes.tolist() == [[0, 96, 60, 80, 0]]
    assert (piece.ticks, piece.length, piece.name, piece.voices) == (480, 96, "one", 1)
    assert (piece.tonic, piece.mode, piece.metres.tolist(), piece.tempi.tolist()) == (None, None, [[0, 4, 4]], [[0, 500_000]])


def test_an_irregular_metre_and_the_last_of_several_tempi_are_kept(tmp_path):
    frame = METRE + b"\7\3\x18\x08" + b"\0\xff\x51\3\x07\xa1\x20\0\xff\x51\3\x03\xd0\x90" + b"\0\xff\x59\2\xfd\1"
    piece = read_piece(written(tmp_path, "seven.mid", midi(frame, played((60, 96)), ticks=96)))
    assert piece.metres.tolist() == [[0, 7, 8]]
    assert piece.bar == 336
    assert piece.tempi.tolist() == [[0, 250_000]]
    assert (piece.tonic, piece.mode) == (0, "minor")


@pytest.mark.parametrize(("first", "at", "pickup"), [(b"\1\2", 96, 96), (b"\3\3", 0x81_10, 144), (b"\4\2", 0x83_00, 0)])
def test_a_short_first_bar_is_the_pickup(first, at, pickup, tmp_path):
    later = at.to_bytes(2, "big") if at > 127 else bytes((at,))
    frame = METRE + first + b"\x18\x08" + later + METRE[1:] + b"\4\2\x18\x08"
    piece = read_piece(written(tmp_path, "up.mid", midi(frame, played(*[(60, 96)] * 9), ticks=96)))
    assert piece.pickup == pickup
    assert piece.metres.tolist() == [[0, 4, 4]] if pickup else [[0, 4, 4], [384, 4, 4]]


def test_formats_differ_in_what_a_track_is(tmp_path):
    low, high, drums = played((50, 96)), played((70, 96), channel=1), played((36, 96), channel=9)
    for kind, tracks in ((0, (low + high + drums,)), (1, (low, high, drums))):
        piece = read_piece(written(tmp_path, "a.mid", midi(*tracks, kind=kind)))
        assert [piece.voice(number)[0, PITCH] for number in range(2)] == [70, 50]  # from high to low
        assert piece.drums[:, 2].tolist() == [36]
    pieces = read_pieces(written(tmp_path, "a.mid", midi(low, drums, high, kind=2)))
    assert [(piece.name, piece.notes[0, PITCH]) for piece in pieces] == [("a-1", 50), ("a-3", 70)]


def test_notes_are_those_of_pretty_midi(tmp_path):
    pretty_midi = pytest.importorskip("pretty_midi")
    random = np.random.default_rng(1)
    file, expected = pretty_midi.PrettyMIDI(resolution=960, initial_tempo=90), []
    for program in (0, 40):
        line = pretty_midi.Instrument(program)
        for at in range(30):
            start, end, pitch, velocity = at / 4, at / 4 + 0.25, int(random.integers(40, 80)), int(random.integers(1, 128))
            line.notes.append(pretty_midi.Note(velocity, pitch, start, end))
            ticks = file.time_to_tick(start), file.time_to_tick(end)
            expected.append((ticks[0], ticks[1] - ticks[0], pitch, velocity))
        file.instruments.append(line)
    file.write(str(tmp_path / "peer.mid"))
    piece = read_piece(tmp_path / "peer.mid")
    assert sorted(map(tuple, piece.notes[:, :VOICE].tolist())) == sorted(expected)
    assert (piece.ticks, sorted(piece.programs)) == (960, [0, 40])


def test_a_lone_track_is_parted_by_pitch(tmp_path):
    chords = b"\0\x90\x3c\x50\0\x90\x43\x50\x60\x90\x48\x50\x60\x80\x3c\0\0\x80\x43\0\0\x80\x48\0"
    piece = read_piece(written(tmp_path, "lone.mid", midi(chords)))
    # C4 and G4 together, then C5 above both while they are held: it is in the first voice that is free.
    assert piece.notes[:, [ONSET, PITCH, VOICE]].tolist() == [[0, 67, 0], [0, 60, 1], [96, 72, 2]]
    random = np.random.default_rng(2)
    rows = [(int(random.integers(200)), int(random.integers(1, 40)), int(random.integers(30, 90)), 80, 0) for _ in range(150)]
    parted = part(np.array(rows))
    assert sorted(parted[:, :VOICE].tolist()) == sorted([list(row[:VOICE]) for row in rows])
    for voice in range(parted[:, VOICE].max() + 1):
        one = parted[parted[:, VOICE] == voice]
        assert (one[1:, ONSET] >= one[:-1, ONSET] + one[:-1, DURATION]).all()


def test_a_melody_played_legato_is_one_voice(tmp_path):
    legato = b"\0\x90\x3c\x50\x60\x90\x40\x50\x04\x80\x3c\0\x5c\x90\x3e\x50\x04\x80\x40\0\x60\x80\x3e\0"
    piece = read_piece(written(tmp_path, "legato.mid", midi(legato, ticks=96)))
    assert piece.voices == 1
    assert piece.notes[:, DURATION].tolist() == [100, 100, 100]
    assert monophonic(piece.notes)
    assert not monophonic(in_order([*piece.notes, [96, 50, 40, 80, 0]]), slack=4), "a chord is no line"
    assert not monophonic(in_order([*piece.notes, [0, 250, 40, 80, 0]]), slack=4), "nor is a note that outlasts the next two"


REAL = Path(os.environ.get("QUINTET_DATA", ""), "generation")


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="QUINTET_DATA names no folder with generation/")
def test_nottingham_and_pop909_are_read(tmp_path):
    tunes = [piece for path in sorted((REAL / "nottingham_abc").glob("*.abc")) for piece in read_pieces(path)]
    assert len(tunes) == 1034
    assert sum(len(piece.chords) > 0 for piece in tunes) > 1000
    for path in sorted((REAL / "pop909").glob("*.mid"))[:20]:
        song = read_piece(path)
        assert song.voices == 3
        again = read_piece(written(tmp_path, path.name, midi_bytes(song)))
        assert np.array_equal(again.tempi, song.tempi)
        assert len(again.notes) == len(song.notes)
