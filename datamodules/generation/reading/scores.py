"""Engraved scores on disk -> MusicXML documents and pieces; Humdrum and MEI are converted by music21."""

import re
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from datamodules.common.errors import DataError, counted, printable
from datamodules.generation.piece import Piece
from datamodules.generation.reading.musicxml import ScoreReader
from datamodules.generation.reading.notation import Repeats
from datamodules.generation.reading.plausible_score import check_metres

LARGEST = 64 << 20  # bytes of a score, unpacked
CONTAINER = "META-INF/container.xml"


def read_score(path: Path, repeats: Repeats = "once") -> Piece:
    """The piece of a MusicXML (.musicxml, .xml, .mxl), Humdrum (.krn) or MEI file; see `musicxml.Score`.

    Raises DataError for a file that is damaged, too large, another kind of XML or without pitched notes.
    """
    root = partwise_score(path)
    try:
        return ScoreReader(root, repeats).piece(path)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
        label = printable(str(path))
        raise DataError(f"{label} is damaged: one of its elements cannot be understood ({error}).") from error


def partwise_score(path: Path) -> ElementTree.Element:
    """The `<score-partwise>` of a file. Raises DataError as `read_score`."""
    root, shown = parsed_score(path), printable(str(path))
    if root.tag == "score-timewise":
        raise DataError(f"{shown} is timewise MusicXML: expected a partwise score, as every notation program writes it.")
    if root.tag != "score-partwise":
        raise DataError(f"{shown} is XML of the kind <{root.tag}>: expected MusicXML, which begins with <score-partwise>.")
    return root


def parsed_score(path: Path) -> ElementTree.Element:
    """MusicXML document of a file, with any root element."""
    converted = path.suffix.lower() in (".krn", ".mei")
    return _parsed(_converted(path) if converted else _unpacked(path), printable(str(path)))


def _parsed(data: bytes, shown: str) -> ElementTree.Element:
    """Parse a document; entity declarations are refused, since they allow unlimited expansion."""
    if b"<!ENTITY" in data.replace(b"\0", b""):
        raise DataError(f"{shown} declares XML entities, which MusicXML does not need: export the score again.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{shown} is not XML ({error}): expected a MusicXML score.") from error


def _unpacked(path: Path) -> bytes:
    """Content of a plain or compressed file, read into memory so that no path of a zip file is written to disk."""
    label = printable(str(path))
    try:
        if not zipfile.is_zipfile(path):
            return _bounded(path.open("rb"), label)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            named = [name for name in names if name.endswith((".xml", ".musicxml")) and not name.startswith("META-INF/")]
            if CONTAINER in names:
                files = _parsed(_bounded(archive.open(CONTAINER), label), label).iter()
                named = [file.get("full-path") for file in files if file.tag.endswith("rootfile")]
            if not named or named[0] not in names:
                raise DataError(f"{label} is a zip file without a score: expected compressed MusicXML.")
            return _bounded(archive.open(named[0]), label)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError, zipfile.zlib.error) as error:
        raise DataError(f"{label} is damaged ({error}): expected MusicXML.") from error


def _bounded(stream, shown: str) -> bytes:
    with stream as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DataError(f"{shown} holds a score of more than {LARGEST >> 20} MB: it is damaged or not a score.")
    return data


def _converted(path: Path) -> bytes:
    """MusicXML of a score in another format, by music21, whose pickled caches are neither read nor written."""
    from music21 import converter
    from music21.musicxml.m21ToXml import GeneralObjectExporter

    try:
        check_metres(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = converter.parse(path, forceSource=True, storePickle=False)
            return GeneralObjectExporter(score).parse()
    except Exception as error:  # music21 does not wrap the errors of its parsers
        raise DataError(f"{printable(str(path))} cannot be read as a score ({type(error).__name__}: {error}).") from error


MUSICXML = {
    "lyric": "lyric",
    "dynamics": "dynamic mark",
    "wedge": "hairpin",
    "slur": "slur",
    "articulations": "articulation",
    "ornaments": "ornament",
    "technical": "technical mark",
    "pedal": "pedal mark",
    "words": "text",
    "figured-bass": "figure",
}
"""MusicXML elements -> names for messages; of those with a start and a stop the starts count."""
ABC = {
    "lyric line": re.compile(r"(?m)^[wW]:"),
    "slur": re.compile(r"\((?=[\"^_=]*[A-Ga-g\[{])"),
    "decoration": re.compile(r"![^!|\s]+!"),
}


def unread_marks(path: Path) -> list[str]:
    """Sentences on marks of a MusicXML or ABC file that no piece holds; empty for other formats."""
    ending = path.suffix.lower()
    if ending in (".musicxml", ".xml", ".mxl"):
        elements = (element for element in parsed_score(path).iter() if element.get("type") not in ("stop", "continue"))
        counts = Counter(MUSICXML[element.tag] for element in elements if element.tag in MUSICXML)
    elif ending == ".abc":
        text = path.read_text(encoding="utf-8", errors="replace")
        counts = Counter({name: len(pattern.findall(text)) for name, pattern in ABC.items()})
    else:
        return []
    listed = [counted(number, name) for name, number in counts.items() if number]
    return [f"notes, chords, keys, metres and tempi are carried over, not {', '.join(listed)}"] if listed else []
