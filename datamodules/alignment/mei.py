"""MEI files -> documents of sounding pitches, with the ids and syllables of their notes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from datamodules.alignment.musicxml import Engraving
from datamodules.alignment.sounding_pitch import transpose_mei
from datamodules.errors import DataError
from datamodules.plausible_score import check_metres

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
