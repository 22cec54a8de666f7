"""Music of one voice in ABC notation -> notes, chord symbols and bar lines in quarter notes from the first sign."""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from datamodules.generation.piece import STEPS
from datamodules.generation.reading.notation import read_symbol
from datamodules.generation.reading.repeats import WORDS, Signs, numbers_of, runs_of

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
ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}
"""Notes of a tuplet -> default number of normal notes in the same time."""
Stretch = tuple[Fraction, Fraction]


class AbcMeasures:
    """Measures of a voice: onset (quarter notes) and repeat signs of each."""

    def __init__(self) -> None:
        self.begins = [Fraction(0)]
        self.fields: list[dict[str, Any]] = [{}]
        self.ending: tuple[int, ...] = ()
        self.open = False  # a repeat has begun that has not ended

    def line(self, now: Fraction, text: str, volta: str | None) -> None:
        """Add a bar line, with the repeats it begins or ends and the numbers of the ending after it."""
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
        """Add an ending whose numbers are separate from the bar line."""
        self._begin(now)
        self.ending = self.fields[-1]["ending"] = numbers_of(numbers)

    def mark(self, text: str, patterns: Mapping[str, re.Pattern]) -> None:
        """A decoration (MARKS) or a text (`datamodules.generation.reading.repeats.WORDS`), which may name a jump."""
        name = next((name for name, pattern in patterns.items() if pattern.search(text)), None)
        if name:
            self.fields[-1][name] = True

    def _begin(self, now: Fraction) -> None:
        """Begin a measure unless the last measure is empty."""
        if now > self.begins[-1]:
            self.begins.append(now)
            self.fields.append({"ending": self.ending})

    def signs(self, end: Fraction) -> list[Signs]:
        """Signs of all measures before the end; a jump after the last bar line belongs to the last measure."""
        fields = [dict(known) for begin, known in zip(self.begins, self.fields, strict=True) if begin < end]
        behind = {name: True for known in self.fields[len(fields) :] for name in JUMPS if known.get(name)}
        return [Signs(**known) for known in [*fields[:-1], *({**known, **behind} for known in fields[-1:])]]

    def stretches(self, order: Sequence[int], end: Fraction) -> list[Stretch]:
        """Time spans (begin, end) of consecutive measures in this order."""
        begins = [begin for begin in self.begins if begin < end]
        ends = [*begins[1:], end]
        return [(begins[first], ends[last]) for first, last in runs_of(order)]


def unfolded(events: Iterable[Sequence], stretches: Sequence[Stretch], holds: bool = False, lasts: bool = False) -> list[list]:
    """Repeat events (time, ...) at every time at which they are played.

    holds: each event is in force until the next, also after a jump; lasts: the second column is a duration, cut at a jump
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


LENGTH = r"(?P<times{0}>\d*)(?P<slashes{0}>/*)(?P<parts{0}>\d*)"
# The opening character of a sign never occurs inside it, so a file of opening braces alone takes linear time.
SIGN = re.compile(
    r"\"(?P<text>[^\"]*)\"|[!+](?P<mark>[^!+|\s]*)[!+]|(?P<grace>\{[^{}]*\})"
    r"|\((?P<tuplet>\d)(?::(?P<into>\d*))?(?::(?P<count>\d*))?"
    r"|(?P<bar>\[?\|+[\]:]*|:+\|*[\]:]*|\|\])(?P<volta>\d[\d,-]*)?|(?P<ending>\[\d[\d,-]*)|(?P<field>\[[A-Za-z]:[^\[\]]*\])"
    r"|(?P<open>\[)|(?P<close>\])" + LENGTH.format(2) + r"|(?P<accidental>\^\^?|__?|=)?(?P<letter>[A-Ga-gzxZ])(?P<octave>[,']*)"
    + LENGTH.format(1) + r"|(?P<broken>>+|<+)|(?P<tie>-)|(?P<overlay>&)|(?P<hold>H)"
)  # fmt: skip
COMPOUND = {6, 9, 12}  # beats of a bar in which 5, 7 and 9 notes go into 3, in others into 2


class Voice:
    """Notes, chord symbols and bar lines of one voice. unit: quarter notes of a letter; signature: step -> semitones."""

    def __init__(self, unit: Fraction, metre: tuple[int, int], signature: dict[str, int]) -> None:
        self.unit, self.metre, self.signature = unit, metre, signature
        self.notes: list[list] = []  # onset, duration, pitch, (step, octave)
        self.chords: list[tuple[Fraction, tuple[int, int]]] = []
        self.fermatas: list[Fraction] = []
        self.lines: list[Fraction] = []  # bar lines after the first note
        self.bars = AbcMeasures()
        self.graces = self.overlaid = 0  # notes that are left out
        self.now = Fraction(0)
        self.altered: dict[str, int] = {}
        self.tuplet, self.left, self.stretch = Fraction(1), 0, 1
        self.last: list[list] = []  # the notes that a following tie or broken rhythm refers to
        self.begun, self.lasted = Fraction(0), Fraction(0)  # of the last note, chord or rest
        self.tied: list[list] = []
        self.stacked: list[list] | None = None  # notes of the chord that is open
        self.hidden = False  # in an overlay

    def change(
        self, unit: Fraction | None = None, metre: tuple[int, int] | None = None, signature: dict[str, int] | None = None
    ) -> None:
        """Change unit, metre or signature of the following music; None: no change."""
        self.unit = self.unit if unit is None else unit
        self.metre = self.metre if metre is None else metre
        self.signature = self.signature if signature is None else signature

    def unfold(self, stretches: Sequence[Stretch]) -> None:
        """Replace everything that was read by its stretches in the order of play."""
        self.notes = unfolded(self.notes, stretches, lasts=True)
        self.chords = [tuple(event) for event in unfolded(self.chords, stretches, holds=True)]
        self.fermatas = [time for (time,) in unfolded([(time,) for time in self.fermatas], stretches)]
        self.now = sum((until - begin for begin, until in stretches), Fraction(0))

    @property
    def first_line(self) -> Fraction:
        """Time of the first bar line after the beginning; 0 if there is none."""
        return self.lines[0] if self.lines else Fraction(0)

    def times(self) -> Iterator[Fraction]:
        """All times that must be whole ticks."""
        for onset, duration, *_ in self.notes:
            yield onset
            yield duration
        yield self.now
        yield from (time for time, _ in self.chords)

    def read(self, text: str) -> None:
        """Read the next line of music and skip unknown signs."""
        for sign in SIGN.finditer(text):
            if self.hidden and not sign["bar"]:
                self.overlaid += (sign["letter"] or "z") not in "zxZ"
                continue
            if sign["letter"]:
                self._note(sign)
            elif sign["bar"]:
                self._line()
                self.bars.line(self.now, sign["bar"], sign["volta"])
            elif sign["ending"]:
                self.bars.bracket(self.now, sign["ending"][1:])
            elif sign["text"] is not None:
                self._symbol(sign["text"])
            elif sign["grace"]:
                self.graces += sum(letter in "ABCDEFGabcdefg" for letter in sign["grace"])
            elif sign["tuplet"]:
                self._tuplet(sign)
            elif sign["open"]:
                self.stacked = []
            elif sign["close"]:
                self._close(sign)
            elif sign["broken"]:
                self._dot(sign["broken"])
            elif sign["tie"]:
                self.tied = list(self.last)
            elif sign["overlay"]:
                self.hidden = True
            elif sign["hold"] or (sign["mark"] or "").startswith("fermata"):
                self.fermatas.append(self.now)
            elif sign["mark"]:
                self.bars.mark(sign["mark"], MARKS)

    def _line(self) -> None:
        self.altered, self.hidden = {}, False
        if self.now and (not self.lines or self.lines[-1] != self.now):
            self.lines.append(self.now)

    def _symbol(self, text: str) -> None:
        chord = None if text[:1] in ("^", "_", "<", ">", "@") else read_symbol(text)
        if chord is None:
            self.bars.mark(text.lstrip("^_<>@"), WORDS)
        if chord and (not self.chords or self.chords[-1] != (self.now, chord)):
            self.chords = [chord for chord in self.chords if chord[0] != self.now]
            self.chords.append((self.now, chord))

    def _tuplet(self, sign: re.Match) -> None:
        size = int(sign["tuplet"])
        usual = TUPLETS.get(size, 3 if self.metre[0] in COMPOUND else 2)
        self.tuplet = Fraction(int(sign["into"] or usual), max(size, 1))
        self.left = int(sign["count"] or size)

    def _note(self, sign: re.Match) -> None:
        duration = self.unit * _length(sign, 1)
        if sign["letter"] == "Z":
            duration = int(sign["times1"] or 1) * Fraction(4 * self.metre[0], self.metre[1])
        if self.stacked is not None:
            self.stacked.append([self.now, duration, self._pitch(sign), sign["letter"] + sign["octave"]])
            return
        pitched = sign["letter"] not in "zxZ"
        self._sound([[self.now, duration, self._pitch(sign), sign["letter"] + sign["octave"]]] if pitched else [], duration)

    def _close(self, sign: re.Match) -> None:
        stacked, self.stacked = self.stacked or [], None
        if stacked:
            factor = _length(sign, 2)
            sounding = [[onset, duration * factor, *rest] for onset, duration, *rest in stacked if rest[0] is not None]
            self._sound(sounding, stacked[0][1] * factor)

    def _sound(self, notes: list[list], duration: Fraction) -> None:
        """Add notes that begin now, joined to those they are tied to, and go on by `duration`."""
        factor = self.stretch * self.tuplet if self.left else self.stretch
        if factor != 1:
            duration, notes = duration * factor, [[onset, lasts * factor, *rest] for onset, lasts, *rest in notes]
        self.last = []
        for onset, lasts, pitch, name in notes:
            # A tied note keeps the accidental of the first one, behind a bar line too.
            held = next((item for item in self.tied if item[3] == name and item[0] + item[1] == onset), None)
            if held:
                held[1] += lasts
            else:
                held = [onset, lasts, pitch, name]
                self.notes.append(held)
            self.last.append(held)
        self.begun, self.lasted = self.now, duration
        self.now += self.lasted
        self.tied, self.stretch, self.left = [], 1, max(0, self.left - 1)

    def _dot(self, signs: str) -> None:
        """a>b lengthens a by half and halves b, a<b the reverse; each further sign halves again."""
        shorter = Fraction(1, 2 ** min(len(signs), 4))
        first, self.stretch = (2 - shorter, shorter) if signs[0] == ">" else (shorter, 2 - shorter)
        for note in self.last:
            note[1] += self.lasted * (first - 1)
        self.lasted *= first
        self.now = self.begun + self.lasted

    def _pitch(self, sign: re.Match) -> int | None:
        letter, octave = sign["letter"], sign["octave"]
        if letter in "zxZ":
            return None
        height = 60 + STEPS[letter.upper()] + 12 * (letter.islower() + octave.count("'") - octave.count(","))
        # An accidental holds to the end of the bar, in its own octave.
        if sign["accidental"]:
            self.altered[letter + octave] = ACCIDENTALS[sign["accidental"]]
        return min(max(height + self.altered.get(letter + octave, self.signature.get(letter.upper(), 0)), 0), 127)


def _length(sign: re.Match, group: int) -> Fraction:
    """The number behind a letter: 3, /2, 3/4, // ..."""
    slashes, parts = sign[f"slashes{group}"], sign[f"parts{group}"]
    divisor = (int(parts) if parts else 2 ** len(slashes)) if slashes else 1
    return Fraction(int(sign[f"times{group}"] or 1), divisor or 1)
