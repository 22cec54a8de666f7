"""MusicXML files, compressed or not, checked before anything is unpacked -> a document as it sounds."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from datamodules.common.errors import DataError
from datamodules.generation.piece import STEPS
from datamodules.generation.reading.plausible_score import check_metres, check_numbers
from datamodules.generation.reading.repeats import Signs, musicxml_signs

# Transposing instruments: written pitches of MusicXML and MEI documents -> sounding pitches, in place.
#
# Humdrum needs none of it: its pitches sound as they are encoded, and `*ITr` says how to write them.

SHARPS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
"""Name of each pitch class: what is transposed is for the ear, no longer to be read."""
MEI_ALTERATIONS = {"s": 1, "f": -1, "ss": 2, "x": 2, "ff": -2, "n": 0, "ns": 1, "nf": -1, "xs": 3, "sx": 3, "ts": 3, "tf": -3}


def transpose_musicxml(root) -> None:
    """Apply each `<transpose>` to the notes that follow it in its part, or on the staff that it names, and remove it.

    Args:
        root: lxml element `<score-partwise>`
    """
    for part in root.iter("part"):
        semitones: dict[str | None, int] = {}  # staff -> from written to sounding; None: every other staff
        for element in part.iter("attributes", "note"):
            for transpose in element.findall("transpose"):
                staff = transpose.get("number")
                semitones = {**({} if staff is None else semitones), staff: _semitones(transpose)}
                element.remove(transpose)
            pitch = element.find("pitch")
            if pitch is not None:
                by = semitones.get(element.findtext("staff") or "1", semitones.get(None, 0))
                if by:
                    _respell_musicxml(element, pitch, by)


def _semitones(transpose) -> int:
    chromatic, octaves = (transpose.findtext(name) or "0" for name in ("chromatic", "octave-change"))
    return round(float(chromatic)) + 12 * round(float(octaves))


def _respell_musicxml(note, pitch, by: int) -> None:
    from lxml import etree

    alter = round(float(pitch.findtext("alter") or 0))
    height = 12 * int(pitch.findtext("octave")) + STEPS[pitch.findtext("step").strip()] + alter + by
    step, sharp = SHARPS[height % 12][0], len(SHARPS[height % 12]) - 1
    for child in list(pitch):
        pitch.remove(child)
    for name, value in (("step", step), ("alter", sharp), ("octave", height // 12)):
        etree.SubElement(pitch, name).text = str(value)
    for printed in note.findall("accidental"):
        note.remove(printed)


def transpose_mei(root) -> bool:
    """Apply `trans.semi` of score and staff definitions to the notes of the measures that follow.

    Args:
        root: lxml element of an MEI document

    Returns:
        Whether any note was changed.
    """
    semitones: dict[str | None, int] = {}  # number of a staff -> from written to sounding; None: every other staff
    changed = False
    for element in root.iter("{*}scoreDef", "{*}staffDef", "{*}staff"):
        kind = element.tag.rpartition("}")[2]
        if kind == "staff":
            by = semitones.get(element.get("n"), semitones.get(None, 0))
            notes = [note for note in element.iter("{*}note") if by and note.get("pname") and note.get("oct")]
            changed = changed or bool(notes)
            for note in notes:
                _respell_mei(note, by)
        elif element.get("trans.semi") is not None:
            staff = None if kind == "scoreDef" else element.get("n")
            semitones[staff] = round(float(element.attrib.pop("trans.semi")))
            element.attrib.pop("trans.diat", None)
    return changed


def _respell_mei(note, by: int) -> None:
    accidentals = list(note.iter("{*}accid"))
    marks = [element.get(name) for element in (note, *accidentals) for name in ("accid", "accid.ges")]
    alter = next((MEI_ALTERATIONS.get(mark, 0) for mark in marks if mark), 0)
    height = 12 * int(note.get("oct")) + STEPS[note.get("pname").upper()] + alter + by
    step, sharp = SHARPS[height % 12][0], len(SHARPS[height % 12]) - 1
    for element in accidentals:
        element.getparent().remove(element)
    for name in ("accid", "accid.ges"):
        note.attrib.pop(name, None)
    note.set("pname", step.lower())
    note.set("oct", str(height // 12))
    if sharp:
        note.set("accid.ges", "s")


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


# MEI files -> documents of sounding pitches, with the ids and syllables of their notes.

PROBE = "import sys, verovio; verovio.enableLog(verovio.LOG_OFF); verovio.toolkit().loadFile(sys.argv[1])"
ID = "{http://www.w3.org/XML/1998/namespace}id"


@contextmanager
def sounding_mei(path: Path) -> Iterator[tuple[Path, dict[str, Engraving]]]:
    """A file to parse, in which transposing instruments stand at sounding pitch, and what is printed at its notes, by id.

    Yields:
        `path` itself where nothing is transposed, else a temporary copy; notes without an id are not listed.

    Raises:
        DataError: the file is no XML.
    """
    from lxml import etree

    try:
        check_metres(data := path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged: it has {error}, which no score has.") from error
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DataError(f"{path} is no XML ({error}): expected an MEI score.") from error
    notes = {note.get(ID): Engraving(note.get(ID), _syllables(note)) for note in root.iter("{*}note") if note.get(ID)}
    if not transpose_mei(root):
        _probe(path)
        yield path, notes
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8"))
        _probe(copy)
        yield copy, notes


def _probe(path: Path) -> None:
    """Read a file by verovio in a process of its own: an unusual number ends it by `abort`, and all other files with it.

    Raises:
        DataError: verovio dies of the file, or takes longer than a minute.
    """
    try:
        done = subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path} takes verovio more than a minute: expected an MEI score.") from error
    if done.returncode not in (0, 1):  # 1: it is not installed, which partitura explains
        raise DataError(f"{path} is damaged: verovio, which reads MEI, ended with {done.returncode}.")


def _syllables(note) -> tuple[str, ...]:
    """One a verse, in order; of several of a verse, joined as elided, the last tells whether the word goes on."""
    verses = []
    for verse in note.iter("{*}verse"):
        syllables = [syllable for syllable in verse.iter("{*}syl") if syllable.text]
        goes_on = bool(syllables) and syllables[-1].get("con") == "d"
        verses.append("".join(syllable.text.strip() for syllable in syllables) + "-" * goes_on)
    return tuple(verses)
