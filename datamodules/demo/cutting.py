"""Excerpts of a score in any key and tempo, and lines moved into the range of an instrument."""

from typing import NamedTuple

import numpy as np

from datamodules.demo import accompany
from datamodules.demo.accompany import Chord, Grid, Tone
from datamodules.demo.music import DemoPiece


class ScoreExcerpt(NamedTuple):
    """Some seconds of a piece: its parts and what its accompaniment goes by."""

    parts: list[list[Tone]]
    grid: Grid


def cut(piece: DemoPiece, quarter: float, start: float, transpose: int, centre: int, seconds: float) -> ScoreExcerpt:
    """The piece from `start` (a share of its bars) on, repeated from its first bar until `seconds` are full.

    quarter: a quarter note in s; transpose: semitones, and octaves on top that bring the melody nearest to `centre`.
    The piece's metre must be one of accompany.BEATS.
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
    """A line moved by whole octaves into an instrument's range; what still sticks out moves alone."""
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
    """The pitch, moved by octaves to lie between low and high (at least an octave apart)."""
    return pitch + 12 * (-(-max(0, low - pitch) // 12)) - 12 * (-(-max(0, pitch - high) // 12))


def bass_line(excerpt: ScoreExcerpt, choice: int) -> list[Tone]:
    """The piece's own bass if it is written in parts, else a figure on the chords' roots."""
    if len(excerpt.parts) > 1:
        low = accompany.BASS_LOW
        return [tone._replace(pitch=into(tone.pitch, low, low + 19)) for tone in excerpt.parts[-1]]
    return accompany.bass(excerpt.grid, choice)
