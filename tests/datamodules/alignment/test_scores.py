"""Scores read from MIDI, against another reader; metre; and what a file is told that is no score."""

from pathlib import Path

import numpy as np
import pretty_midi
import pytest

from datamodules.alignment.metre import Measure, beats_and_bars
from datamodules.alignment.reading import read_score
from datamodules.common.errors import DataError
from tests.helpers.score_layouts import attributes, musicxml, write_midi_notes


def midi_bytes(*tracks: bytes, kind: int = 0, division: int = 480) -> bytes:
    head = b"MThd" + (6).to_bytes(4, "big") + b"".join(n.to_bytes(2, "big") for n in (kind, len(tracks), division))
    return head + b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)


END = b"\x00\xff\x2f\x00"


def song(path: Path, random: np.random.Generator, signatures=((0.0, 4, 4),)) -> pretty_midi.PrettyMIDI:
    """Notes of two programs and drums with changes of tempo and metre."""
    midi = pretty_midi.PrettyMIDI(resolution=480)
    scale = [(tick, 60 / (480 * bpm)) for tick, bpm in ((0, 90), (960, 131), (2400, 57), (5760, 203))]
    midi._tick_scales = scale
    midi._update_tick_to_time(40_000)
    midi.time_signature_changes = [pretty_midi.TimeSignature(n, d, midi.tick_to_time(int(t))) for t, n, d in signatures]
    for program, drums in ((0, False), (40, False), (0, True)):
        instrument = pretty_midi.Instrument(program, drums)
        ticks, pitches = random.choice(np.arange(0, 9000, 10), 40, replace=False), random.permutation(np.arange(30, 90))
        for tick, pitch in zip(ticks, pitches, strict=False):
            start, end = midi.tick_to_time(int(tick)), midi.tick_to_time(int(tick) + 200)
            instrument.notes.append(pretty_midi.Note(int(random.integers(1, 128)), int(pitch), start, end))
        midi.instruments.append(instrument)
    midi.write(str(path))
    return pretty_midi.PrettyMIDI(str(path))


@pytest.mark.parametrize(
    "signatures", [((0, 4, 4),), ((0, 3, 4), (4320, 6, 8)), ((0, 7, 8), (1680 * 2, 2, 2), (1680 * 2 + 1920, 9, 8))]
)
def test_midi_reads_as_by_pretty_midi(tmp_path, signatures):
    wanted = song(tmp_path / "song.mid", np.random.default_rng(3), signatures)
    score = read_score(tmp_path / "song.mid")
    rows = [(n.start, n.end, n.pitch, n.velocity, -1 if i.is_drum else i.program) for i in wanted.instruments for n in i.notes]
    rows = np.array(sorted(rows, key=lambda row: (round(row[0], 6), row[2], row[3])))
    got = np.stack([np.asarray(column, float) for column in score.notes], 1)
    got = got[np.lexsort((got[:, 3], got[:, 2], got[:, 0].round(6)))]
    assert len(rows) == 120
    np.testing.assert_allclose(got, rows, atol=1e-6)
    for mine, theirs in ((score.beats, wanted.get_beats()), (score.bars, wanted.get_downbeats())):
        end = min(mine[-1], theirs[-1]) + 1e-6
        np.testing.assert_allclose(mine[mine <= end], theirs[theirs <= end], atol=1e-6)
        assert mine[-1] <= score.notes.offset.max() and len(mine) > 4


def test_running_status_and_velocity_zero_are_understood(tmp_path):
    track = b"\x00\xb0\x40\x7f" + b"\x00\x90\x3c\x40" + b"\x83\x60\x3c\x00" + b"\x00\x40\x50" + b"\x83\x60\x40\x00" + END
    (tmp_path / "a.mid").write_bytes(midi_bytes(track))
    notes = read_score(tmp_path / "a.mid").notes
    assert notes.onset.tolist() == [0.0, 0.5] and notes.offset.tolist() == [0.5, 1.0]  # the pedal is down throughout
    assert notes.pitch.tolist() == [60, 64] and notes.velocity.tolist() == [64, 80]


def test_a_score_of_one_note_has_a_beat_and_a_bar(tmp_path):
    score = read_score(write_midi_notes(tmp_path / "one.mid", [0.0]))
    assert len(score.notes.onset) == 1 and score.beats.tolist() == [0.0] and score.bars.tolist() == [0.0]


WHOLE = midi_bytes(b"\x00\x90\x3c\x40\x83\x60\x80\x3c\x00" + END)
NEVER = b"\xff\xff\xff\x7f"
SLOW = b"\x00\x90\x3c\x40" + NEVER + b"\x80\x3c\x00" + END


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("zero.mid", b"", "is not a MIDI file"),
        ("text.mid", b"these are words, and no music at all", "is not a MIDI file"),
        ("wave.midi", b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(40), "is not a MIDI file"),
        ("cut.mid", WHOLE[:-6], "does not read as MIDI"),
        ("head.mid", WHOLE[:14], "holds no notes"),
        ("silent.mid", midi_bytes(END), "holds no notes"),
        ("smpte.mid", midi_bytes(b"\x00\x90\x3c\x40\x10\x80\x3c\x00" + END, division=0xE728), "does not read as MIDI"),
        ("long.mid", midi_bytes(SLOW, division=96), "ends after 388 hours"),
        ("beats.mid", midi_bytes(b"\x00\xff\x51\x03\x00\x00\x01" + SLOW, division=2), "134217728 quarter notes"),
        ("song.wav", b"", "is not a score"),
        ("text.musicxml", b"these are words", "is not XML"),
        ("zero.xml", b"", "is not XML"),
        ("other.xml", b"<html><body/></html>", "of the kind <html>"),
        ("rest.musicxml", musicxml(attributes() + "<note><rest/><duration>36</duration></note>").encode(), "holds no notes"),
        ("zip.mxl", b"PK\x03\x04 and no more", "is not XML"),
        ("words.krn", b"no kern at all", "cannot be read as a score"),
        ("words.mei", b"no mei at all", "is not XML"),
    ],
)
def test_what_is_no_score_is_named_in_one_sentence(tmp_path, name, content, said):
    if not name.endswith((".mid", ".midi", ".wav")):
        pytest.importorskip("partitura")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_score(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_score_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.mid does not exist"):
        read_score(tmp_path / "none.mid")


def test_damage_anywhere_is_an_error_or_a_score(tmp_path):
    random = np.random.default_rng(0)
    song(tmp_path / "song.mid", random)
    raw = (tmp_path / "song.mid").read_bytes()
    errors = 0
    for _ in range(300):
        damaged = bytearray(raw)
        for place in random.integers(0, len(raw), 4):
            damaged[place] = random.integers(256)
        (tmp_path / "damaged.mid").write_bytes(damaged)
        try:
            score = read_score(tmp_path / "damaged.mid")
        except DataError:
            errors += 1
            continue
        assert np.isfinite(np.concatenate(score.notes[:2])).all() and (score.notes.offset > score.notes.onset).all()
        assert np.all(np.diff(score.beats) > 0)
    assert 50 < errors < 300


def test_measures_that_do_not_add_up_are_one_bar_where_they_can_be():
    def grid(*lengths, over=3, under=4):
        ends = np.cumsum(lengths)
        return beats_and_bars([Measure(end - length, end, over, under) for length, end in zip(lengths, ends, strict=True)])

    assert grid(1, 3, 2) == ([0, 1, 2, 3, 4, 5], [1, 4])  # a pickup, and its bar's rest at the end
    assert grid(1.5, 3) == ([0.5, 1.5, 2.5, 3.5], [1.5])
    assert grid(3, 2, 1, 3) == (list(range(9)), [0, 3, 6])  # a bar around a repeat sign
    assert grid(3, 1, 3) == (list(range(7)), [0, 4])  # a pickup in the midst
    assert grid(0.5, 3, over=6, under=8) == ([0.5, 2.0], [0.5])  # a beat is three eighths
    assert grid(3.5, 3.5, over=7, under=8) == (np.arange(0, 7, 0.5).tolist(), [0, 3.5])
    assert grid(5) == ([0, 1, 2, 3, 4], [0]) and grid(1) == ([0], [0])
