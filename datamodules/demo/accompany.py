"""Rule-based accompaniment: melody -> chords; chords -> notes of chord instruments, bass and drums."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from datamodules.demo.music import DemoPiece

# Beats per bar by time signature: eighths in 2/4, dotted quarters in 6/8. Other metres are not arranged.
BEATS = {(4, 4): 4, (2, 4): 4, (3, 4): 3, (6, 8): 2}

# Diatonic triads as semitones above the tonic, the most likely first, and their weights.
TRIADS = {
    "major": ((0, 4, 7), (5, 9, 0), (7, 11, 2), (9, 0, 4), (2, 5, 9)),
    "minor": ((0, 3, 7), (5, 8, 0), (7, 11, 2), (8, 0, 3), (10, 2, 5), (3, 7, 10)),
}
PRIOR = np.array((1.15, 1.0, 1.1, 0.8, 0.8, 0.8))


class Chord(NamedTuple):
    """Start and length (quarter notes or s), pitch classes of root, third and fifth."""

    start: float
    length: float
    pitches: tuple[int, int, int]


class Tone(NamedTuple):
    """Note: start and length in s, MIDI pitch, stress as a factor of the velocity."""

    start: float
    length: float
    pitch: int
    stress: float = 1.0


class Grid(NamedTuple):
    """Metrical grid of an accompaniment: bar starts, length of a beat and chords in s, beats per bar."""

    bars: list[float]
    beat: float
    beats: int
    chords: list[Chord]


def harmonise(piece: DemoPiece) -> list[Chord]:
    """Best matching triad of each bar (half a bar in 4/4), in quarter notes."""
    span = piece.bar / 2 if piece.beats == 4 else piece.bar
    triads = TRIADS[piece.mode]
    table = np.zeros((len(triads), 12))
    for row, triad in enumerate(triads):
        table[row, [(pitch + piece.tonic) % 12 for pitch in triad]] = PRIOR[row]
    weights = np.zeros((int(np.ceil(piece.length / span - 1e-6)), 12))
    for note in (note for part in piece.parts for note in part if note.onset >= 0):
        first, last = note.onset / span, (note.onset + note.duration) / span
        for index in range(int(first), min(len(weights), int(np.ceil(last - 1e-9)))):
            # Notes on the first beat of a chord are rarely passing notes.
            weight = 1.5 if first <= index + 1e-6 else 1.0
            weights[index, note.pitch % 12] += weight * (min(last, index + 1) - max(first, index))
    return [
        Chord(index * span, span, tuple((pitch + piece.tonic) % 12 for pitch in triads[row]))
        for index, row in enumerate((weights @ table.T).argmax(1))
    ]


# By beats per bar: (beat, length in beats, voices): r root, f fifth, a triad, u all voices above the root, 1 to 3 one of them.
COMPING = {
    "block": {4: ((0, 2, "a"), (2, 2, "a")), 3: ((0, 3, "a"),), 2: ((0, 1, "a"), (1, 1, "a"))},
    "pad": {4: ((0, 4, "a"),), 3: ((0, 3, "a"),), 2: ((0, 2, "a"),)},
    "offbeat": {
        4: ((0, 1, "r"), (1, 1, "u"), (2, 1, "f"), (3, 1, "u")),
        3: ((0, 1, "r"), (1, 1, "u"), (2, 1, "u")),
        2: ((0, 2 / 3, "r"), (2 / 3, 1 / 3, "u"), (1, 2 / 3, "f"), (5 / 3, 1 / 3, "u")),
    },
    "arpeggio": {
        4: tuple((k / 2, 1 / 2, "r232"[k % 4]) for k in range(8)),
        3: tuple((k / 2, 1 / 2, "r12321"[k]) for k in range(6)),
        2: tuple((k / 3, 1 / 3, "r23"[k % 3]) for k in range(6)),
    },
}
BASS_LINES = {
    4: (
        ((0, 2, "r"), (2, 2, "r")),
        ((0, 1, "r"), (1, 1, "r"), (2, 1, "f"), (3, 1, "r")),
        tuple((k / 2, 1 / 2, "r") for k in range(8)),
    ),
    3: (((0, 3, "r"),), ((0, 2, "r"), (2, 1, "f"))),
    2: (((0, 1, "r"), (1, 1, "f")), ((0, 2 / 3, "r"), (2 / 3, 1 / 3, "r"), (1, 2 / 3, "f"), (5 / 3, 1 / 3, "r"))),
}
KICK, STICK, SNARE, CLAP, HAT, OPEN, RIDE = 36, 37, 38, 39, 42, 46, 51
DRUMMING = {
    "backbeat": {
        4: ((0, KICK), (2, KICK), (5 / 2, KICK), (1, SNARE), (3, SNARE), *((k / 2, HAT) for k in range(8))),
        3: ((0, KICK), (1, SNARE), (2, SNARE), *((k / 2, HAT) for k in range(6))),
        2: ((0, KICK), (1, SNARE), *((k / 3, HAT) for k in range(6))),
    },
    "light": {
        4: ((0, KICK), (1, STICK), (3, STICK), *((k, RIDE) for k in range(4))),
        3: ((0, KICK), (0, RIDE), (1, STICK), (2, STICK)),
        2: ((0, KICK), (2 / 3, STICK), (1, RIDE), (5 / 3, STICK)),
    },
    "four on the floor": {
        4: (*((k, KICK) for k in range(4)), *((k + 1 / 2, OPEN) for k in range(4)), (1, CLAP), (3, CLAP)),
        3: (*((k, KICK) for k in range(3)), *((k + 1 / 2, OPEN) for k in range(3))),
        2: (*((k, KICK) for k in range(2)), *((k + 2 / 3, OPEN) for k in range(2))),
    },
}
BASS_LOW = 28
# Stress of the first beat of a bar, of other beats, and between beats.
STRESS = (1.2, 0.85, 0.75)


def comping(grid: Grid, style: str, low: int, single: bool) -> list[Tone]:
    """Chord accompaniment above `low`; `single` for monophonic instruments."""
    line = []
    for start, length, stress, voice, chord in _on(grid, COMPING[style][grid.beats]):
        root = low + (chord[0] - low) % 12
        voices = [root, *(root + (pitch - chord[0]) % 12 for pitch in chord[1:]), root + 12]
        chosen = {"r": voices[:1], "f": voices[2:3], "a": voices[:3], "u": voices[1:]}.get(voice)
        chosen = chosen or [voices[int(voice)]]
        line += [Tone(start, length, pitch, stress) for pitch in (chosen[-1:] if single else chosen)]
    return line


def second_voice(grid: Grid, low: int) -> list[Tone]:
    """One note per chord in the octave above `low`, alternately third and root."""
    return [
        Tone(chord.start, chord.length, low + (chord.pitches[1 - index % 2] - low) % 12)
        for index, chord in enumerate(grid.chords)
    ]


def bass(grid: Grid, choice: int) -> list[Tone]:
    """Bass line; `choice`: index of a figure of the metre."""
    figures = BASS_LINES[grid.beats]
    return [
        Tone(start, length, BASS_LOW + (chord[0 if voice == "r" else 2] - BASS_LOW) % 12, stress)
        for start, length, stress, voice, chord in _on(grid, figures[choice % len(figures)])
    ]


def drums(grid: Grid, style: str) -> list[Tone]:
    """Drum pattern: pitches are General MIDI drums, lengths are arbitrary."""
    pattern = DRUMMING[style][grid.beats]
    return [Tone(bar + beat * grid.beat, 0.1, drum, _stress(beat)) for bar in grid.bars for beat, drum in pattern]


def _stress(beat: float) -> float:
    return STRESS[0 if beat == 0 else 1 if beat == int(beat) else 2]


def _on(grid: Grid, pattern) -> Iterator[tuple[float, float, float, str, tuple[int, int, int]]]:
    """Pattern repeated in every bar: start and length in s, stress, voices, pitch classes of the chord."""
    for bar in grid.bars:
        for beat, length, voice in pattern:
            start = bar + beat * grid.beat
            for chord in grid.chords:
                if chord.start - 1e-6 <= start < chord.start + chord.length - 1e-6:
                    yield start, length * grid.beat, _stress(beat), voice, chord.pitches
                    break
