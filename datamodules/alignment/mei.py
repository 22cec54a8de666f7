"""MEI files -> documents at sounding pitch for partitura, with the ids and syllables of their notes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from datamodules.common.errors import DataError
from datamodules.generation.piece import STEPS
from datamodules.generation.reading.plausible_score import check_metres

SHARPS = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]
"""Note name of each pitch class, used for transposed notes."""
MEI_ALTERATIONS = {"s": 1, "f": -1, "ss": 2, "x": 2, "ff": -2, "n": 0, "ns": 1, "nf": -1, "xs": 3, "sx": 3, "ts": 3, "tf": -3}


def transpose_mei(root) -> bool:
    """Transpose notes to sounding pitch by `trans.semi` of the preceding score and staff definitions.

    Args:
        root: lxml element of an MEI document

    Returns:
        Whether any note was changed.
    """
    semitones: dict[str | None, int] = {}  # staff -> semitones from written to sounding pitch; None: all others
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


class Engraving(NamedTuple):
    """Notation attributes of one note."""

    name: str  # xml:id; empty: none
    lyrics: tuple[str, ...] = ()  # syllable of each verse, ending in a hyphen inside a word


PROBE = "import sys, verovio; verovio.enableLog(verovio.LOG_OFF); verovio.toolkit().loadFile(sys.argv[1])"
ID = "{http://www.w3.org/XML/1998/namespace}id"


@contextmanager
def sounding_mei(path: Path) -> Iterator[tuple[Path, dict[str, Engraving]]]:
    """MEI file at sounding pitch (`path`, or a temporary copy if transposed), and the engraving of its notes by id.

    Raises:
        DataError: not XML, or implausible time signatures.
    """
    from lxml import etree

    try:
        check_metres(data := path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged: implausible {error}.") from error
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise DataError(f"{path} is not XML ({error}): expected an MEI score.") from error
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
    """Read a file with verovio in a subprocess, since verovio aborts the process at invalid numbers.

    Raises:
        DataError: verovio crashes, or takes longer than a minute.
    """
    try:
        done = subprocess.run([sys.executable, "-c", PROBE, str(path)], capture_output=True, timeout=60)
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{path} takes verovio more than a minute: expected an MEI score.") from error
    if done.returncode not in (0, 1):  # 1: it is not installed, which partitura explains
        raise DataError(f"{path} is damaged: verovio, which reads MEI, ended with {done.returncode}.")


def _syllables(note) -> tuple[str, ...]:
    """Syllable per verse; elided syllables are joined, a hyphen marks a word that continues."""
    verses = []
    for verse in note.iter("{*}verse"):
        syllables = [syllable for syllable in verse.iter("{*}syl") if syllable.text]
        goes_on = bool(syllables) and syllables[-1].get("con") == "d"
        verses.append("".join(syllable.text.strip() for syllable in syllables) + "-" * goes_on)
    return tuple(verses)
