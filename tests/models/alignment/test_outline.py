"""Outlines of scores against those of their synthesis, transposition, averaging, tuning."""

import numpy as np
import pytest
import torch

from datamodules.alignment.score import notes_of
from datamodules.alignment.sounds import synthesize
from models.alignment.outline import RELEASE_S, TIMBRES, Outline, peaks, pooled, tuning_cents, unit
from tests.helpers.random_scores import random_score

NOTES = random_score(4).notes
OUTLINE = Outline()


@pytest.fixture(scope="module")
def recordings():
    """Audio of the notes by General MIDI program."""
    return {program: synthesize(NOTES, OUTLINE.rate, program=program) for program in (0, 48)}


def likeness(one, other):
    """Mean cosine similarity of frames with the same number."""
    count = min(len(one), len(other))
    return float((unit(one[:count]) * unit(other[:count])).sum(1).mean())


@pytest.mark.parametrize(("program", "timbre", "least"), [(0, "struck", 0.8), (0, "soft", 0.8), (48, "sustained", 0.68)])
def test_outline_of_notes_resembles_that_of_their_synthesis(program, timbre, least, recordings):
    recording, score = OUTLINE.of_audio(recordings[program]), OUTLINE.of_notes(NOTES, 1.0, timbre)
    assert likeness(recording, score) > least
    for shifted in (score[8:], OUTLINE.transposed(score, 2), OUTLINE.of_notes(NOTES, 1.2, timbre)):
        assert likeness(recording, shifted) < least - 0.15


def test_a_frame_is_four_constant_q_frames(recordings):
    audio = recordings[0]
    outline = OUTLINE.of_audio(audio)
    assert outline.dtype == np.float32 and outline.shape[1] == OUTLINE.front.bins
    assert len(outline) == pytest.approx(len(audio) / OUTLINE.rate / OUTLINE.frame_s, abs=1)
    assert OUTLINE.of_audio(audio[:100]).shape == (1, OUTLINE.front.bins)  # shorter than a frame


@pytest.mark.parametrize(("stretch", "pool"), [(1.0, 1), (2.0, 1), (0.5, 3)])
def test_duration_of_a_score(stretch, pool):
    seconds = stretch * NOTES.offset.max() + RELEASE_S
    assert len(OUTLINE.of_notes(NOTES, stretch, "struck", pool)) == np.ceil(seconds / (pool * OUTLINE.frame_s))


def test_partials_of_a_note_are_peaks():
    note = notes_of([0.0], [1.0], [57])  # A3, 220 Hz
    frame = OUTLINE.of_notes(note, 1.0, "struck")[2]
    bins = [int(np.abs(OUTLINE.front.hertz - 220.0 * partial).argmin()) for partial in (1, 2, 3, 4)]
    assert frame.argmax() == bins[0] and (np.diff(frame[bins]) < 0).all() and (frame[bins] > 0.3 * frame.max()).all()
    assert not frame[: bins[0] - 4].any()


def test_drums_and_notes_without_duration():
    notes = notes_of([0.0, 0.5, 1.0], [0.0, 0.5, 1.5], [60, 62, 38], program=[0, 0, -1])
    outline = OUTLINE.of_notes(notes, 1.0, "struck")
    assert outline[0].any() and outline[int(0.5 / OUTLINE.frame_s)].any()  # a frame each
    assert not outline[int(1.1 / OUTLINE.frame_s) :].any()


def test_timbres_decay():
    notes = notes_of([0.0], [4.0], [60])
    raw = {name: OUTLINE._envelopes(notes, 1.0, timbre, 1)[60] for name, timbre in TIMBRES.items()}
    assert (np.diff(raw["struck"][:40]) < 0).all() and (raw["sustained"][:40] == 1).all()


@pytest.mark.parametrize("semitones", [1, 12, -1, -7])
def test_transposed_is_inverted_by_the_opposite(semitones):
    outline = np.random.default_rng(0).random((5, OUTLINE.front.bins)).astype(np.float32)
    bins = abs(semitones) * OUTLINE.per_semitone
    kept = slice(bins, None) if semitones > 0 else slice(None, -bins)
    back = OUTLINE.transposed(OUTLINE.transposed(outline, semitones), -semitones)
    np.testing.assert_array_equal(back[:, kept], outline[:, kept])
    assert (back != outline).any(1).all()  # bins that left the range are lost
    np.testing.assert_array_equal(OUTLINE.transposed(outline, 0), outline)


def test_transposed_notes_give_the_transposed_outline():
    higher = OUTLINE.of_notes(NOTES._replace(pitch=NOTES.pitch + 5), 1.0, "struck")
    assert likeness(OUTLINE.transposed(higher, 5), OUTLINE.of_notes(NOTES, 1.0, "struck")) > 0.9


@pytest.mark.parametrize(("frames", "count"), [(10, 1), (10, 2), (10, 4), (3, 8)])
def test_pooled_frames_are_means(frames, count):
    outline = np.random.default_rng(1).random((frames, 6)).astype(np.float32)
    expected = [outline[start : start + count].mean(0) for start in range(0, frames, count)]
    np.testing.assert_allclose(pooled(outline, count), expected, rtol=1e-6)


def test_unit_frames():
    outline = np.random.default_rng(2).random((4, 6))
    outline[2] = 0
    np.testing.assert_allclose(np.linalg.norm(unit(outline), axis=1), [1, 1, 0, 1])


def test_a_flat_spectrum_has_no_peaks():
    features = torch.full((48, 3), 2.0)
    features[20, 1] = 5.0
    excess = peaks(features)
    assert excess.shape == (3, 48) and excess[1].argmax() == 20 and excess.count_nonzero() == 1


@pytest.mark.parametrize("cents", [-30.0, 40.0])
def test_tuning(cents):
    audio = synthesize(random_score(2).notes, OUTLINE.rate, cents=cents)
    assert tuning_cents(audio, OUTLINE.rate) == pytest.approx(cents, abs=8.0)


def test_tuning_of_silence_and_of_nothing():
    assert tuning_cents(np.zeros(OUTLINE.rate, np.float32), OUTLINE.rate) == 0.0
    with pytest.raises(ValueError, match="cannot estimate the tuning of an empty recording"):
        tuning_cents(np.zeros(0, np.float32), OUTLINE.rate)
