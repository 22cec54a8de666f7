"""Scores in a recording's time, and their MIDI files: notes to the millisecond, beats where a sequencer counts them."""

import io

import numpy as np
import pretty_midi
import pytest

from datamodules.alignment.reading import read_score
from datamodules.alignment.score import Score, notes_of
from datamodules.alignment.warped import kept_midi, warp, write_midi


def bent(random: np.random.Generator, bars: int = 30) -> tuple[Score, Score]:
    """A score of two programs and drums, even and as somebody plays it."""
    onset = np.sort(random.uniform(0, 2 * bars, 300)).round(3)
    notes = notes_of(onset, onset + random.uniform(0.01, 3, 300), random.integers(21, 109, 300), random.integers(1, 128, 300))
    notes = notes._replace(program=random.choice([0, 48, -1], 300).astype(np.int16))
    score = Score(notes, np.arange(0, 2 * bars, 0.5), np.arange(0, 2 * bars, 2.0), "made")
    knots = np.arange(0, 2 * bars + 1.0)
    played = 1.7 + np.concatenate([[0], np.cumsum(random.uniform(0.4, 2.6, 2 * bars))])
    return score, warp(score, np.stack([knots, played], 1))


@pytest.mark.parametrize("seed", range(3))
def test_a_warped_score_is_written_to_the_millisecond(seed):
    _, score = bent(np.random.default_rng(seed))
    midi = pretty_midi.PrettyMIDI(io.BytesIO(write_midi(score.notes, score.beats, score.bars)))
    for instrument in midi.instruments:
        program = -1 if instrument.is_drum else instrument.program
        mine = score.notes.program == program
        starts = np.sort([note.start for note in instrument.notes])
        np.testing.assert_allclose(starts, np.sort(score.notes.onset[mine]), atol=1e-3)
        for one in instrument.notes:
            place = mine & (score.notes.pitch == one.pitch) & (np.abs(score.notes.onset - one.start) < 1e-3)
            assert one.velocity in score.notes.velocity[place]
    # The sequencer's own grid: a lead-in, then every beat and every bar of the score, no other.
    beats, bars = midi.get_beats(), midi.get_downbeats()
    lead = int(np.argmin(np.abs(beats - score.beats[0])))
    np.testing.assert_allclose(beats[lead : lead + len(score.beats)], score.beats, atol=1e-5)
    np.testing.assert_allclose(bars[1 : 1 + len(score.bars)], score.bars, atol=1e-5)
    assert beats[0] == 0 and lead > 0


def test_a_written_midi_file_reads_as_the_score_it_is_of(tmp_path):
    score, _ = bent(np.random.default_rng(5))
    path = kept_midi(score._replace(path="a/made.musicxml"), tmp_path)
    assert path.name.startswith("made-") and kept_midi(score._replace(path="b/made.musicxml"), tmp_path) == path
    read = read_score(path)
    np.testing.assert_allclose(read.notes.onset, score.notes.onset, atol=1e-3)
    np.testing.assert_allclose(read.beats[: len(score.beats)], score.beats, atol=1e-5)
    assert not list(tmp_path.rglob("*.part"))


def test_a_key_that_is_struck_again_is_let_go_before():
    notes = notes_of([0.0, 0.5, 0.5], [2.0, 1.0, 1.5], [60, 60, 60], [50, 60, 70])
    midi = pretty_midi.PrettyMIDI(io.BytesIO(write_midi(notes)))
    found = [(round(n.start, 3), round(n.end, 3), n.velocity) for n in midi.instruments[0].notes]
    assert found == [(0.0, 0.5, 50), (0.5, 1.5, 70)]


def test_a_pause_of_minutes_is_kept():
    beats = np.array([0.0, 1.0, 2.0, 95.0, 96.0])
    midi = pretty_midi.PrettyMIDI(io.BytesIO(write_midi(notes_of([1.0, 50.0, 95.0], [2.0, 51.0, 96.0], [60, 62, 64]), beats)))
    np.testing.assert_allclose([n.start for n in midi.instruments[0].notes], [1, 50, 95], atol=1e-3)
    assert all(np.abs(midi.get_beats() - beat).min() < 1e-5 for beat in beats[:-1])  # pretty_midi leaves out the last


def test_beats_that_do_not_rise_are_refused():
    for beats in ([0.0, 1.0, 1.0], [-0.5, 1.0]):
        with pytest.raises(ValueError, match="rise from 0 s on"):
            write_midi(notes_of([0.0], [1.0], [60]), np.array(beats))


def test_a_warp_follows_its_events_and_goes_on_as_it_ended():
    score = Score(notes_of([0, 1, 3, 5], [1, 2, 4, 6], [60, 61, 62, 63]), np.arange(6.0), np.array([0.0, 3.0]), "made")
    moved = warp(score, np.array([[1.0, 10.0], [2.0, 12.0], [4.0, 13.0]]))
    assert moved.notes.onset.tolist() == [8.0, 10.0, 12.5, 13.5] and moved.notes.offset.tolist() == [10.0, 12.0, 13.0, 14.0]
    assert moved.beats.tolist() == [8.0, 10.0, 12.0, 12.5, 13.0, 13.5] and moved.bars.tolist() == [8.0, 12.5]
    squeezed = warp(score, np.array([[1.0, 0.25], [2.0, 2.25]]))
    assert squeezed.notes.onset[0] == 0.0 and squeezed.beats.tolist() == [0.0, 0.25, 2.25, 4.25, 6.25, 8.25]
    with pytest.raises(ValueError, match="two or more events, rising"):
        warp(score, np.array([[1.0, 2.0], [2.0, 2.0]]))
