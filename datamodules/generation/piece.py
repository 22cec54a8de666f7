"""A piece of symbolic music: notes in integer ticks with voices, metres, tempi, key, chords and drums."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

ONSET, DURATION, PITCH, VELOCITY, VOICE = range(5)
"""Columns of `Piece.notes`."""
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
"""Semitones of the natural notes above C."""
QUALITIES = ("major", "minor", "diminished", "augmented", "dominant", "major seventh", "minor seventh", "other")
"""Values of the third column of `Piece.chords`."""


def _none(width: int) -> NDArray[np.int32]:
    return np.zeros((0, width), np.int32)


@dataclass(frozen=True, eq=False)
class Piece:
    """Notes with metres, tempi, key, chords and drums. Times are ticks from the first written beat, pickup included.

    notes: (n, 5) int32, sorted by onset, then voice, then pitch: onset, duration (ticks), MIDI pitch, velocity, voice
        (0: the highest part; a voice may sound several notes at once if the source does not separate them)
    ticks: of a quarter note
    length: ticks up to the end of the last bar or note
    pickup: ticks before the first downbeat; bar k begins at pickup + k * bar
    metres: (m, 3): tick, beats, beat type; the first is in force from the beginning
    tempi: (m, 2): tick, microseconds of a quarter note
    tonic, mode: pitch class of the key (0 = C) and "major" or "minor"; None if unknown
    fermatas: (k,) onsets of notes that bear one
    chords: (m, 3): onset, root (pitch class), quality (index into QUALITIES); each in force until the next
    drums: (n, 4): onset, duration, drum (General MIDI), velocity
    programs: General MIDI program of each voice; empty: piano
    names: name of each voice in its file; "" or empty: none
    remarks: sentences on content that the reader left out or changed
    """

    notes: NDArray[np.int32]
    ticks: int
    length: int
    name: str = ""
    title: str = ""
    composer: str = ""
    kind: str = ""
    pickup: int = 0
    metres: NDArray[np.int32] = field(default_factory=lambda: np.array([[0, 4, 4]], np.int32))
    tempi: NDArray[np.int32] = field(default_factory=lambda: np.array([[0, 500_000]], np.int32))
    tonic: int | None = None
    mode: str | None = None
    fermatas: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    chords: NDArray[np.int32] = field(default_factory=lambda: _none(3))
    drums: NDArray[np.int32] = field(default_factory=lambda: _none(4))
    programs: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def beats(self) -> int:
        """Numerator of the first metre."""
        return int(self.metres[0, 1])

    @property
    def beat_type(self) -> int:
        """Denominator of the first metre."""
        return int(self.metres[0, 2])

    @property
    def bar(self) -> int:
        """Ticks of a bar of the first metre."""
        return 4 * self.ticks * self.beats // self.beat_type

    @property
    def bars(self) -> int:
        """Number of bars without the pickup; an incomplete bar counts."""
        return max(1, -(-(self.length - self.pickup) // self.bar))

    @property
    def voices(self) -> int:
        """Number of voices."""
        return int(self.notes[:, VOICE].max()) + 1 if len(self.notes) else 0

    def voice(self, number: int) -> NDArray[np.int32]:
        """The notes of one voice, (n, 5)."""
        return self.notes[self.notes[:, VOICE] == number]

    def with_notes(self, notes: NDArray, **changes: object) -> "Piece":
        """Copy with other notes, which are sorted."""
        return replace(self, notes=in_order(notes), **changes)

    def transposed(self, semitones: int) -> "Piece":
        """Copy with notes, key and chords transposed by semitones; drums are unchanged."""
        if not semitones:
            return self
        notes, chords = self.notes.copy(), self.chords.copy()
        notes[:, PITCH] += semitones
        chords[:, 1] = (chords[:, 1] + semitones) % 12
        tonic = None if self.tonic is None else (self.tonic + semitones) % 12
        return replace(self, notes=notes, chords=chords, tonic=tonic)

    def at(self, ticks: int) -> "Piece":
        """Copy at another number of ticks per quarter note; times are rounded, and notes last at least a tick."""
        if ticks == self.ticks:
            return self

        def to(times: NDArray | int) -> NDArray:
            return (np.asarray(times, np.int64) * 2 * ticks + self.ticks) // (2 * self.ticks)

        def moved(events: NDArray) -> NDArray[np.int32]:
            events = events.astype(np.int64)
            events[:, 0] = to(events[:, 0])
            return events.astype(np.int32)

        def lasting(events: NDArray) -> NDArray[np.int32]:
            ends = to(events[:, 0].astype(np.int64) + events[:, 1])
            events = moved(events)
            events[:, 1] = np.maximum(ends - events[:, 0], 1)
            return events

        return replace(
            self,
            notes=in_order(lasting(self.notes)),
            drums=lasting(self.drums),
            ticks=ticks,
            length=int(to(self.length)),
            pickup=int(to(self.pickup)),
            metres=moved(self.metres),
            tempi=moved(self.tempi),
            chords=moved(self.chords),
            fermatas=to(self.fermatas).astype(np.int32),
        )


def in_order(notes: NDArray) -> NDArray[np.int32]:
    """Notes (n, 5) sorted by onset, voice and pitch."""
    notes = np.asarray(notes, np.int32).reshape(-1, 5)
    return notes[np.lexsort((notes[:, PITCH], notes[:, VOICE], notes[:, ONSET]))]


def same(first: Piece, second: Piece) -> bool:
    """Return whether two pieces are equal in notes, chords, drums, fermatas, metres, tempi and key (not names or programs)."""
    arrays = ("notes", "metres", "tempi", "fermatas", "chords", "drums")
    plain = ("ticks", "length", "pickup", "tonic", "mode")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in arrays) and all(
        getattr(first, name) == getattr(second, name) for name in plain
    )
