"""Note values: durations in ticks -> tied note values; layers of chords; spelling of pitches."""

from bisect import bisect_right
from fractions import Fraction
from typing import NamedTuple

from numpy.typing import NDArray

from datamodules.generation.grid import bar_lines
from datamodules.generation.harmony import fifths_of
from datamodules.generation.piece import Piece

KINDS = {
    "breve": Fraction(8),
    "whole": Fraction(4),
    "half": Fraction(2),
    "quarter": Fraction(1),
    "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4),
    "32nd": Fraction(1, 8),
    "64th": Fraction(1, 16),
    "128th": Fraction(1, 32),
}
"""Note value -> quarter notes."""
TUPLETS = ((3, 2), (5, 4), (7, 4))  # so many in the time of so many
LONGEST_IN_TUPLET = 2  # quarter notes


class Value(NamedTuple):
    """One written note or rest."""

    ticks: int
    kind: str  # a key of KINDS
    dots: int = 0
    tuplet: tuple[int, int] | None = None  # 3 in the time of 2, ...

    @property
    def flags(self) -> int:
        """Number of flags or beams."""
        return max(0, list(KINDS).index(self.kind) - 3)


class Values:
    """Available note values at a number of ticks per quarter note."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.families = [_family(ticks, tuplet) for tuplet in (None, *TUPLETS)]
        self.single: dict[int, Value] = {}
        for family in reversed(self.families):
            self.single |= family

    def split(self, start: int, duration: int, beat: int) -> list[Value]:
        """Split a duration, beginning `start` ticks into the bar, into tied note values: one value if possible.

        Else the note is cut at beats, and inside a beat from long to short. A remainder without a value is one note of its
        exact ticks that looks like the nearest value.
        """
        if duration in self.single:
            return [self.single[duration]]
        to_beat = beat - start % beat
        if to_beat < duration and start % beat:
            return self.split(start, to_beat, beat) + self.split(start + to_beat, duration - to_beat, beat)
        whole = duration - duration % beat
        if 0 < whole < duration:
            return self.split(start, whole, beat) + self.split(start + whole, duration - whole, beat)
        for family in self.families:
            if values := _greedy(family, duration):
                return values
        straight = [value for value in self.families[0].values() if not value.dots]
        return [min(straight, key=lambda value: abs(value.ticks - duration))._replace(ticks=duration)]


def _family(ticks: int, tuplet: tuple[int, int] | None) -> dict[int, Value]:
    """Plain and dotted values, or those of one tuplet, that last whole ticks, from long to short."""
    many, few = tuplet or (1, 1)
    known = {}
    for kind, quarters in KINDS.items():
        for dots in (0,) if tuplet else (1, 0):
            length = ticks * quarters * few / many * (2 - Fraction(1, 2**dots))
            if length.denominator == 1 and not (tuplet and quarters > LONGEST_IN_TUPLET):
                known[int(length)] = Value(int(length), kind, dots, tuplet)
    return dict(sorted(known.items(), reverse=True))


def _greedy(family: dict[int, Value], duration: int) -> list[Value]:
    """Values from long to short that add up to the duration; empty if they do not."""
    results = []
    for ticks, value in family.items():
        results += [value] * (duration // ticks)
        duration %= ticks
    return [] if duration else results


class Bar(NamedTuple):
    """One measure."""

    start: int
    end: int
    beats: int
    beat_type: int
    changes: bool  # the metre is written here

    def beat(self, ticks: int) -> int:
        """Ticks of a beat; three note values in compound time."""
        compound = self.beats > 3 and self.beats % 3 == 0 and self.beat_type >= 8
        return max(1, 4 * ticks * (3 if compound else 1) // self.beat_type)


class ChordEvent(NamedTuple):
    """Notes that begin and end together."""

    onset: int
    end: int
    notes: list[tuple[int, int]]  # pitch, velocity


class Stretch(NamedTuple):
    """Part of a layer inside a bar: a sound, or a rest (None)."""

    start: int
    end: int
    sound: ChordEvent | None


def bars(piece: Piece) -> list[Bar]:
    """Measures of a piece, including a pickup; at least one."""
    ends = (piece.notes[:, 0].astype(int) + piece.notes[:, 1]).tolist()
    length = max([piece.length, *ends])
    lines = bar_lines(piece).tolist() or [0]
    bar = Bar(0, 0, piece.beats, piece.beat_type, True)
    metres = {tick: metre for tick, *metre in piece.metres.tolist() if tick > piece.pickup}
    results = []
    for start, end in zip(lines, [*lines[1:], length or piece.bar], strict=True):
        beats, kind = metres.get(start, bar[2:4])
        bar = Bar(start, end, beats, kind, not results or start in metres)
        results.append(bar)
    return results


def layers(notes: NDArray) -> list[list[ChordEvent]]:
    """Distribute the chords of a voice's notes (n, 5) over layers without overlaps; at least one layer."""
    sounds: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for onset, duration, pitch, velocity, _ in notes.tolist():
        sounds.setdefault((onset, onset + duration), []).append((pitch, velocity))
    results: list[list[ChordEvent]] = [[]]
    for (onset, end), pitches in sorted(sounds.items(), key=lambda item: (item[0][0], -item[0][1])):
        free = next((layer for layer in results if not layer or layer[-1].end <= onset), None)
        if free is None:
            results.append(free := [])
        free.append(ChordEvent(onset, end, sorted(pitches)))
    return results


def inside(layer: list[ChordEvent], bar: Bar) -> list[Stretch]:
    """Sounds and rests of a layer within a bar."""
    now, stretches = bar.start, []
    for sound in layer[bisect_right(layer, bar.start, key=lambda sound: sound.end) :]:
        if sound.onset >= bar.end:
            break
        if sound.onset > now:
            stretches.append(Stretch(now, sound.onset, None))
        stretches.append(Stretch(max(sound.onset, bar.start), min(sound.end, bar.end), sound))
        now = stretches[-1].end
    return [*stretches, Stretch(now, bar.end, None)] if now < bar.end else stretches


LINE = "FCGDAEB"
"""Naturals from flat to sharp: F is -1 on the line of fifths, C 0."""
# Fb and B#: beyond them are double accidentals.
FLATTEST, SHARPEST = -8, 12


class Spelling:
    """Note names of pitch classes: five fifths below the tonic to six above, without double accidentals."""

    def __init__(self, tonic: int, mode: str) -> None:
        self.fifths = fifths_of(tonic, mode)
        centre = self.fifths + (3 if mode == "minor" else 0)
        first = min(max(centre - 5, FLATTEST), SHARPEST - 11)
        self.fifth_of = {7 * fifth % 12: fifth for fifth in range(first, first + 12)}

    def name(self, pitch: int) -> tuple[str, int, int]:
        """Step, alteration in semitones and octave of a MIDI pitch; C4 is 60."""
        fifth = self.fifth_of[pitch % 12] + 1
        alter = fifth // 7
        return LINE[fifth % 7], alter, (pitch - alter) // 12 - 1

    def signature(self, step: str) -> int:
        """Semitones by which the key's signature alters a step."""
        fifth = LINE.index(step)
        return (fifth < self.fifths) - (fifth >= 7 + self.fifths)


class Accidentals:
    """Accidentals of a part, in force to the end of the bar in their octave. plain: no key signature."""

    def __init__(self, spelling: Spelling, plain: bool = False) -> None:
        self.spelling, self.plain = spelling, plain
        self.altered: dict[tuple[str, int], int] = {}

    def begin_bar(self) -> None:
        """Reset to the key signature."""
        self.altered = {}

    def next(self, pitch: int, tied: bool) -> tuple[str, int, int, bool]:
        """Step, alteration and octave of the next note, and the need for an accidental; tied: to the note before."""
        step, alter, octave = self.spelling.name(pitch)
        before = self.altered.get((step, octave), 0 if self.plain else self.spelling.signature(step))
        needed = not tied and before != alter
        if needed:
            self.altered[step, octave] = alter
        return step, alter, octave, needed
