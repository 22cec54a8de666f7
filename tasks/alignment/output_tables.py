"""Output tables of an alignment: aligned recording -> rows of notes, beats and bars, and labels for an audio editor."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from datamodules.alignment.score import Origin, Score
from tasks.alignment.aligned import Aligned, PlayedEvents, bars_played, beats_played, notes_played
from tasks.alignment.remarks import SAME_S, measure_of

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

Row = dict[str, Any]


def note_name(pitch: int) -> str:
    """Name of a MIDI number: 60 is C4."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def note_rows(aligned: Aligned) -> list[Row]:
    """Rows of played notes at their sounding pitch in the score's key.

    `id` is the score's own, or the note's number in the score from 1; part, staff, voice and lyric are empty if unknown. Beats
    are counted through the score from 1, with fractions; bars from 1, with 0 before the first. `measure` is the printed number,
    `pass` counts its playings.
    """
    played, score = notes_played(aligned), aligned.score
    onset, index = score.notes.onset[played.index], played.index
    bars, beats = bar_numbers(score, onset), _fractional(score.beats, onset)
    columns = zip(index, played.time, played.confidence, onset, beats, bars, strict=True)
    return [
        {
            "onset_s": round(float(time[0]), 4),
            "offset_s": round(float(time[1]), 4),
            "pitch": int(score.notes.pitch[i]),
            "name": note_name(int(score.notes.pitch[i])),
            "velocity": int(score.notes.velocity[i]),
            "score_onset_s": round(float(score_s), 4),
            "score_beat": round(float(beat), 4),
            "bar": int(bar),
            "confidence": round(float(confidence), 4),
            "id": (score.ids[i] if score.ids else "") or str(i + 1),
            **(score.origins[i] if score.origins else Origin())._asdict(),
            **_measure(score, score_s),
        }
        for i, time, confidence, score_s, beat, bar in columns
    ]


def beat_rows(aligned: Aligned) -> list[Row]:
    """Rows of played beats: number in the score, bar and number in the bar, all from 1."""
    played = beats_played(aligned)
    bars, numbers = bar_numbers(aligned.score, aligned.score.beats), beat_numbers(aligned.score)
    return [
        {"beat": i + 1, "bar": int(bars[i]), "beat_in_bar": int(numbers[i])}
        | times
        | _measure(aligned.score, aligned.score.beats[i])
        for i, times in zip(played.index.tolist(), _times(aligned.score.beats, played), strict=True)
    ]


def bar_rows(aligned: Aligned) -> list[Row]:
    """Rows of played bars, at their first beat."""
    played = bars_played(aligned)
    rows = zip(played.index.tolist(), _times(aligned.score.bars, played), strict=True)
    return [{"bar": i + 1} | times | _measure(aligned.score, aligned.score.bars[i]) for i, times in rows]


def _measure(score: Score, score_s: float) -> Row:
    """Printed number of the measure at a time in the score, and the count of its playings; empty for MIDI and ABC."""
    number, playing = measure_of(score, score_s)
    return {"measure": number, "pass": playing}


def bar_numbers(score: Score, score_s: np.ndarray) -> np.ndarray:
    """Bar of each time in the score, from 1; 0 before the first bar."""
    return np.searchsorted(score.bars, np.asarray(score_s) + SAME_S, side="right")


def beat_numbers(score: Score) -> np.ndarray:
    """Number of each beat in its bar, from 1; a pickup is numbered as the end of a bar as long as the first."""
    bars = bar_numbers(score, score.beats)
    position = np.arange(len(bars)) - np.searchsorted(bars, bars)
    pickup, first = int((bars == 0).sum()), int((bars == 1).sum())
    return position + 1 + np.where(bars == 0, max(0, first - pickup), 0)


def labels(aligned: Aligned) -> str:
    """Label track for Audacity (start, end, label, separated by tabs): bars as regions, other beats as points `bar.beat`."""
    bars = bar_rows(aligned)
    starts = [bar["recording_s"] for bar in bars]
    stops = [*starts[1:], max(starts[-1], aligned.span[1])] if bars else []
    lines = [(start, stop, f"bar {bar['bar']}") for start, stop, bar in zip(starts, stops, bars, strict=True)]
    lines += [
        (beat["recording_s"], beat["recording_s"], f"{beat['bar']}.{beat['beat_in_bar']}")
        for beat in beat_rows(aligned)
        if beat["beat_in_bar"] != 1 or not beat["bar"]
    ]
    return "".join(f"{start:.6f}\t{stop:.6f}\t{label}\n" for start, stop, label in sorted(lines))


def _times(score_s: np.ndarray, played: PlayedEvents) -> Iterable[Row]:
    for i, (time,), confidence in zip(played.index, played.time, played.confidence, strict=True):
        yield {
            "score_s": round(float(score_s[i]), 4),
            "recording_s": round(float(time), 4),
            "confidence": round(float(confidence), 4),
        }


def _fractional(beats: np.ndarray, score_s: np.ndarray) -> np.ndarray:
    """Fractional beat numbers from 1 at times of the score, extrapolated linearly at both ends."""
    if len(beats) < 2:
        return np.full(len(score_s), np.nan)
    index = np.clip(np.searchsorted(beats, score_s, side="right") - 1, 0, len(beats) - 2)
    return 1 + index + (score_s - beats[index]) / (beats[index + 1] - beats[index])
