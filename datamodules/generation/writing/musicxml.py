"""Pieces -> MusicXML 4.0: a part for each voice, with bars, ties, tuplets and beams."""

from itertools import groupby
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from numpy.typing import NDArray

from datamodules.generation.harmony import find_key
from datamodules.generation.piece import PITCH, QUALITIES, Piece
from datamodules.generation.reading.musicxml import KINDS, SOFTWARE
from datamodules.generation.reading.notation import write_symbol
from datamodules.generation.voices import voice_names
from datamodules.generation.writing.values import (
    Accidentals,
    Bar,
    ChordEvent,
    Spelling,
    Stretch,
    Value,
    Values,
    bars,
    inside,
    layers,
)

ACCIDENTALS = {-2: "flat-flat", -1: "flat", 0: "natural", 1: "sharp", 2: "double-sharp"}


class Directions:
    """Queue of directions and chord symbols by time."""

    def __init__(self, marks: list[tuple[int, Element]]) -> None:
        self.marks, self.position = marks, 0

    def until(self, tick: int) -> list[tuple[int, Element]]:
        """Remove and return the marks before a tick."""
        first = self.position
        while self.position < len(self.marks) and self.marks[self.position][0] < tick:
            self.position += 1
        return self.marks[first : self.position]


class NotatedEvent(NamedTuple):
    """A note, chord or rest with one value."""

    start: int
    value: Value
    sound: ChordEvent | None
    tied_from: bool
    tied_on: bool


class MeasureWriter:
    """Writes the measures of one part. fermatas: onsets of the notes that bear one."""

    def __init__(self, spelling: Spelling, values: Values, fermatas: set[int]) -> None:
        self.spelling, self.values, self.fermatas = spelling, values, fermatas
        self.accidentals = Accidentals(spelling)

    def write(self, measure: Element, bar: Bar, layers: list[list[Stretch]], beat: int, clock: Directions) -> None:
        """Append the layers with `backup` between them, or a rest; the marks of `clock` go to the first layer."""
        self.accidentals.begin_bar()
        silence = [Stretch(bar.start, bar.end, None)]
        for number, stretches in enumerate(layers or [silence]):
            if number:
                _text(SubElement(measure, "backup"), "duration", bar.end - bar.start)
            whole = not layers and (bar.end - bar.start) * bar.beat_type == 4 * self.values.ticks * bar.beats
            written = [_whole_rest(bar)] if whole else self._valued(bar, stretches, beat)
            marks = _brackets(written), _beams(written, bar.start, beat)
            for index, event in enumerate(written):
                if number == 0:
                    _above(measure, clock, event)
                self._sound(measure, event, number + 1, marks[0].get(index, ()), marks[1].get(index, ()), bar)

    def _valued(self, bar: Bar, stretches: list[Stretch], beat: int) -> list[NotatedEvent]:
        results = []
        for start, end, sound in stretches:
            for value in self.values.split(start - bar.start, end - start, beat):
                after = start + value.ticks
                results.append(
                    NotatedEvent(start, value, sound, bool(sound) and sound.onset < start, bool(sound) and after < sound.end)
                )
                start = after
        return results

    def _sound(self, measure: Element, event: NotatedEvent, voice: int, brackets: tuple, beams: tuple, bar: Bar) -> None:
        if event.sound is None:
            note = SubElement(measure, "note")
            rest = SubElement(note, "rest")
            if not event.value.kind:
                rest.set("measure", "yes")
            self._value(note, event, voice, "")
            self._notations(note, event, brackets)
            return
        for index, (pitch, velocity) in enumerate(event.sound.notes):
            note = SubElement(measure, "note", dynamics=f"{velocity / 0.9:.2f}")
            if index:
                SubElement(note, "chord")
            accidental = self._pitch(note, pitch, event.tied_from)
            self._value(note, event, voice, accidental)
            for number, beam in enumerate(beams if not index else ()):
                SubElement(note, "beam", number=str(number + 1)).text = beam
            self._notations(note, event, brackets if not index else ())

    def _pitch(self, note: Element, pitch: int, tied: bool) -> str:
        """Write the pitch; returns the accidental to print, or an empty string."""
        step, alter, octave, needed = self.accidentals.next(pitch, tied)
        element = SubElement(note, "pitch")
        SubElement(element, "step").text = step
        if alter:
            _text(element, "alter", alter)
        _text(element, "octave", octave)
        return ACCIDENTALS[alter] if needed else ""

    def _value(self, note: Element, event: NotatedEvent, voice: int, accidental: str) -> None:
        _text(note, "duration", event.value.ticks)
        for tied, kind in ((event.tied_from, "stop"), (event.tied_on, "start")):
            if tied:
                SubElement(note, "tie", type=kind)
        _text(note, "voice", voice)
        if event.value.kind:
            SubElement(note, "type").text = event.value.kind
        for _ in range(event.value.dots):
            SubElement(note, "dot")
        if accidental:
            SubElement(note, "accidental").text = accidental
        if event.value.tuplet:
            many, few = event.value.tuplet
            modification = SubElement(note, "time-modification")
            _text(modification, "actual-notes", many)
            _text(modification, "normal-notes", few)

    def _notations(self, note: Element, event: NotatedEvent, brackets: tuple) -> None:
        fermata = event.sound is not None and event.sound.onset in self.fermatas and not event.tied_on
        ties = [kind for tied, kind in ((event.tied_from, "stop"), (event.tied_on, "start")) if tied]
        if not (fermata or ties or brackets):
            return
        notations = SubElement(note, "notations")
        for kind in ties:
            SubElement(notations, "tied", type=kind)
        for kind in brackets:
            SubElement(notations, "tuplet", type=kind)
        if fermata:
            SubElement(notations, "fermata", type="upright")


def _whole_rest(bar: Bar) -> NotatedEvent:
    """Whole-measure rest, engraved as a whole rest in any metre."""
    return NotatedEvent(bar.start, Value(bar.end - bar.start, ""), None, False, False)


def _above(measure: Element, clock: Directions, event: NotatedEvent) -> None:
    """Write the marks that fall on or into a note before it."""
    for tick, mark in clock.until(event.start + event.value.ticks):
        if tick > event.start:
            offset = Element("offset")
            offset.text = str(tick - event.start)
            # The schema has the offset before a sound, and at the end of a harmony.
            mark.insert(1 if mark.tag == "direction" else len(mark), offset)
        measure.append(mark)


def _brackets(written: list[NotatedEvent]) -> dict[int, tuple[str, ...]]:
    """Tuplet brackets by index of the note: start at the first note, stop at a full group or the end of the tuplet."""
    known: dict[int, tuple[str, ...]] = {}
    for tuplet, run in groupby(enumerate(written), key=lambda pair: pair[1].value.tuplet):
        indices = [index for index, _ in run]
        if not tuplet:
            continue
        first, filled = indices[0], 0
        for index in indices:
            filled += written[index].value.ticks
            full = written[first].value.ticks * tuplet[0]
            if filled % full == 0 or index == indices[-1]:
                known[first] = ("start",) if first != index else ()
                if first != index:
                    known[index] = ("stop",)
                first, filled = index + 1, 0
                if first > indices[-1]:
                    break
    return known


def _beams(written: list[NotatedEvent], start: int, beat: int) -> dict[int, tuple[str, ...]]:
    """Beams of consecutive flagged notes inside a beat."""
    known = {}
    for (_, beamed), run in groupby(
        enumerate(written), key=lambda pair: ((pair[1].start - start) // beat, bool(pair[1].sound and pair[1].value.flags))
    ):
        indices = [index for index, _ in run]
        if not beamed or len(indices) < 2:
            continue
        flags = [written[index].value.flags for index in indices]
        for index, (number, count) in zip(indices, enumerate(flags), strict=True):
            before = flags[number - 1] if number else 0
            after = flags[number + 1] if number + 1 < len(flags) else 0
            known[index] = tuple(_beam(level, before, after) for level in range(count))
    return known


def _beam(level: int, before: int, after: int) -> str:
    if before > level:
        return "continue" if after > level else "end"
    return "begin" if after > level else "backward hook" if before else "forward hook"


DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)


def musicxml_bytes(piece: Piece) -> bytes:
    """Partwise score that `reading.scores` reads as the same piece if ticks are a multiple of 12; drums are left out.

    Notes are spelled in the key, or the estimate of `find_key`, and cut at bar lines and beats; overlapping notes of a voice use
    several MusicXML voices. Durations without a note value are kept exactly and look like the nearest value.
    """
    root = Element("score-partwise", version="4.0")
    if piece.title:
        _text(SubElement(root, "work"), "work-title", piece.title)
    identification = SubElement(root, "identification")
    if piece.composer:
        _text(identification, "creator", piece.composer).set("type", "composer")
    _text(SubElement(identification, "encoding"), "software", SOFTWARE)
    names = voice_names(max(piece.voices, 1), piece.names)
    _part_list(root, piece, names)
    measures, values = bars(piece), Values(piece.ticks)
    spelling = Spelling(*((piece.tonic, piece.mode) if piece.tonic is not None and piece.mode else find_key(piece)))
    for voice in range(len(names)):
        part = SubElement(root, "part", id=f"P{voice + 1}")
        _part(part, piece, voice, measures, MeasureWriter(spelling, values, set(piece.fermatas.tolist())))
    indent(root)
    return DOCTYPE.encode() + tostring(root, encoding="unicode").encode() + b"\n"


def _text(parent: Element, tag: str, text: object) -> Element:
    child = SubElement(parent, tag)
    # Characters that XML does not allow would make the file unreadable.
    child.text = "".join(letter for letter in str(text) if letter >= " " and letter not in "\ufffe\uffff")
    return child


def _part_list(root: Element, piece: Piece, names: list[str]) -> None:
    listed = SubElement(root, "part-list")
    for number, name in enumerate(names):
        part = SubElement(listed, "score-part", id=f"P{number + 1}")
        _text(part, "part-name", name)
        _text(SubElement(part, "score-instrument", id=f"P{number + 1}-I1"), "instrument-name", name)
        midi = SubElement(part, "midi-instrument", id=f"P{number + 1}-I1")
        _text(midi, "midi-channel", number % 9 + 1)  # below 10, the drums' channel
        _text(midi, "midi-program", (piece.programs[number] if number < len(piece.programs) else 0) + 1)


def _part(part: Element, piece: Piece, voice: int, measures: list[Bar], writer: MeasureWriter) -> None:
    """Write all measures of a voice, the first voice with tempi and chords."""
    sung = layers(piece.voice(voice))
    clock = Directions(_marks(piece, writer.spelling) if voice == 0 else [])
    for index, bar in enumerate(measures):
        pickup = piece.pickup > 0 and index == 0
        measure = SubElement(part, "measure", number=str(index + (piece.pickup == 0)))
        if pickup:
            measure.set("implicit", "yes")
        if index == 0 or bar.changes:
            _attributes(measure, piece, voice, bar, writer.spelling if index == 0 else None)
        stretches = [inside(layer, bar) for layer in sung]
        writer.write(
            measure, bar, [stretch for stretch in stretches if any(it.sound for it in stretch)], bar.beat(piece.ticks), clock
        )
    _text(SubElement(part[-1], "barline", location="right"), "bar-style", "light-heavy")


def _attributes(measure: Element, piece: Piece, voice: int, bar: Bar, first: Spelling | None) -> None:
    """The metre; in the first measure divisions, key and clef too."""
    attributes = SubElement(measure, "attributes")
    if first:
        _text(attributes, "divisions", piece.ticks)
        key = SubElement(attributes, "key")
        _text(key, "fifths", first.fifths)
        if piece.tonic is not None and piece.mode:
            _text(key, "mode", piece.mode)
    time = SubElement(attributes, "time")
    _text(time, "beats", bar.beats)
    _text(time, "beat-type", bar.beat_type)
    if first:
        sign, line, octaves = _clef(piece.voice(voice)[:, PITCH])
        clef = SubElement(attributes, "clef")
        _text(clef, "sign", sign)
        _text(clef, "line", line)
        if octaves:
            _text(clef, "clef-octave-change", octaves)


def _clef(pitches: NDArray) -> tuple[str, int, int]:
    """Sign, line and octave change of the clef by the range: treble, bass, or treble an octave lower."""
    if not len(pitches) or pitches.mean() >= 61 or pitches.min() >= 55:
        return "G", 2, 0
    return ("G", 2, -1) if pitches.mean() >= 52 and pitches.max() > 64 else ("F", 4, 0)


def _marks(piece: Piece, spelling: Spelling) -> list[tuple[int, Element]]:
    """Tempi and chord symbols by time."""
    marks = []
    for tick, length in piece.tempi.tolist():
        direction = Element("direction", placement="above")
        metronome = SubElement(SubElement(direction, "direction-type"), "metronome")
        _text(metronome, "beat-unit", "quarter")
        _text(metronome, "per-minute", round(60e6 / length))
        SubElement(direction, "sound", tempo=f"{60e6 / length:.10g}")
        marks.append((tick, direction))
    for tick, root, quality in piece.chords.tolist():
        harmony = Element("harmony")
        step, alter, _ = spelling.name(60 + root)
        named = SubElement(harmony, "root")
        _text(named, "root-step", step)
        if alter:
            _text(named, "root-alter", alter)
        kind = KINDS.get(QUALITIES[quality], ("other",))[0]
        _text(harmony, "kind", kind).set("text", write_symbol(0, quality)[1:])
        marks.append((tick, harmony))
    return sorted(marks, key=lambda mark: mark[0])
