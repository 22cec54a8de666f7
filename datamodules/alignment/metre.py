"""Measures, with pickups and split measures -> beats and bars, in quarter notes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

EPSILON = 1e-6


class Measure(NamedTuple):
    """A measure as written: start and end in quarter notes, time signature."""

    start: float
    end: float
    numerator: int
    denominator: int
    number: str = ""  # as printed

    @property
    def full(self) -> float:
        """Quarter notes that the time signature asks for."""
        return self.numerator * 4 / self.denominator


def beat_length(numerator: int, denominator: int) -> float:
    """Quarter notes in a beat: one note of the denominator, in compound time (6, 9, 12, ... over any) three of them."""
    return (12 if numerator > 3 and numerator % 3 == 0 else 4) / denominator


def beats_and_bars(measures: Sequence[Measure]) -> tuple[list[float], list[float]]:
    """Beats and beginnings of bars, both rising, of measures in the order in which they are played.

    A measure that is too short is a pickup, counted from its end, where it opens the piece or follows a whole one;
    where the next measure completes it, both are one bar; at the end it is cut off. A pickup begins no bar.
    """
    beats, bars, filled = [], [], 0.0
    for place, measure in enumerate(measures):
        length, full = measure.end - measure.start, measure.full
        if not filled and length < full - EPSILON and _is_pickup(measures, place):
            filled = full - length
        elif not filled or filled + length > full + EPSILON:
            filled = 0.0
            bars.append(measure.start)
        step = beat_length(measure.numerator, measure.denominator)
        number = math.ceil((filled - EPSILON) / step)  # the first beat that does not lie before the measure
        while number * step < filled + length - EPSILON:
            beats.append(measure.start + number * step - filled)
            number += 1
        filled = filled + length if filled + length < full - EPSILON else 0.0
    return beats, bars


def _is_pickup(measures: Sequence[Measure], place: int) -> bool:
    """Whether a short measure that continues none stands before the bar it leads to."""
    if place == 0:
        return len(measures) > 1
    if place == len(measures) - 1:
        return False
    after = measures[place + 1]
    return measures[place].end - measures[place].start + after.end - after.start > measures[place].full + EPSILON
