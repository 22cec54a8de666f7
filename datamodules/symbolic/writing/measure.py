"""One measure of MusicXML: notes and rests of every layer with their values, ties, tuplets, beams and accidentals."""

from itertools import groupby
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement

from datamodules.symbolic.writing.layers import Bar, Sound, Stretch
from datamodules.symbolic.writing.spelling import Accidentals, Spelling
from datamodules.symbolic.writing.values import Value, Values

ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}


class Clock:
    """What stands above the notes at a time, each given out once."""

    def __init__(self, marks: list[tuple[int, Element]]) -> None:
        self.marks, self.given = marks, 0

    def until(self, tick: int) -> list[tuple[int, Element]]:
        """The marks before a tick that were not given out yet."""
        first = self.given
        while self.given < len(self.marks) and self.marks[self.given][0] < tick:
            self.given += 1
        return self.marks[first : self.given]


class Written(NamedTuple):
    """A note, chord or rest with one value."""

    start: int
    value: Value
    sound: Sound | None
    tied_from: bool
    tied_on: bool


class MeasureWriter:
    """Writes the measures of one part. fermatas: onsets of the notes that bear one."""

    def __init__(self, spelling: Spelling, values: Values, fermatas: set[int]) -> None:
        self.spelling, self.values, self.fermatas = spelling, values, fermatas
        self.accidentals = Accidentals(spelling)

    def write(self, measure: Element, bar: Bar, layers: list[list[Stretch]], beat: int, clock: Clock) -> None:
        """Append the layers, at least a rest as long as the bar, with `backup` between them; `clock` to the first one."""
        self.accidentals.begin_bar()
        silence = [Stretch(bar.start, bar.end, None)]
        for number, stretches in enumerate(layers or [silence]):
            if number:
                _number(SubElement(measure, "backup"), "duration", bar.end - bar.start)
            whole = not layers and (bar.end - bar.start) * bar.beat_type == 4 * self.values.ticks * bar.beats
            written = [_whole_rest(bar)] if whole else self._valued(bar, stretches, beat)
            marks = _brackets(written), _beams(written, bar.start, beat)
            for place, one in enumerate(written):
                if number == 0:
                    _above(measure, clock, one)
                self._sound(measure, one, number + 1, marks[0].get(place, ()), marks[1].get(place, ()), bar)

    def _valued(self, bar: Bar, stretches: list[Stretch], beat: int) -> list[Written]:
        found = []
        for start, end, sound in stretches:
            for value in self.values.split(start - bar.start, end - start, beat):
                after = start + value.ticks
                found.append(Written(start, value, sound, bool(sound) and sound.onset < start, bool(sound) and after < sound.end))
                start = after
        return found

    def _sound(self, measure: Element, one: Written, voice: int, brackets: tuple, beams: tuple, bar: Bar) -> None:
        if one.sound is None:
            note = SubElement(measure, "note")
            rest = SubElement(note, "rest")
            if not one.value.kind:
                rest.set("measure", "yes")
            self._value(note, one, voice, "")
            self._notations(note, one, brackets)
            return
        for place, (pitch, velocity) in enumerate(one.sound.notes):
            note = SubElement(measure, "note", dynamics=f"{velocity / 0.9:.2f}")
            if place:
                SubElement(note, "chord")
            accidental = self._pitch(note, pitch, one.tied_from)
            self._value(note, one, voice, accidental)
            for number, beam in enumerate(beams if not place else ()):
                SubElement(note, "beam", number=str(number + 1)).text = beam
            self._notations(note, one, brackets if not place else ())

    def _pitch(self, note: Element, pitch: int, tied: bool) -> str:
        """Write the pitch; the accidental that it needs after what came before it in the measure."""
        step, alter, octave, needed = self.accidentals.next(pitch, tied)
        element = SubElement(note, "pitch")
        SubElement(element, "step").text = step
        if alter:
            _number(element, "alter", alter)
        _number(element, "octave", octave)
        return ACCIDENTALS[alter] if needed else ""

    def _value(self, note: Element, one: Written, voice: int, accidental: str) -> None:
        _number(note, "duration", one.value.ticks)
        for tied, kind in ((one.tied_from, "stop"), (one.tied_on, "start")):
            if tied:
                SubElement(note, "tie", type=kind)
        _number(note, "voice", voice)
        if one.value.kind:
            SubElement(note, "type").text = one.value.kind
        for _ in range(one.value.dots):
            SubElement(note, "dot")
        if accidental:
            SubElement(note, "accidental").text = accidental
        if one.value.tuplet:
            many, few = one.value.tuplet
            modification = SubElement(note, "time-modification")
            _number(modification, "actual-notes", many)
            _number(modification, "normal-notes", few)

    def _notations(self, note: Element, one: Written, brackets: tuple) -> None:
        fermata = one.sound is not None and one.sound.onset in self.fermatas and not one.tied_on
        ties = [kind for tied, kind in ((one.tied_from, "stop"), (one.tied_on, "start")) if tied]
        if not (fermata or ties or brackets):
            return
        notations = SubElement(note, "notations")
        for kind in ties:
            SubElement(notations, "tied", type=kind)
        for kind in brackets:
            SubElement(notations, "tuplet", type=kind)
        if fermata:
            SubElement(notations, "fermata", type="upright")


def _whole_rest(bar: Bar) -> Written:
    """A rest that lasts the measure and, as engravers have it, looks like a whole one in any metre."""
    return Written(bar.start, Value(bar.end - bar.start, ""), None, False, False)


def _number(parent: Element, tag: str, number: int) -> None:
    SubElement(parent, tag).text = str(number)


def _above(measure: Element, clock: Clock, one: Written) -> None:
    """Marks that fall on a note, or into it, before it."""
    for tick, mark in clock.until(one.start + one.value.ticks):
        if tick > one.start:
            offset = Element("offset")
            offset.text = str(tick - one.start)
            # Its place among a mark's elements: before a sound, at the end of a harmony.
            mark.insert(1 if mark.tag == "direction" else len(mark), offset)
        measure.append(mark)


def _brackets(written: list[Written]) -> dict[int, tuple[str, ...]]:
    """Where tuplets start and stop: at the first note, and where as many notes of its value are full, or the tuplet ends."""
    found: dict[int, tuple[str, ...]] = {}
    for tuplet, run in groupby(enumerate(written), key=lambda pair: pair[1].value.tuplet):
        places = [place for place, _ in run]
        if not tuplet:
            continue
        first, filled = places[0], 0
        for place in places:
            filled += written[place].value.ticks
            full = written[first].value.ticks * tuplet[0]
            if filled % full == 0 or place == places[-1]:
                found[first] = ("start",) if first != place else ()
                if first != place:
                    found[place] = ("stop",)
                first, filled = place + 1, 0
                if first > places[-1]:
                    break
    return found


def _beams(written: list[Written], start: int, beat: int) -> dict[int, tuple[str, ...]]:
    """The beams of notes with flags that follow each other inside a beat."""
    found = {}
    for (_, beamed), run in groupby(
        enumerate(written), key=lambda pair: ((pair[1].start - start) // beat, bool(pair[1].sound and pair[1].value.flags))
    ):
        places = [place for place, _ in run]
        if not beamed or len(places) < 2:
            continue
        flags = [written[place].value.flags for place in places]
        for place, (number, count) in zip(places, enumerate(flags), strict=True):
            before = flags[number - 1] if number else 0
            after = flags[number + 1] if number + 1 < len(flags) else 0
            found[place] = tuple(_beam(level, before, after) for level in range(count))
    return found


def _beam(level: int, before: int, after: int) -> str:
    if before > level:
        return "continue" if after > level else "end"
    return "begin" if after > level else "backward hook" if before else "forward hook"
