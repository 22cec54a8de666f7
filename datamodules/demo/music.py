"""The scores bundled in the music21 wheel, read without importing music21: Bach's chorales and fiddle tunes."""

import importlib.util
import re
import zipfile
from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from datamodules.common.errors import DataError
from datamodules.demo.abc_notation import read_abc
from datamodules.demo.piece import DemoPiece, QuarterNote
from datamodules.generation.piece import STEPS

# MusicXML scores of plain polyphony -> pieces, some twenty times as fast as music21.


def read_musicxml(path: Path, name: str, kind: str) -> DemoPiece | None:
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
    return DemoPiece(name, "", kind, mode, tonic, beats, beat_type, parts) if parts and all(parts) else None


def _part(part: ElementTree.Element, bar: float) -> tuple[QuarterNote, ...]:
    notes: list[QuarterNote] = []
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
                    note = QuarterNote(start + now, _quarters(element, divisions), _pitch(element.find("pitch")))
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


def _append(notes: list[QuarterNote], note: QuarterNote, tied: bool) -> None:
    last = notes[-1] if notes else None
    if tied and last and last.pitch == note.pitch and abs(last.onset + last.duration - note.onset) < 1e-6:
        notes[-1] = last._replace(duration=last.duration + note.duration)
    else:
        notes.append(note)


OPENING = 16  # intervals by which two pieces are taken for one


@cache
def corpus() -> Path:
    """The folder of scores inside the music21 wheel. Raises DataError where it is absent."""
    spec = importlib.util.find_spec("music21")
    folder = Path(spec.origin).with_name("corpus") if spec and spec.origin else None
    if folder is None or not (folder / "bach").is_dir():
        raise DataError("the scores bundled with music21 are missing: pip install --force-reinstall music21")
    return folder


@cache
def chorales() -> tuple[DemoPiece, ...]:
    """Bach's four-part chorales, soprano first, one harmonisation of each melody."""
    files = sorted((corpus() / "bach").glob("*.mxl"))
    pieces = (read_musicxml(path, f"bach/{path.stem}", "chorale") for path in files)
    return distinct(piece for piece in pieces if piece and len(piece.parts) == 4)


@cache
def fiddle_tunes() -> tuple[DemoPiece, ...]:
    """Tunes of Ryan's Mammoth Collection (1883) and O'Neill's Music of Ireland (1903), one version of each."""
    files = sorted((corpus() / "ryansMammoth").glob("*.abc")) + sorted((corpus() / "oneills1850").glob("*.abc"))
    return distinct(piece for path in files for piece in read_abc(path))


def distinct(pieces: Iterable[DemoPiece]) -> tuple[DemoPiece, ...]:
    """The pieces of which neither the title nor the first part's opening, free of key and rhythm, was met before."""
    kept, seen = [], set()
    for piece in pieces:
        pitches = [note.pitch for note in piece.parts[0] if note.onset >= 0][: OPENING + 1]
        keys = {tuple(second - first for first, second in pairwise(pitches))}
        if title := re.sub(r"\b(the|a|no \d+|reel|jig|hornpipe)\b|\W|\d", "", piece.title.lower()):
            keys.add(title)
        if not keys & seen:
            kept.append(piece)
        seen |= keys
    return tuple(kept)
