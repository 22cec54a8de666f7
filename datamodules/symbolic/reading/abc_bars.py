"""Bar lines of a voice in ABC notation -> repeat signs, endings and jumps of its measures; music in the order of play."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from datamodules.repeats import Signs, numbers_of, runs_of

MARKS = {
    "dacapo": re.compile(r"^(d\.?c\b|dacapo)", re.IGNORECASE),
    "dalsegno": re.compile(r"^(d\.?s\b|dalsegno)", re.IGNORECASE),
    "to_coda": re.compile(r"^(dacoda|tocoda)", re.IGNORECASE),
    "segno": re.compile(r"^segno", re.IGNORECASE),
    "coda": re.compile(r"^coda", re.IGNORECASE),
    "fine": re.compile(r"^fine", re.IGNORECASE),
}
"""Decorations such as `!D.C.!`, and the fields of `Signs` for them."""
JUMPS = ("dacapo", "dalsegno", "fine")
MOST_PASSES = 9
Stretch = tuple[Fraction, Fraction]


class Bars:
    """Measures of a voice as they are read: where each begins (quarter notes) and what signs it has."""

    def __init__(self) -> None:
        self.begins = [Fraction(0)]
        self.fields: list[dict[str, Any]] = [{}]
        self.ending: tuple[int, ...] = ()
        self.open = False  # a repeat has begun that has not ended

    def line(self, now: Fraction, text: str, volta: str | None) -> None:
        """A bar line, with what it begins and ends, and the numbers of an ending behind it."""
        text = "|" if text == ":" else text
        colons = len(text) - len(text.lstrip(":"))
        both = set(text) == {":"}
        backward = (colons // 2 if both else colons) + 1 if colons else 0
        forward = text.endswith(":")
        double = text.count("|") > 1 or "]" in text or text.startswith("[")
        self._begin(now)
        if backward and len(self.fields) > 1:
            self.fields[-2]["backward"] = min(max(backward, 2), MOST_PASSES)
            self.open = False
        if backward or forward or double:
            self.ending = ()
        if forward or (double and not self.open):
            self.fields[-1]["forward"] = True
        self.open = self.open or forward
        self.ending = numbers_of(volta) if volta else self.ending
        self.fields[-1]["ending"] = self.ending

    def bracket(self, now: Fraction, numbers: str) -> None:
        """An ending whose numbers stand apart from the bar line."""
        self._begin(now)
        self.ending = self.fields[-1]["ending"] = numbers_of(numbers)

    def mark(self, text: str, patterns: Mapping[str, re.Pattern]) -> None:
        """A decoration (MARKS) or a text (`datamodules.repeats.WORDS`), which may name a jump."""
        name = next((name for name, pattern in patterns.items() if pattern.search(text)), None)
        if name:
            self.fields[-1][name] = True

    def _begin(self, now: Fraction) -> None:
        """Begin a measure, unless the last one has only just begun."""
        if now > self.begins[-1]:
            self.begins.append(now)
            self.fields.append({"ending": self.ending})

    def signs(self, end: Fraction) -> list[Signs]:
        """The signs of all measures before the end; a jump that stands behind the last bar line is the last measure's."""
        fields = [dict(known) for begin, known in zip(self.begins, self.fields, strict=True) if begin < end]
        behind = {name: True for known in self.fields[len(fields) :] for name in JUMPS if known.get(name)}
        return [Signs(**known) for known in [*fields[:-1], *({**known, **behind} for known in fields[-1:])]]

    def stretches(self, order: Sequence[int], end: Fraction) -> list[Stretch]:
        """The times between which measures in this order are read without a jump."""
        begins = [begin for begin in self.begins if begin < end]
        ends = [*begins[1:], end]
        return [(begins[first], ends[last]) for first, last in runs_of(order)]


def unfolded(
    events: Iterable[Sequence], stretches: Sequence[Stretch], holds: bool = False, lasts: bool = False
) -> list[list]:
    """Events (time, ...) at every time at which they are played.

    holds: each holds until the next, and again behind a jump; lasts: the second column is a duration, which ends at a jump
    """
    events = sorted(events, key=lambda event: event[0])
    times = [event[0] for event in events]
    played, now = [], Fraction(0)
    for begin, end in stretches:
        first, stop = bisect_left(times, begin), bisect_left(times, end)
        inside = events[first:stop]
        if holds and first and not (inside and inside[0][0] == begin):
            played.append([now, *events[first - 1][1:]])
        if lasts:
            inside = [[event[0], min(event[1], end - event[0]), *event[2:]] for event in inside]
        played += [[now + event[0] - begin, *event[1:]] for event in inside]
        now += end - begin
    return played
