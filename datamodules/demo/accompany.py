"""Rule-made accompaniment: melody -> chords; chords -> notes of chord players, bass and drums."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from datamodules.demo.music import DemoPiece

# Felt beats in a bar by metre: 2/4 tunes count in eighths, 6/8 in dotted quarters. Other metres are not arranged.
BEATS = {(4, 4): 4, (2, 4): 4, (3, 4): 3, (6, 8): 2}

# Diatonic triads above the tonic, the likelier ones first, and how much a fit of each counts.
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
    """One note of a line: start and length in s, MIDI pitch, stress as a factor of the velocity."""

    start: float
    length: float
    pitch: int
    stress: float = 1.0


class Grid(NamedTuple):
    """Where the accompaniment may play: bar starts and one beat in s, chords in s, beats in a bar."""

    bars: list[float]
    beat: float
    beats: int
    chords: list[Chord]


def harmonise(piece: DemoPiece) -> list[Chord]:
    """One chord a bar (half a bar of 4/4) in quarter notes: the one that holds most of what sounds there."""
    span = piece.bar / 2 if piece.beats == 4 else piece.bar
    triads = TRIADS[piece.mode]
    table = np.zeros((len(triads), 12))
    for row, triad in enumerate(triads):
        table[row, [(pitch + piece.tonic) % 12 for pitch in triad]] = PRIOR[row]
    weights = np.zeros((int(np.ceil(piece.length / span - 1e-6)), 12))
    for note in (note for part in piece.parts for note in part if note.onset >= 0):
        first, last = note.onset / span, (note.onset + note.duration) / span
        for index in range(int(first), min(len(weights), int(np.ceil(last - 1e-9)))):
            # What sounds on a chord's first beat decides more than what passes by.
            weight = 1.5 if first <= index + 1e-6 else 1.0
            weights[index, note.pitch % 12] += weight * (min(last, index + 1) - max(first, index))
    return [
        Chord(index * span, span, tuple((pitch + piece.tonic) % 12 for pitch in triads[row]))
        for index, row in enumerate((weights @ table.T).argmax(1))
    ]


# By beats in a bar: (beat, length in beats, what) with r root, f fifth, a the triad, u what lies above the root,
# 1 to 3 single voices above it.
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
# First beat of a bar, other beats, between them: without it a waltz is but a row of chords.
STRESS = (1.2, 0.85, 0.75)


def comping(grid: Grid, style: str, low: int, single: bool) -> list[Tone]:
    """A chord player's line from `low` on; `single` for instruments of one voice."""
    line = []
    for start, length, stress, what, chord in _on(grid, COMPING[style][grid.beats]):
        root = low + (chord[0] - low) % 12
        voices = [root, *(root + (pitch - chord[0]) % 12 for pitch in chord[1:]), root + 12]
        chosen = {"r": voices[:1], "f": voices[2:3], "a": voices[:3], "u": voices[1:]}.get(what)
        chosen = chosen or [voices[int(what)]]
        line += [Tone(start, length, pitch, stress) for pitch in (chosen[-1:] if single else chosen)]
    return line


def second_voice(grid: Grid, low: int) -> list[Tone]:
    """One long note a chord, third and root in turn, between `low` and the octave above it."""
    return [
        Tone(chord.start, chord.length, low + (chord.pitches[1 - index % 2] - low) % 12)
        for index, chord in enumerate(grid.chords)
    ]


def bass(grid: Grid, choice: int) -> list[Tone]:
    """A bass player's line; `choice` picks one of the figures of the metre."""
    figures = BASS_LINES[grid.beats]
    return [
        Tone(start, length, BASS_LOW + (chord[0 if what == "r" else 2] - BASS_LOW) % 12, stress)
        for start, length, stress, what, chord in _on(grid, figures[choice % len(figures)])
    ]


def drums(grid: Grid, style: str) -> list[Tone]:
    """A drummer's line: pitches are General MIDI drums, lengths mean nothing."""
    pattern = DRUMMING[style][grid.beats]
    return [Tone(bar + beat * grid.beat, 0.1, drum, _stress(beat)) for bar in grid.bars for beat, drum in pattern]


def _stress(beat: float) -> float:
    return STRESS[0 if beat == 0 else 1 if beat == int(beat) else 2]


def _on(grid: Grid, pattern) -> Iterator[tuple[float, float, float, str, tuple[int, int, int]]]:
    """A bar's pattern in every bar: start and length in s, stress, what, and the chord that sounds then."""
    for bar in grid.bars:
        for beat, length, what in pattern:
            start = bar + beat * grid.beat
            for chord in grid.chords:
                if chord.start - 1e-6 <= start < chord.start + chord.length - 1e-6:
                    yield start, length * grid.beat, _stress(beat), what, chord.pitches
                    break
