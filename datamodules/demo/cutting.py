"""Excerpts of a score, transposed and with a new tempo, and transposition into the range of an instrument."""

from typing import NamedTuple

import numpy as np

from datamodules.demo import accompany
from datamodules.demo.accompany import Chord, Grid, Tone
from datamodules.demo.music import DemoPiece


class ScoreExcerpt(NamedTuple):
    """Excerpt of a piece: parts, and grid of its accompaniment."""

    parts: list[list[Tone]]
    grid: Grid


def cut(piece: DemoPiece, quarter: float, start: float, transpose: int, centre: int, seconds: float) -> ScoreExcerpt:
    """Excerpt of `seconds` from `start` (share of the bars) on, looped from the first bar.

    quarter: length of a quarter note in s; transpose: semitones, plus the octaves that bring the melody closest to `centre`.
    The time signature must be in accompany.BEATS.
    """
    bars = int(piece.length / piece.bar + 1e-6)
    loop, first = bars * piece.bar, start * bars * piece.bar
    melody = np.mean([note.pitch for note in piece.parts[0]])
    shift = transpose + 12 * round((centre - transpose - melody) / 12)

    def looped(items):
        for repeat in range(2 + int(seconds / quarter / loop)):
            for onset, length, what in items:
                time = (onset + repeat * loop - first) * quarter
                if onset >= 0 and onset + length <= loop + 1e-6 and -length * quarter < time < seconds:
                    yield time, length * quarter, what

    parts = [[Tone(onset, length, pitch + shift) for onset, length, pitch in looped(part)] for part in piece.parts]
    chords = [
        Chord(onset, length, tuple((pitch + shift) % 12 for pitch in pitches))
        for onset, length, pitches in looped(accompany.harmonise(piece))
    ]
    downbeats = [time for time, _, _ in looped([(bar * piece.bar, piece.bar, None) for bar in range(bars)])]
    beats = accompany.BEATS[piece.beats, piece.beat_type]
    return ScoreExcerpt(parts, Grid(downbeats, piece.bar / beats * quarter, beats, chords))


def within(part: list[Tone], low: int, high: int) -> list[Tone]:
    """Transpose a line by octaves into the range of an instrument; remaining notes outside move separately."""
    if not part:
        return []
    middle = np.mean([tone.pitch for tone in part])
    octaves = 0
    while middle + 12 * octaves > high - 6:
        octaves -= 1
    while middle + 12 * octaves < low + 6:
        octaves += 1
    return [tone._replace(pitch=into(tone.pitch + 12 * octaves, low, high)) for tone in part]


def into(pitch: int, low: int, high: int) -> int:
    """Fold a pitch by octaves into low .. high (at least an octave)."""
    return pitch + 12 * (-(-max(0, low - pitch) // 12)) - 12 * (-(-max(0, pitch - high) // 12))


def bass_line(excerpt: ScoreExcerpt, choice: int) -> list[Tone]:
    """Lowest part of a piece with several parts, else a bass figure of the chords."""
    if len(excerpt.parts) > 1:
        low = accompany.BASS_LOW
        return [tone._replace(pitch=into(tone.pitch, low, low + 19)) for tone in excerpt.parts[-1]]
    return accompany.bass(excerpt.grid, choice)
