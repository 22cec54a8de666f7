"""Written measures (pickups and split measures included) -> beats and downbeats in quarter notes."""

import math
from collections.abc import Sequence
from typing import NamedTuple

EPSILON = 1e-6


class Measure(NamedTuple):
    """Written measure: start and end in quarter notes, time signature."""

    start: float
    end: float
    numerator: int
    denominator: int
    number: str = ""  # as printed

    @property
    def full(self) -> float:
        """Nominal length in quarter notes."""
        return self.numerator * 4 / self.denominator


def beat_length(numerator: int, denominator: int) -> float:
    """Length of a beat in quarter notes: one note of the denominator, three in compound time (6, 9, 12, ...)."""
    return (12 if numerator > 3 and numerator % 3 == 0 else 4) / denominator


def beats_and_bars(measures: Sequence[Measure]) -> tuple[list[float], list[float]]:
    """Beats and downbeats, both rising, of measures in playing order.

    A short measure is a pickup, counted from its end, if it opens the piece or follows a complete bar; it has no downbeat.
    If the next measure completes it, both are one bar; at the end of the piece it is truncated.
    """
    beats, bars, filled = [], [], 0.0
    for index, measure in enumerate(measures):
        length, full = measure.end - measure.start, measure.full
        if not filled and length < full - EPSILON and _is_pickup(measures, index):
            filled = full - length
        elif not filled or filled + length > full + EPSILON:
            filled = 0.0
            bars.append(measure.start)
        step = beat_length(measure.numerator, measure.denominator)
        number = math.ceil((filled - EPSILON) / step)  # first beat inside the measure
        while number * step < filled + length - EPSILON:
            beats.append(measure.start + number * step - filled)
            number += 1
        filled = filled + length if filled + length < full - EPSILON else 0.0
    return beats, bars


def _is_pickup(measures: Sequence[Measure], index: int) -> bool:
    """True if a short measure precedes a complete bar."""
    if index == 0:
        return len(measures) > 1
    if index == len(measures) - 1:
        return False
    after = measures[index + 1]
    return measures[index].end - measures[index].start + after.end - after.start > measures[index].full + EPSILON
