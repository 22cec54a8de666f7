"""Pitches as note names in a key, by the line of fifths."""

from datamodules.symbolic.keys import fifths_of

LINE = "FCGDAEB"
"""Naturals from flat to sharp: F is -1 on the line of fifths, C 0."""
# Fb and B#: beyond them are double accidentals.
FLATTEST, SHARPEST = -8, 12


class Spelling:
    """Names of the twelve pitch classes: five fifths below the tonic to six above, of any mode, without double accidentals."""

    def __init__(self, tonic: int, mode: str) -> None:
        self.fifths = fifths_of(tonic, mode)
        centre = self.fifths + (3 if mode == "minor" else 0)
        first = min(max(centre - 5, FLATTEST), SHARPEST - 11)
        self.places = {7 * place % 12: place for place in range(first, first + 12)}

    def name(self, pitch: int) -> tuple[str, int, int]:
        """Step, alteration in semitones and octave of a MIDI pitch; C4 is 60."""
        place = self.places[pitch % 12] + 1
        alter = place // 7
        return LINE[place % 7], alter, (pitch - alter) // 12 - 1

    def signature(self, step: str) -> int:
        """Semitones by which the key's signature alters a step."""
        place = LINE.index(step)
        return (place < self.fifths) - (place >= 7 + self.fifths)


class Accidentals:
    """Which notes of a part need an accidental: it holds to the end of the bar, in its own octave.

    plain: there is no key signature
    """

    def __init__(self, spelling: Spelling, plain: bool = False) -> None:
        self.spelling, self.plain = spelling, plain
        self.altered: dict[tuple[str, int], int] = {}

    def begin_bar(self) -> None:
        """Only the signature holds again."""
        self.altered = {}

    def next(self, pitch: int, tied: bool) -> tuple[str, int, int, bool]:
        """Step, alteration and octave of the next note, and whether its accidental is written; tied: to the note before it."""
        step, alter, octave = self.spelling.name(pitch)
        before = self.altered.get((step, octave), 0 if self.plain else self.spelling.signature(step))
        needed = not tied and before != alter
        if needed:
            self.altered[step, octave] = alter
        return step, alter, octave, needed
