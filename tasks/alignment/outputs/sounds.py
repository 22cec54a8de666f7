"""An alignment to be heard: the score beside the recording in stereo, and a click on every beat."""

import numpy as np

from datamodules.alignment.score import Notes, notes_of
from datamodules.alignment.sounds import EMBEDDED, synthesize
from tasks.alignment.aligned import Aligned, beats_played, notes_played
from tasks.alignment.outputs.tables import beat_numbers

CLICK_S, DECAY_S = 0.05, 0.012
BEAT_HZ, DOWNBEAT_HZ = 1500.0, 2500.0
RECORDING_PEAK, CLICK_PEAK = 0.55, 0.4
"""Together below full scale, whatever the recording's own level."""
CHECK_PEAK = 0.95


def warped(aligned: Aligned) -> Notes:
    """The score's notes at the times at which the recording plays them, at their written pitches."""
    played, notes = notes_played(aligned), aligned.score.notes
    columns = (column[played.index] for column in (notes.pitch, notes.velocity, notes.program))
    return notes_of(played.time[:, 0], played.time[:, 1], *columns)


def check(aligned: Aligned, font: str = EMBEDDED) -> np.ndarray:
    """The recording left, the score in its time, key and tuning right (samples, 2), equally loud, as long as the recording.

    font: SoundFont file. Raises DataError where the score cannot be rendered.
    """
    notes, samples = warped(aligned), len(aligned.audio)
    made = np.zeros(samples, np.float32)
    if len(notes.pitch):
        moved = np.where(notes.program < 0, notes.pitch, np.clip(notes.pitch + aligned.transposition, 0, 127))
        heard = synthesize(notes._replace(pitch=moved), aligned.sample_rate, font, aligned.tuning_cents)[:samples]
        made[: len(heard)] = heard
    loud, made_loud = _loudness(aligned.audio), _loudness(made)
    sides = np.stack([aligned.audio, made * (loud / made_loud if loud and made_loud else 1.0)], 1)
    return (sides * (CHECK_PEAK / (np.abs(sides).max(initial=0.0) or 1.0))).astype(np.float32)


def clicks(aligned: Aligned) -> np.ndarray:
    """The recording (samples,) with a click on every beat that it plays, a higher one on the first of each bar."""
    played, numbers, rate = beats_played(aligned), beat_numbers(aligned.score), aligned.sample_rate
    clicked = np.zeros(len(aligned.audio), np.float32)
    high, low = _click(DOWNBEAT_HZ, rate), _click(BEAT_HZ, rate)
    for time, i in zip(played.time[:, 0], played.index, strict=True):
        start = round(float(time) * rate)
        if 0 <= start < len(clicked):
            room = clicked[start : start + len(low)]
            room[:] = (high if numbers[i] == 1 else low)[: len(room)]
    peak = float(np.abs(aligned.audio).max(initial=0.0)) or 1.0
    return aligned.audio * np.float32(RECORDING_PEAK / peak) + clicked


def _click(hertz: float, rate: int) -> np.ndarray:
    """A tone that is there at once and dies away."""
    time = np.arange(round(CLICK_S * rate)) / rate
    return (CLICK_PEAK * np.cos(2 * np.pi * hertz * time) * np.exp(-time / DECAY_S)).astype(np.float32)


def _loudness(audio: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64)))) if len(audio) else 0.0
