"""MusicXML files, compressed or not, checked before anything is unpacked -> a document as it sounds."""

import io
import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from datamodules.alignment.sounding_pitch import transpose_musicxml
from datamodules.errors import DataError
from datamodules.plausible_score import check_numbers
from datamodules.repeats import Signs, musicxml_signs

LARGEST = 256 << 20  # bytes of a score, unpacked
BEATS = {"whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}
"""Quarter notes in a metronome mark's note."""


class Engraving(NamedTuple):
    """Notation attributes of one note."""

    name: str  # the note's id; empty: it has none
    lyrics: tuple[str, ...] = ()  # its syllable in each verse; one that goes on ends in a hyphen


class Document(NamedTuple):
    """A MusicXML document to be parsed."""

    xml: io.BytesIO
    notes: dict[str, Engraving]  # by the ids that the notes have in `xml`
    signs: list[Signs]  # repeat signs and jumps of each measure


def read_musicxml(path: Path) -> Document:
    """The document of an .xml, .musicxml or .mxl file as it sounds: at sounding pitch, metronome marks with their tempo.

    Raises DataError for a file that is damaged, too large when unpacked or no partwise MusicXML.
    """
    from lxml import etree

    raw = _unpacked(path) if zipfile.is_zipfile(path) else path.read_bytes()
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(raw, parser)
    except etree.XMLSyntaxError as error:
        raise DataError(f"{path} is no XML ({error}): expected a MusicXML score.") from error
    if root.tag != "score-partwise":
        raise DataError(f"{path} is XML of the kind <{root.tag}>: expected MusicXML, which begins with <score-partwise>.")
    try:
        check_numbers(root)
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}): export the score again.") from error
    for direction in root.iter("direction"):
        tempo = _metronome(direction)
        if tempo and direction.find("sound[@tempo]") is None:
            etree.SubElement(direction, "sound", tempo=str(tempo))
    transpose_musicxml(root)
    notes = _named(root)
    return Document(io.BytesIO(etree.tostring(root)), notes, musicxml_signs(root))


def _named(root) -> dict[str, Engraving]:
    """Give every note an id of its own: files may have none, or one twice."""
    notes = {}
    for index, note in enumerate(root.iter("note")):
        name = note.attrib.pop("id", None) or note.attrib.pop("ID", None) or ""
        notes[f"note-{index}"] = Engraving(name, _lyrics(note))
        note.set("id", f"note-{index}")
    return notes


def _lyrics(note) -> tuple[str, ...]:
    verses = {}
    for position, lyric in enumerate(note.findall("lyric"), 1):
        number = lyric.get("number") or str(position)
        text = "".join(element.text or "" for element in lyric.iter("text", "elision"))
        goes_on = (lyric.findtext("syllabic") or "").strip() in ("begin", "middle")
        verses[int(number) if number.isdecimal() else position] = text + "-" * goes_on
    return tuple(verses[number] for number in sorted(verses))


def _metronome(direction) -> float | None:
    """Quarter notes a minute of a metronome mark of the form note = number, if there is one."""
    mark = direction.find("direction-type/metronome")
    if mark is None or len(mark.findall("beat-unit")) != 1:
        return None
    number = re.search(r"\d+(\.\d+)?", mark.findtext("per-minute") or "")  # also of "ca. 60"
    if number is None:
        return None
    dots = len(mark.findall("beat-unit-dot"))
    return float(number[0]) * BEATS.get(mark.findtext("beat-unit"), 1.0) * (2 - 0.5**dots)


def _unpacked(path: Path) -> bytes:
    """The score inside an .mxl file, read into memory: nothing in it can name another place on disk."""
    from lxml import etree

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "META-INF/container.xml" in names:
                container = etree.fromstring(_member(archive, "META-INF/container.xml", path))
                named = [one.get("full-path") for one in container.iter("{*}rootfile")]
            else:
                named = [name for name in names if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF/")]
            if not named or named[0] not in names:
                raise DataError(f"{path} is a zip file without a score: expected compressed MusicXML.")
            return _member(archive, named[0], path)
    except (zipfile.BadZipFile, etree.XMLSyntaxError, OSError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{path} is damaged ({error}): expected compressed MusicXML.") from error


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    with archive.open(name) as file:
        found = file.read(LARGEST + 1)
    if len(found) > LARGEST:
        raise DataError(f"{path} holds a score of more than {LARGEST >> 20} MB: it is damaged or no score.")
    return found
