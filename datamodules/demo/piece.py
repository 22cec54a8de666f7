"""One score as the embedded data sets need it: notes in quarter notes, key and metre."""

from typing import NamedTuple


class QuarterNote(NamedTuple):
    """Onset and duration in quarter notes (0: the first downbeat, below it: the pickup), MIDI pitch."""

    onset: float
    duration: float
    pitch: int


class DemoPiece(NamedTuple):
    """One score: parts from high to low, each a melody (rests are gaps)."""

    name: str  # collection/number, unique
    title: str
    kind: str  # chorale, reel, jig, hornpipe, ...; "" where the source does not say
    mode: str  # major or minor (dorian counts as minor)
    tonic: int  # pitch class, 0 = C
    beats: int  # the metre's numerator
    beat_type: int  # and denominator
    parts: tuple[tuple[QuarterNote, ...], ...]

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return 4 * self.beats / self.beat_type

    @property
    def length(self) -> float:
        """End of the last note in quarter notes."""
        return max(part[-1].onset + part[-1].duration for part in self.parts)
