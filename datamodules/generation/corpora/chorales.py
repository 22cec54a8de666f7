"""Bach's chorales bundled with music21: MusicXML -> pieces of four voices."""

import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from datamodules.common.errors import DataError
from datamodules.generation.corpora.corpus import Packaged, Splits, Unwanted, gather, spread
from datamodules.generation.piece import DURATION, ONSET, PITCH, VOICE, Piece, in_order
from datamodules.generation.reading.musicxml import ScoreReader, part_alone
from datamodules.generation.splitting import distinct, divide, melody_groups

VOICES = ("Soprano", "Alto", "Tenor", "Bass")
METRES = {(4, 4), (3, 4)}
TICKS = 16
SIXTEENTHS = 4  # of a quarter note
TEMPO = 750_000
"""Microseconds of a quarter note (our choice: the scores have no tempo)."""
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


def read_chorale(path: Path, name: str) -> Piece:
    """Read the parts Soprano, Alto, Tenor and Bass of a compressed MusicXML score; instruments are left out.

    Fermatas are those of the highest voice with any. Raises Unwanted for another number of voices, a metre that changes
    or is neither 4/4 nor 3/4, and notes off the sixteenths; DataError for other files.
    """
    root = _parse(path)
    lines = [_Line(root, part, path) for part in _vocal_parts(root)]
    pieces = [line.piece for line in lines]
    metres = {tuple(metre) for piece in pieces for metre in piece.metres[:, 1:].tolist()}
    if len(metres) != 1:
        raise Unwanted("its metre changes")
    if not metres <= METRES:
        raise Unwanted("its metre is {}/{}, not 4/4 or 3/4".format(*metres.pop()))
    notes = [np.column_stack([piece.notes[:, :VOICE], np.full(len(piece.notes), voice)]) for voice, piece in enumerate(pieces)]
    tonic, mode = _key(root, int(pieces[-1].notes[-1, PITCH]))
    piece = replace(
        pieces[0],
        notes=in_order(np.concatenate(notes)),
        name=name,
        title="",
        composer="Bach",
        kind="chorale",
        tempi=np.array([[0, TEMPO]], np.int32),
        tonic=tonic,
        mode=mode,
        fermatas=next((piece.fermatas for piece in pieces if len(piece.fermatas)), pieces[0].fermatas),
        programs=(),
        names=(),
        remarks=(),
    )
    _check_bars(piece, lines[0].downbeats)
    _check_silence(piece)
    return piece


class _Line:
    """One voice as a piece, with the start ticks of its measures and the end of the last."""

    def __init__(self, root: Element, part: Element, path: Path) -> None:
        score = ScoreReader(part_alone(root, part))
        piece = score.piece(path)
        downbeats = np.append(0, np.cumsum(score.parts[0].lengths))
        if piece.voices != 1:
            raise Unwanted("one of its voices divides")
        if (piece.notes[:, [ONSET, DURATION]] * SIXTEENTHS % piece.ticks).any():
            raise Unwanted("it has notes shorter than a sixteenth")
        self.piece, self.downbeats = piece.at(TICKS), (downbeats * TICKS // piece.ticks).tolist()


def _parse(path: Path) -> Element:
    try:
        with zipfile.ZipFile(path) as archive:
            score = next(name for name in archive.namelist() if name.endswith("ml") and not name.startswith("META-INF"))
            return ElementTree.fromstring(archive.read(score))
    except (zipfile.BadZipFile, StopIteration, ElementTree.ParseError, OSError) as error:
        raise DataError(f"{path} is not compressed MusicXML ({error}): pip install --force-reinstall music21") from error


def _vocal_parts(root: Element) -> list[Element]:
    names = {part.get("id"): part.findtext("part-name", "").strip() for part in root.iter("score-part")}
    parts = [part for part in root.findall("part") if names.get(part.get("id")) in VOICES]
    order = [names[part.get("id")] for part in parts]
    if sorted(order) != sorted(VOICES):
        raise Unwanted(f"its parts are not one each of {', '.join(VOICES)}, alone or among instruments")
    return [parts[order.index(voice)] for voice in VOICES]


def _key(root: Element, final: int) -> tuple[int, str]:
    """Tonic and mode by the signature, the first mode that a part names, and the last bass note."""
    keys = [(int(key.findtext("fifths", "0")), key.findtext("mode")) for key in root.iter("key")]
    fifths, mode = next((key for key in keys if key[1] in ("major", "minor")), (keys[0][0], "major") if keys else (0, "major"))
    tonic = (7 * fifths + (9 if mode == "minor" else 0)) % 12
    up, mode = FINALS.get((mode, (final - tonic) % 12), (0, mode))
    return (tonic + up) % 12, mode


def _check_bars(piece: Piece, downbeats: list[int]) -> None:
    """Raise Unwanted if a full bar does not begin on a bar line of the metre."""
    for begin, end in pairwise(downbeats):
        if end - begin >= piece.bar and (begin - piece.pickup) % piece.bar:
            raise Unwanted("its bars do not follow its metre")


def _check_silence(piece: Piece) -> None:
    """Raise Unwanted if all voices are silent for more than a bar."""
    ends = np.maximum.accumulate(piece.notes[:, ONSET] + piece.notes[:, DURATION])
    if (piece.notes[1:, ONSET] - ends[:-1] > piece.bar).any():
        raise Unwanted("its lines are parted by interludes of instruments")


class Chorales(Packaged):
    """Four voices in 4/4 or 3/4 on sixteenths, with pickup, key, metre and fermatas; 80, 10 and 10 of a hundred.

    All settings of a melody are in one split.

    Args:
        pieces: number of scores, evenly spread; null: all
    """

    name = "chorales"
    bundle = "bach"

    def __init__(self, pieces: int | None = None) -> None:
        self.pieces = pieces

    def read(self) -> Splits:
        """Parse everything."""
        files = spread(sorted(self.folder().glob("*.mxl")), self.pieces)
        pieces, dropped = gather(_chorale, [(path, f"bach/{path.stem}") for path in files], "chorales")
        pieces, repeated = distinct(pieces)
        return divide(pieces, dropped + repeated, melody_groups(pieces))


def _chorale(path: Path, name: str) -> list[Piece]:
    return [read_chorale(path, name)]
