"""Pieces -> MusicXML 4.0: a part for each voice, with bars, ties, tuplets and beams as an engraver wants them."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from numpy.typing import NDArray

from datamodules.symbolic.keys import find_key
from datamodules.symbolic.piece import PITCH, QUALITIES, Piece
from datamodules.symbolic.reading.chord_symbols import write_symbol
from datamodules.symbolic.reading.musicxml import KINDS, SOFTWARE
from datamodules.symbolic.voices import voice_names
from datamodules.symbolic.writing.layers import Bar, bars, inside, layers
from datamodules.symbolic.writing.measure import Clock, MeasureWriter
from datamodules.symbolic.writing.spelling import Spelling
from datamodules.symbolic.writing.values import Values

DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)


def musicxml_bytes(piece: Piece) -> bytes:
    """A partwise score that `reading.scores` reads as the same piece where ticks are a multiple of 12; drums are left out.

    Notes are spelled in the key, or in the one that `find_key` finds, and cut at bar lines and beats; those of one voice that
    overlap stand in several MusicXML voices. What no note value lasts keeps its exact duration and looks like the nearest.
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
    # What XML cannot hold would make the file unreadable.
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
    """All measures of a voice; the first voice bears tempi and chords."""
    sung = layers(piece.voice(voice))
    clock = Clock(_marks(piece, writer.spelling) if voice == 0 else [])
    for place, bar in enumerate(measures):
        pickup = piece.pickup > 0 and place == 0
        measure = SubElement(part, "measure", number=str(place + (piece.pickup == 0)))
        if pickup:
            measure.set("implicit", "yes")
        if place == 0 or bar.changes:
            _attributes(measure, piece, voice, bar, writer.spelling if place == 0 else None)
        stretches = [inside(layer, bar) for layer in sung]
        writer.write(measure, bar, [one for one in stretches if any(it.sound for it in one)], bar.beat(piece.ticks), clock)
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
    """Sign, line and octaves: treble, bass, or a tenor's treble an octave lower, by what the voice spans."""
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
