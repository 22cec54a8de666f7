"""MusicXML scores of plain polyphony -> pieces, some twenty times as fast as music21."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

from datamodules.demo.piece import STEPS, Note, Piece


def read_musicxml(path: Path, name: str, kind: str) -> Piece | None:
    """A compressed MusicXML file, the first voice of each part; None without key and mode, or if its metre changes."""
    with zipfile.ZipFile(path) as archive:
        score = next(name for name in archive.namelist() if name.endswith("ml") and not name.startswith("META-INF"))
        root = ElementTree.fromstring(archive.read(score))
    key, metres = root.find(".//key"), {(time.findtext("beats"), time.findtext("beat-type")) for time in root.iter("time")}
    if key is None or len(metres) != 1 or key.findtext("mode") not in ("major", "minor"):
        return None
    (beats, beat_type), mode = map(int, metres.pop()), key.findtext("mode")
    tonic = (7 * int(key.findtext("fifths")) + (9 if mode == "minor" else 0)) % 12
    parts = tuple(_part(part, 4 * beats / beat_type) for part in root.findall("part"))
    return Piece(name, "", kind, mode, tonic, beats, beat_type, parts) if parts and all(parts) else None


def _part(part: ElementTree.Element, bar: float) -> tuple[Note, ...]:
    notes: list[Note] = []
    start, divisions, pickup = 0.0, 1, 0.0
    for number, measure in enumerate(part.iter("measure")):
        now = length = 0.0
        for element in measure:
            if element.tag == "attributes":
                divisions = int(element.findtext("divisions") or divisions)
            elif element.tag in ("backup", "forward"):
                now += _quarters(element, divisions) * (1 if element.tag == "forward" else -1)
            elif element.tag == "note" and element.find("grace") is None and element.find("chord") is None:
                # Other voices are passing divisi: the first one stays.
                if element.find("pitch") is not None and element.findtext("voice") in (None, "1"):
                    note = Note(start + now, _quarters(element, divisions), _pitch(element.find("pitch")))
                    _append(notes, note, any(tie.get("type") == "stop" for tie in element.findall("tie")))
                now += _quarters(element, divisions)
            length = max(length, now)
        if number == 0 and length < bar:
            pickup = length
        start += length
    return tuple(note._replace(onset=note.onset - pickup) for note in notes)


def _quarters(element: ElementTree.Element, divisions: int) -> float:
    return float(element.findtext("duration")) / divisions


def _pitch(pitch: ElementTree.Element) -> int:
    alter = int(float(pitch.findtext("alter") or 0))
    return 12 * (int(pitch.findtext("octave")) + 1) + STEPS[pitch.findtext("step")] + alter


def _append(notes: list[Note], note: Note, tied: bool) -> None:
    last = notes[-1] if notes else None
    if tied and last and last.pitch == note.pitch and abs(last.onset + last.duration - note.onset) < 1e-6:
        notes[-1] = last._replace(duration=last.duration + note.duration)
    else:
        notes.append(note)
