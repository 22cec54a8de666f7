"""Partwise MusicXML -> a piece whose ticks represent every duration; repeats as written, as played, or once."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from datamodules.common.errors import DataError, printable
from datamodules.generation.grid import VELOCITY_WRITTEN
from datamodules.generation.piece import QUALITIES, STEPS, VOICE, Piece, in_order
from datamodules.generation.reading.notation import (
    MOST_NOTES,
    Repeats,
    changes,
    check_length,
    is_metre,
    left_out,
    order_of,
    order_remarks,
    ticks_for,
)
from datamodules.generation.reading.plausible_score import exact_number
from datamodules.generation.reading.printed import PrintedNotes
from datamodules.generation.reading.repeats import Signs, musicxml_signs

SOFTWARE = "Quintet"
"""Software name of our writer: in its files a part is one voice, also if overlapping notes use several MusicXML voices."""
FORTE = 90  # MIDI velocity that is 100 % in a note's `dynamics`
MODES = {"major": 0, "ionian": 0, "dorian": 2, "phrygian": 4, "lydian": 5, "mixolydian": 7}
MODES |= {"minor": 9, "aeolian": 9, "locrian": 11}
"""Semitones from the tonic of the major key with the same signature."""
MINOR = {"minor", "aeolian", "dorian", "phrygian", "locrian"}
BEATS = {"whole": 4, "half": 2, "quarter": 1, "eighth": Fraction(1, 2), "16th": Fraction(1, 4), "32nd": Fraction(1, 8)}
KINDS = {
    "major": ("major", "major-sixth", "Neapolitan", "French", "Italian", "German"),
    "minor": ("minor", "minor-sixth", "major-minor"),
    "diminished": ("diminished", "diminished-seventh", "half-diminished"),
    "augmented": ("augmented", "augmented-seventh"),
    "dominant": ("dominant", "dominant-ninth", "dominant-11th", "dominant-13th"),
    "major seventh": ("major-seventh", "major-ninth", "major-11th", "major-13th"),
    "minor seventh": ("minor-seventh", "minor-ninth", "minor-11th", "minor-13th"),
}
"""Quality -> kinds of a harmony element, the first of which our writer uses. All other kinds are `other`."""


class Placed(NamedTuple):
    """One event of one part."""

    measure: int
    offset: int  # ticks from the measure's beginning
    values: tuple


class Sung(NamedTuple):
    """One note as written, before ties are joined."""

    duration: int
    pitch: int
    velocity: int
    line: tuple[int, int, str]  # part, staff, voice
    tied: bool  # to the next note
    fermata: bool


class ScoreReader:
    """Reads a document: every part by itself, then all of them in measures that are as long as their longest part.

    Args:
        root: `<score-partwise>`
        repeats: order of measures, see `Repeats`
    """

    def __init__(self, root: Element, repeats: Repeats = "written") -> None:
        self.root = root
        divisions = [int(exact_number(element.text)) for element in root.iter("divisions") if element.text]
        self.ticks = ticks_for(division for division in divisions if division > 0)
        self.ours = any(element.text == SOFTWARE for element in root.iter("software"))
        parts = root.findall("part")
        self.ids = [part.get("id", "") for part in parts]
        measures = max((part.findall("measure") for part in parts), key=len, default=[])
        self.numbers = ["" if measure.get("implicit") == "yes" else measure.get("number", "") for measure in measures]
        self.parts = [PartReader(self, part, number) for number, part in enumerate(parts)]
        self.written = max((len(part.lengths) for part in self.parts), default=0)
        self.signs: list[Signs] = musicxml_signs(root)
        self.order = order_of(self.signs, repeats)
        count = sum(len(part.notes) for part in self.parts)
        if count * len(self.order) > MOST_NOTES * max(self.written, 1):
            raise ValueError(f"its repeats last {len(self.order)} measures")

    def piece(self, path: Path) -> Piece:
        """The whole piece. A first measure shorter than its metre is a pickup, if others follow. Raises DataError."""
        starts, end = self.measures()
        notes, fermatas = self._notes(starts)
        drums = self.events("drums", starts)
        if not len(notes):
            what = "only drums" if len(drums) else "no notes"
            raise DataError(f"{printable(str(path))} holds {what}: expected a score with pitched notes.")
        tempi = _changes([0, 500_000], [(tick, round(60e6 / tempo)) for tick, tempo in self.events("tempi", starts)])
        check_length(tempi, self.ticks, max(end, *(row[0] + row[1] for row in notes)), path)
        metres = _changes([0, 4, 4], self.events("metres", starts))
        bar = 4 * self.ticks * int(metres[0, 1]) // int(metres[0, 2])
        key = next((part.key for part in self.parts if part.key), (None, None))
        notes, programs, names = self._voices(notes)
        return Piece(
            in_order(notes),
            self.ticks,
            end,
            name=path.stem,
            title=(self.root.findtext("work/work-title") or self.root.findtext("movement-title") or "").strip(),
            composer=(self.root.findtext("identification/creator[@type='composer']") or "").strip(),
            pickup=starts[1] if len(starts) > 1 and starts[1] < bar else 0,
            metres=metres,
            tempi=tempi,
            tonic=key[0],
            mode=key[1],
            fermatas=np.array(sorted(set(fermatas)), np.int32),
            chords=_rows(self.events("chords", starts), 3),
            drums=_rows(drums, 4),
            programs=programs,
            names=names,
            remarks=(*self._left_out(), *order_remarks(self.written, self.order, "measure")),
        )

    def _left_out(self) -> list[str]:
        """Sentences on grace and cue notes, which pieces do not hold."""
        kinds = {"grace note": "grace", "cue note": "cue"}
        known = {kind: sum(note.find(tag) is not None for note in self.root.iter("note")) for kind, tag in kinds.items()}
        return [left_out(kind, number) for kind, number in known.items() if number]

    def measures(self) -> tuple[list[int], int]:
        """Start ticks of the played measures and end of the last; an empty measure lasts a bar of its metre."""
        metre, starts, now = (4, 4), [], 0
        metres = {event.measure: event.values for part in reversed(self.parts) for event in part.metres}
        lengths = []
        for measure in range(self.written):
            metre = metres.get(measure, metre)
            length = max(part.lengths[measure] for part in self.parts if measure < len(part.lengths))
            lengths.append(length or 4 * self.ticks * metre[0] // metre[1])
        for measure in self.order:
            starts.append(now)
            now += lengths[measure]
        return starts, now

    def events(self, kind: str, starts: list[int]) -> list[tuple[int, ...]]:
        """Events of all parts as (tick, ...) in order; at each tick the event of the first part with one."""
        results = [(tick, *values) for part in self.parts for tick, values in self._played(getattr(part, kind), starts)]
        if kind == "drums":
            return sorted(set(results))
        first = {event[0]: event for event in reversed([*results, *self._in_force(kind, starts)])}
        events = [first[tick] for tick in sorted(first)]
        return changes(events) if kind != "chords" and self.order != list(range(self.written)) else events

    def _played(self, events: list[Placed], starts: list[int]) -> Iterator[tuple[int, tuple]]:
        """Events of one part as (tick, values) in every played measure."""
        by_measure: dict[int, list[Placed]] = {}
        for event in events:
            by_measure.setdefault(event.measure, []).append(event)
        for start, measure in zip(starts, self.order, strict=True):
            yield from ((start + event.offset, event.values) for event in by_measure.get(measure, ()))

    def _in_force(self, kind: str, starts: list[int]) -> Iterator[tuple[int, ...]]:
        """Events in force at the targets of jumps, as when read as written."""
        events = sorted((event.measure, event.offset, event.values) for part in self.parts for event in getattr(part, kind))
        measures = [measure for measure, _, _ in events]
        for index in range(1, len(self.order)):
            before = bisect_left(measures, self.order[index])
            if self.order[index] != self.order[index - 1] + 1 and before:
                yield starts[index], *events[before - 1][2]

    def _notes(self, starts: list[int]) -> tuple[list[list], list[int]]:
        """Rows of onset, duration, pitch, velocity and line, tied notes joined; and the onsets of those with a fermata."""
        rows, fermatas = [], []
        for part in self.parts:
            held: dict[int, list] = {}  # pitch -> the row that a tie goes on from
            played = ((tick, note) for tick, (note,) in self._played(part.notes, starts))
            for onset, note in sorted(played, key=lambda pair: pair[0]):
                row = held.pop(note.pitch, None)
                if row is None or row[0] + row[1] != onset:  # not every program writes the stop of a tie
                    row = [onset, 0, note.pitch, note.velocity, note.line]
                    rows.append(row)
                row[1] += note.duration
                fermatas += [row[0]] * note.fermata
                if note.tied:
                    held[note.pitch] = row
        return rows, fermatas

    def _voices(self, rows: list[list]) -> tuple[NDArray[np.int32], tuple[int, ...], tuple[str, ...]]:
        """The rows with a number for each line, program and name of each: parts in order, in them staves, then voices."""
        if self.ours:
            numbers = {row[4]: row[4][0] for row in rows}
        else:
            numbers = {line: number for number, line in enumerate(sorted({row[4] for row in rows}))}
        notes = np.array([[*row[:VOICE], numbers[row[VOICE]]] for row in rows], np.int64)
        part_of = {number: line[0] for line, number in numbers.items()}
        parts = [self.parts[part_of.get(voice, 0)] for voice in range(max(part_of) + 1)]
        return notes, tuple(part.program for part in parts), tuple(part.name for part in parts)


def part_alone(root: Element, part: Element) -> Element:
    """A document of one part. root: `<score-partwise>`; part: one of its `<part>` elements."""
    alone = Element(root.tag)
    alone.extend([*root.findall("part-list"), part])
    return alone


class PartReader:
    """One part, read element by element."""

    def __init__(self, score: ScoreReader, part: Element, number: int) -> None:
        self.ticks, self.number, self.divisions, self.transposed = score.ticks, number, 1, 0
        self.staff_transposed: dict[str, int] = {}  # semitones of staves that have their own
        self.notes, self.drums, self.metres, self.printed = [], [], [], PrintedNotes()
        self.tempi, self.chords, self.lengths = [], [], []
        self.key: tuple[int, str] | None = None
        self.staves: dict[str, int] = {}  # voice -> the staff it was first seen on
        declared = score.root.find(f"part-list/score-part[@id='{part.get('id')}']") if "'" not in part.get("id", "'") else None
        self.name = "" if declared is None else " ".join((declared.findtext("part-name") or "").split())
        programs = [] if declared is None else declared.findall("midi-instrument/midi-program")
        self.program = (int(programs[0].text or 1) - 1) % 128 if programs else 0
        kit = [] if declared is None else declared.findall("midi-instrument")
        self.kit = {item.get("id"): int(item.findtext("midi-unpitched") or 39) - 1 for item in kit}
        for measure, element in enumerate(part.findall("measure")):
            self.measure, self.now, self.last = measure, 0, 0
            self.lengths.append(0)
            for child in element:
                self._read(child)
                self.lengths[-1] = max(self.lengths[-1], self.now)

    def _read(self, element: Element) -> None:
        if element.tag == "note":
            self._note(element)
        elif element.tag == "backup":
            self.now = max(0, self.now - self._length(element))
        elif element.tag == "forward":
            self.now += max(0, self._length(element))
        elif element.tag == "attributes":
            self._attributes(element)
        elif element.tag in ("direction", "sound"):
            self._tempo(element)
        elif element.tag == "harmony":
            self._chord(element)

    def _length(self, element: Element, name: str = "duration") -> int:
        text = (element.findtext(name) or "0").strip()
        if text.isdecimal() and self.ticks % self.divisions == 0:
            return int(text) * (self.ticks // self.divisions)
        return round(exact_number(text) * self.ticks / self.divisions)

    def _attributes(self, element: Element) -> None:
        written = element.findtext("divisions")
        divisions = exact_number(written) if written else Fraction(self.divisions)
        if divisions <= 0:
            raise ValueError(f"{divisions} divisions")
        self.divisions = int(divisions) if divisions.denominator == 1 else divisions
        for transpose in element.findall("transpose"):
            semitones = round(float(transpose.findtext("chromatic") or 0)) + 12 * int(transpose.findtext("octave-change") or 0)
            if transpose.get("number") is None:
                self.transposed, self.staff_transposed = semitones, {}
            else:
                self.staff_transposed[transpose.get("number")] = semitones
        key = element.find("key")
        mode = None if key is None else (key.findtext("mode") or "").strip().lower()
        if self.key is None and mode in MODES:
            tonic = (7 * int(key.findtext("fifths")) + MODES[mode] + self.transposed) % 12
            self.key = (tonic, "minor" if mode in MINOR else "major")
        time = element.find("time")
        if time is not None and time.find("beats") is not None:
            types = [int(element.text) for element in time.findall("beat-type")]
            beats = [sum(map(int, (element.text or "").split("+"))) for element in time.findall("beats")]
            whole = max(types)
            count = sum(count * whole // kind for count, kind in zip(beats, types, strict=True))
            if is_metre(count, whole, self.ticks):
                self.metres.append(Placed(self.measure, self.now, (count, whole)))

    def _note(self, element: Element) -> None:
        grace = element.find("grace") is not None
        duration = 0 if grace else self._length(element)
        if not grace and element.find("chord") is None:
            self.last, self.now = self.now, self.now + max(duration, 0)
        onset, pitch = self.last, element.find("pitch")
        if element.find("rest") is not None or element.find("cue") is not None or (grace and pitch is None):
            return
        if duration <= 0 and not grace:
            return
        if not grace:
            self.lengths[-1] = max(self.lengths[-1], onset + duration)
        velocity = round(float(element.get("dynamics", VELOCITY_WRITTEN * 100 / FORTE)) * FORTE / 100)
        velocity = min(max(velocity, 1), 127)
        if pitch is None:
            instrument = element.find("instrument")
            drum = self.kit.get(None if instrument is None else instrument.get("id"), 38)
            self.drums.append(Placed(self.measure, onset, (duration, drum, velocity)))
            return
        height = 12 * (int(pitch.findtext("octave")) + 1) + STEPS[pitch.findtext("step").strip()]
        height += self.staff_transposed.get((element.findtext("staff") or "1").strip(), self.transposed)
        height = min(max(height + round(float(pitch.findtext("alter") or 0)), 0), 127)
        self.printed.add(element, self.measure, onset, duration, height)
        if grace:
            return
        voice = element.findtext("voice") or "1"
        staff = self.staves.setdefault(voice, int(element.findtext("staff") or 1))
        ties = element.findall("tie") or element.findall("notations/tied")
        fermata = element.find("notations/fermata") is not None
        tied = any(tie.get("type") == "start" for tie in ties)
        sung = Sung(duration, height, velocity, (self.number, staff, voice.rjust(4)), tied, fermata)
        self.notes.append(Placed(self.measure, onset, (sung,)))

    def _tempo(self, element: Element) -> None:
        sound = element if element.tag == "sound" else element.find("sound")
        tempo = float(sound.get("tempo") or 0) if sound is not None else 0.0
        tempo = tempo or _metronome(element)
        if 4 <= tempo <= 6000:
            offset = self._length(element, "offset") + (self._length(sound, "offset") if sound is not None else 0)
            self.tempi.append(Placed(self.measure, max(0, self.now + offset), (tempo,)))

    def _chord(self, element: Element) -> None:
        kind, step = (element.findtext("kind") or "").strip(), element.findtext("root/root-step")
        if not step or kind == "none":
            return
        root = STEPS[step.strip()] + round(float(element.findtext("root/root-alter") or 0)) + self.transposed
        quality = next((quality for quality, kinds in KINDS.items() if kind in kinds), "other")
        onset = max(0, self.now + self._length(element, "offset"))
        self.chords.append(Placed(self.measure, onset, (root % 12, QUALITIES.index(quality))))


def _metronome(direction: Element) -> float:
    """Quarter notes a minute of a metronome mark of the form note = number; 0 if there is none."""
    mark = direction.find("direction-type/metronome")
    if mark is None or len(mark.findall("beat-unit")) != 1:
        return 0.0
    number = re.search(r"\d+(\.\d+)?", mark.findtext("per-minute") or "")  # also of "ca. 60"
    dots = len(mark.findall("beat-unit-dot"))
    return (float(number[0]) if number else 0.0) * float(BEATS.get(mark.findtext("beat-unit"), 1)) * (2 - 0.5**dots)


def _changes(first: list[int], events: list[tuple[int, ...]]) -> NDArray[np.int32]:
    """Events (m, k) from tick 0 on, with `first` at 0 unless there is another."""
    return np.array(([] if events and events[0][0] == 0 else [first]) + [list(event) for event in events], np.int32)


def _rows(events: list[tuple[int, ...]], columns: int) -> NDArray[np.int32]:
    return np.array(events, np.int32).reshape(-1, columns)
