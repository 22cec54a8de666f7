"""A chorale in MusicXML -> a piece of four voices with its pickup, key, metre and fermatas."""

import zipfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from datamodules.errors import DataError
from datamodules.symbolic.corpora.corpus import Unwanted
from datamodules.symbolic.grid import VELOCITY_WRITTEN
from datamodules.symbolic.piece import Piece, in_order

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
METRES = ((4, 4), (3, 4))
TICKS = 16
GRID = TICKS // 4  # ticks of a sixteenth
TEMPO = 750_000
"""Microseconds of a quarter note: a chorale's pace where, as here, no score says one (ours)."""
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
FINALS = {
    ("minor", 5): (5, "minor"),  # dorian
    ("minor", 10): (10, "major"),  # mixolydian, the mode named after the signature
    ("minor", 3): (3, "major"),
    ("major", 7): (7, "major"),  # mixolydian
    ("major", 9): (9, "minor"),
    ("major", 2): (2, "minor"),  # dorian
}
"""Mode by the signature and semitones from its tonic up to the last bass note -> semitones to the tonic, mode.

Many chorales are modal and are written in the signature next to theirs; a last note that is not listed is taken for a
half close (or phrygian), and the signature's key stands.
"""


class _Line(NamedTuple):
    notes: list[list[int]]  # onset, duration, pitch, fermata
    downbeats: list[int]  # where each measure begins, and the end


def read_chorale(path: Path, name: str) -> Piece:
    """A compressed MusicXML score's parts named Soprano, Alto, Tenor and Bass; instruments beside them are left out.

    Raises Unwanted for another number of voices, a metre that changes or is neither 4/4 nor 3/4, and notes off the
    sixteenths; DataError for a file that is no MusicXML.
    """
    root = _parse(path)
    parts = _vocal_parts(root)
    metres = {(int(time.findtext("beats", "0")), int(time.findtext("beat-type", "0"))) for time in root.iter("time")}
    if len(metres) != 1:
        raise Unwanted("its metre changes")
    metre = metres.pop()
    if metre not in METRES:
        raise Unwanted("its metre is {}/{}, not 4/4 or 3/4".format(*metre))
    lines = [_line(part) for part in parts]
    notes = [[*note[:3], VELOCITY_WRITTEN, voice] for voice, line in enumerate(lines) for note in line.notes]
    bar = 4 * TICKS * metre[0] // metre[1]
    _unparted(lines, bar)
    tonic, mode = _key(root, lines[3].notes[-1][2])
    fermatas = next((marked for line in lines if (marked := [onset for onset, _, _, held in line.notes if held])), [])
    return Piece(
        notes=in_order(np.array(notes)),
        ticks=TICKS,
        length=lines[0].downbeats[-1],
        name=name,
        composer="Bach",
        kind="chorale",
        pickup=_pickup(lines[0].downbeats, bar),
        metres=np.array([[0, *metre]], np.int32),
        tempi=np.array([[0, TEMPO]], np.int32),
        tonic=tonic,
        mode=mode,
        fermatas=np.array(fermatas, np.int32),
    )


def _parse(path: Path) -> Element:
    try:
        with zipfile.ZipFile(path) as archive:
            score = next(name for name in archive.namelist() if name.endswith("ml") and not name.startswith("META-INF"))
            return ElementTree.fromstring(archive.read(score))
    except (zipfile.BadZipFile, StopIteration, ElementTree.ParseError, OSError) as error:
        raise DataError(f"{path} is no compressed MusicXML ({error}): pip install --force-reinstall music21") from error


def _vocal_parts(root: Element) -> list[Element]:
    names = {part.get("id"): part.findtext("part-name", "").strip() for part in root.iter("score-part")}
    parts = [part for part in root.findall("part") if names.get(part.get("id")) in VOICES]
    order = [names[part.get("id")] for part in parts]
    if sorted(order) != sorted(VOICES):
        raise Unwanted(f"it has {len(names)} parts, none or several of them named {', '.join(VOICES)}")
    return [parts[order.index(voice)] for voice in VOICES]


def _line(part: Element) -> _Line:
    line = _Line([], [])
    start, divisions = Fraction(0), 1
    for measure in part.iter("measure"):
        line.downbeats.append(_ticks(start))
        now = longest = start
        for element in measure:
            if element.tag == "attributes":
                divisions = int(element.findtext("divisions") or divisions)
            elif element.tag in ("note", "backup", "forward"):
                now = _read(element, now, divisions, line.notes)
                longest = max(longest, now)
        start = longest
    if not line.notes:
        raise Unwanted("one of its voices is silent")
    line.downbeats.append(_ticks(start))
    return line


def _read(element: Element, now: Fraction, divisions: int, notes: list[list[int]]) -> Fraction:
    """Take in one element of a measure; returns where the next one begins."""
    inside = {child.tag: child for child in element}
    if "grace" in inside or "chord" in inside:
        return now
    after = now + Fraction(int(inside["duration"].text or 0), divisions) * (-1 if element.tag == "backup" else 1)
    if "pitch" not in inside or ("voice" in inside and inside["voice"].text != "1"):  # other voices are passing divisi
        return after
    onset, end, pitch = _ticks(now), _ticks(after), _pitch(inside["pitch"])
    held = "notations" in inside and inside["notations"].find("fermata") is not None
    tied = "tie" in inside and any(tie.get("type") == "stop" for tie in element.iterfind("tie"))
    if tied and notes and notes[-1][2] == pitch and sum(notes[-1][:2]) == onset:
        notes[-1][1] += end - onset
        notes[-1][3] |= held
    else:
        notes.append([onset, end - onset, pitch, held])
    return after


def _ticks(quarters: Fraction) -> int:
    ticks = quarters * TICKS
    if ticks % GRID:
        raise Unwanted("it has notes shorter than a sixteenth")
    return int(ticks)


def _pitch(pitch: Element) -> int:
    alter = int(float(pitch.findtext("alter") or 0))
    return 12 * (int(pitch.findtext("octave", "4")) + 1) + STEPS[pitch.findtext("step", "C")] + alter


def _key(root: Element, final: int) -> tuple[int, str]:
    """Tonic and mode by the signature, the first mode that a part names, and the last bass note."""
    keys = [(int(key.findtext("fifths", "0")), key.findtext("mode")) for key in root.iter("key")]
    fifths, mode = next((key for key in keys if key[1] in ("major", "minor")), (keys[0][0], "major") if keys else (0, "major"))
    tonic = (7 * fifths + (9 if mode == "minor" else 0)) % 12
    up, mode = FINALS.get((mode, (final - tonic) % 12), (0, mode))
    return (tonic + up) % 12, mode


def _unparted(lines: list[_Line], bar: int) -> None:
    """Raise Unwanted where all voices are silent for more than a bar."""
    spans = sorted((onset, onset + duration) for line in lines for onset, duration, *_ in line.notes)
    end = spans[0][0]
    for onset, until in spans:
        if onset - end > bar:
            raise Unwanted("its lines are parted by interludes of instruments")
        end = max(end, until)


def _pickup(downbeats: list[int], bar: int) -> int:
    """Ticks before the first full bar. Raises Unwanted where a full bar begins off the bars that follow from it."""
    first = downbeats[1] - downbeats[0]
    pickup = first if first < bar else 0
    for begin, end in pairwise(downbeats):
        if end - begin >= bar and (begin - pickup) % bar:
            raise Unwanted("its bars do not follow its metre")
    return pickup
