"""MusicXML as a file on disk holds it: compressed or not, checked before anything is unpacked, with its metronome marks."""

import io
import zipfile
from pathlib import Path

from datamodules.errors import DataError

LARGEST = 256 << 20  # bytes of a score, unpacked
BEATS = {"whole": 4.0, "half": 2.0, "quarter": 1.0, "eighth": 0.5, "16th": 0.25, "32nd": 0.125}
"""Quarter notes in a metronome mark's note."""


def read_musicxml(path: Path) -> io.BytesIO:
    """The MusicXML document of an .xml, .musicxml or .mxl file, each metronome mark with the tempo to play it at.

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
    for direction in root.iter("direction"):
        tempo = _metronome(direction)
        if tempo and direction.find("sound[@tempo]") is None:
            etree.SubElement(direction, "sound", tempo=str(tempo))
    return io.BytesIO(etree.tostring(root))


def _metronome(direction) -> float | None:
    """Quarter notes a minute of a metronome mark of the form note = number, if there is one."""
    mark = direction.find("direction-type/metronome")
    if mark is None or len(mark.findall("beat-unit")) != 1:
        return None
    try:
        number = float((mark.findtext("per-minute") or "").strip())
    except ValueError:
        return None
    dots = len(mark.findall("beat-unit-dot"))
    return number * BEATS.get(mark.findtext("beat-unit"), 1.0) * (2 - 0.5**dots)


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
