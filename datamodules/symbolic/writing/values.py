"""Ticks as note values: which of them one note can last, and how any other duration is tied together."""

from fractions import Fraction
from typing import NamedTuple

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
"""Quarter notes of each value."""
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
        """Beams that it can bear."""
        return max(0, list(KINDS).index(self.kind) - 3)


class Values:
    """The values at so many ticks a quarter note."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.families = [_family(ticks, tuplet) for tuplet in (None, *TUPLETS)]
        self.single: dict[int, Value] = {}
        for family in reversed(self.families):
            self.single |= family

    def split(self, start: int, duration: int, beat: int) -> list[Value]:
        """Values that together last `duration` ticks, the first one at `start` ticks in its bar: one where one is enough.

        Else the note is cut at beats, and inside one from long to short. A remainder that no value holds is one note of its
        exact ticks that looks like the nearest.
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
    """Values that are whole ticks, from long to short: plain and dotted ones, or those of one tuplet."""
    many, few = tuplet or (1, 1)
    found = {}
    for kind, quarters in KINDS.items():
        for dots in (0,) if tuplet else (1, 0):
            length = ticks * quarters * few / many * (2 - Fraction(1, 2**dots))
            if length.denominator == 1 and not (tuplet and quarters > LONGEST_IN_TUPLET):
                found[int(length)] = Value(int(length), kind, dots, tuplet)
    return dict(sorted(found.items(), reverse=True))


def _greedy(family: dict[int, Value], duration: int) -> list[Value]:
    """Values from long to short that make up the duration; none where they do not."""
    found = []
    for ticks, value in family.items():
        found += [value] * (duration // ticks)
        duration %= ticks
    return [] if duration else found
